import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from chat_server import asked as read_back

from filters.captioner import Answer, Asked, EngineError, Unanswered
from pipelines.captions.batch_files import AnswerFiles, write_requests
from pipelines.captions.chat import Sampling

SAMPLING = Sampling(model="m", temperature=0.0, top_p=1.0)


def row(number: int) -> Asked:
    return Asked(
        digest=f"{number:032x}",
        prompt=f"row {number}",
        image=b"image",
        seed=number,
        max_new_tokens=50,
    )


def line(number: int, status: int = 200, **parts: Any) -> dict[str, Any]:
    body = {
        "id": "chatcmpl-1",
        "model": "m",
        "choices": [
            {
                "message": {"role": "assistant", "content": f"caption {number}"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
    }
    response = {"status_code": status, "request_id": "r", "body": body}
    return {
        "id": "b",
        "custom_id": row(number).digest,
        "response": response,
        "error": None,
        **parts,
    }


def answer(number: int) -> Answer:
    return Answer(
        digest=row(number).digest,
        status="answered",
        text=f"caption {number}",
        finish_reason="stop",
        prompt_tokens=9,
        completion_tokens=4,
        model="m",
    )


def written(path: Path, *lines: Mapping[str, Any] | bytes) -> Path:
    texts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines]
    path.write_bytes(b"\n".join(texts) + b"\n")
    return path


def read(count: int, *files: Path) -> tuple[AnswerFiles, list[Answer | Unanswered]]:
    made = AnswerFiles(expected=[row(number).digest for number in range(count)])
    return made, list(made.outcomes(files))


def test_requests_are_written_as_the_server_gets_them(tmp_path: Path) -> None:
    (path,) = write_requests(map(row, range(3)), SAMPLING, tmp_path)
    first, *rest = map(json.loads, path.read_bytes().splitlines())
    assert len(rest) == 2
    assert {key: first[key] for key in ("custom_id", "method", "url")} == {
        "custom_id": row(0).digest,
        "method": "POST",
        "url": "/v1/chat/completions",
    }
    assert read_back(first["body"]) == ("row 0", b"image")
    assert first["body"]["seed"] == 0


@pytest.mark.parametrize("limits", [{"most_lines": 3}, {"most_bytes": 1000}, {"most_bytes": 1}])
def test_files_of_requests_stay_within_the_limits(tmp_path: Path, limits: dict[str, int]) -> None:
    files = write_requests(map(row, range(8)), SAMPLING, tmp_path, **limits)
    lines = [path.read_bytes().splitlines(True) for path in files]
    numbers = [int(json.loads(each)["custom_id"], 16) for part in lines for each in part]
    assert numbers == list(range(8))
    assert all(len(each) <= limits.get("most_lines", 8) for each in lines)
    assert all(
        len(b"".join(each)) <= limits.get("most_bytes", 10**6) or len(each) == 1 for each in lines
    )
    assert sorted(tmp_path.iterdir()) == files


def test_no_requests_no_file(tmp_path: Path) -> None:
    assert write_requests([], SAMPLING, tmp_path) == []


def test_a_file_of_requests_appears_when_it_is_whole(tmp_path: Path) -> None:
    def broken():
        yield row(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_requests(broken(), SAMPLING, tmp_path)
    assert not list(tmp_path.glob("*.jsonl"))


def test_answers_are_told_by_their_digest_in_any_order(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", line(2), line(0), line(1))
    _, outcomes = read(3, path)
    assert outcomes == [answer(2), answer(0), answer(1)]


def test_foreign_repeated_and_broken_lines_are_counted(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl",
        line(0),
        line(7),
        b"",
        {**line(0), "response": line(5)["response"]},
        b"[1, 2]",
        json.dumps(line(1)).encode()[:-20],
    )
    made, outcomes = read(2, path)
    assert outcomes == [
        answer(0),
        Unanswered(digest=row(1).digest, detail="no answer in the files"),
    ]
    assert (made.foreign, made.repeated, made.broken) == (1, 1, 2)
    assert made.first_broken.startswith(f"{path}, line 5: ")


def test_an_answer_in_a_later_file_counts_before_a_failure(tmp_path: Path) -> None:
    failed = line(0, response=None, error={"code": "batch_expired", "message": "ran out of time"})
    files = [written(tmp_path / "a", failed, failed), written(tmp_path / "b", line(0), failed)]
    made, outcomes = read(1, *files)
    assert outcomes == [answer(0)]
    assert made.repeated == 1
    assert read(1, files[0])[1] == [
        Unanswered(digest=row(0).digest, detail="failed: ran out of time")
    ]


@pytest.mark.parametrize(
    "failed",
    [
        {"response": {"status_code": 400, "request_id": "r", "body": {"error": {"message": "no"}}}},
        {"response": {"status_code": 400, "request_id": "r"}, "error": "no"},  # vLLM
        {
            "response": {"status_code": 400, "request_id": "r"},
            "error": {"error": {"message": "no"}},
        },
        {"response": {"status_code": 400, "request_id": "r"}, "error": {"message": "no"}},
    ],
)
def test_a_refused_request_is_an_answer(tmp_path: Path, failed: dict[str, Any]) -> None:
    _, outcomes = read(2, written(tmp_path / "a", line(0, **failed), line(1)))
    refused = Answer(digest=row(0).digest, status="refused", detail="400: no")
    assert outcomes == [refused, answer(1)]


@pytest.mark.parametrize(
    ("failed", "says"),
    [
        ({"response": {"status_code": 500, "body": None}, "error": "engine died"}, "500: engine"),
        ({"response": {"status_code": 200, "body": {"choices": []}}}, "the reply has no answer"),
        ({"response": {"status_code": 200}}, "the reply has no answer"),
        ({"response": None, "error": None}, "failed: "),
    ],
)
def test_a_failed_request_stays_unanswered(
    tmp_path: Path, failed: dict[str, Any], says: str
) -> None:
    _, (outcome,) = read(1, written(tmp_path / "a", line(0, **failed)))
    assert isinstance(outcome, Unanswered)
    assert outcome.detail.startswith(says)


def test_files_without_any_answer_are_not_believed(tmp_path: Path) -> None:
    no = {"response": {"status_code": 400, "request_id": "r"}, "error": "no images"}
    refused = [line(number, **no) for number in range(10)]
    with pytest.raises(EngineError, match=r"refuses all requests.*no images"):
        read(10, written(tmp_path / "a", *refused))
    _, outcomes = read(11, written(tmp_path / "b", *refused, line(10)))
    assert len(outcomes) == 11
