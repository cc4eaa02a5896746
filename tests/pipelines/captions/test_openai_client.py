"""The client against a real server on this machine that misbehaves."""

import logging
import random
import statistics
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from chat_server import PROBE, REPLIES, ChatServer, caption, chat_server, running

from filters.captioner import Answer, Asked, EngineError, Unanswered
from pipelines.captions.openai_client import OpenAiCaptioner
from schemas.caption_config import OpenAiEngine

KEY = "sk-secret-0123456789"
QUICK = {
    "first_pause_s": 0.01,
    "longest_pause_s": 0.05,
    "longest_retry_after_s": 0.3,
    "start_s": 0.3,
    "away_s": 0.3,
    "most_bytes": 100_000,
}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as server:
        yield server


def engine(server: ChatServer | str, effort: dict[str, float] | None = None, **config: Any):
    url = server if isinstance(server, str) else server.url
    fields = {"concurrency": 8, "timeout_s": 10.0, "attempts": 4, "key_env": "TEST_KEY", **config}
    made = OpenAiEngine(engine="openai", name="vlm", url=url, model="m", **fields)
    return OpenAiCaptioner(made, **{**QUICK, **(effort or {})})


def row(number: int, **parts: Any) -> Asked:
    fields = {"image": f"image {number}".encode(), "max_new_tokens": 50, **parts}
    return Asked(digest=f"{number:032x}", prompt=f"row {number}", seed=number, **fields)


def rows(count: int) -> list[Asked]:
    return [row(number) for number in range(count)]


def text_of(asked: Asked) -> str:
    return caption(asked.prompt, asked.image, asked.seed)


def check_answered(outcomes: Iterable[Answer | Unanswered], requests: Iterable[Asked]) -> None:
    """Check that each request has one answer, its own."""
    found = sorted((each.digest, getattr(each, "text", str(each))) for each in outcomes)
    assert found == sorted((asked.digest, text_of(asked)) for asked in requests)


def unanswered(outcomes: Iterable[Answer | Unanswered]) -> Unanswered:
    (found,) = [each for each in outcomes if isinstance(each, Unanswered)]
    return found


def test_each_request_gets_its_own_answer(server: ChatServer) -> None:
    check_answered(engine(server).answers(rows(40)), rows(40))
    assert server.peak <= 8
    assert set(server.answered.values()) == {1}


def test_an_answer_has_tokens_model_and_the_reason_of_its_end(server: ChatServer) -> None:
    whole, cut = sorted(
        engine(server).answers([row(1), row(2, max_new_tokens=3)]), key=lambda each: each.digest
    )
    assert whole == Answer(
        digest=row(1).digest,
        status="answered",
        text=text_of(row(1)),
        finish_reason="stop",
        prompt_tokens=2,
        completion_tokens=7,
        model="m",
    )
    assert isinstance(cut, Answer)
    assert cut.finish_reason == "length"


def test_a_request_says_all_that_decides_the_answer(server: ChatServer) -> None:
    schema = {"type": "object", "properties": {"blurred": {"type": "boolean"}}}
    asked = row(2**31 + 5, schema=schema, image=b"")
    list(engine(server, temperature=0.7, top_p=0.9).answers([asked]))
    assert server.bodies[-1] == {
        "model": "m",
        "messages": [{"role": "user", "content": asked.prompt}],
        "max_tokens": 50,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 5,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        },
    }


@pytest.mark.parametrize(
    "fault",
    ["429", "429 1", "500", "503 1", "reset", "cut", "stall", "gzip", "other", *REPLIES],
)
def test_a_passing_fault_of_a_row_is_tried_again(server: ChatServer, fault: str) -> None:
    server.faults = {"row 3": [fault, fault, ""], "row 5": [fault, ""]}
    timeout_s = 0.3 if fault == "stall" else 10.0
    check_answered(engine(server, timeout_s=timeout_s).answers(rows(12)), rows(12))
    assert server.visits["row 3"] == 3
    assert server.visits["row 4"] == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("500", "500: 500 for"),
        ("stall", "no answer within 0.2 s"),
        ("cut", "ended|closed|incomplete|reset|EOF|ReadError|Protocol"),
        ("page", "<html>Welcome"),
        ("no choices", "choices"),
        ("error", "the upstream provider failed"),
        ("huge", "over 100,000 bytes"),
        ("gzip", "compressed as 'gzip'"),
        ("other", "to another request"),
    ],
)
def test_a_row_that_always_fails_stays_unanswered_and_others_go_on(
    server: ChatServer, fault: str, says: str
) -> None:
    server.faults = {"row 3": [fault]}
    timeout_s = 0.2 if fault == "stall" else 10.0
    outcomes = list(engine(server, attempts=3, timeout_s=timeout_s).answers(rows(12)))
    assert unanswered(outcomes).digest == row(3).digest
    assert server.visits["row 3"] == 3
    assert unanswered(outcomes).detail.startswith("3 attempts, the last: ")
    assert any(part in unanswered(outcomes).detail for part in says.split("|"))
    others = [asked for asked in rows(12) if asked.prompt != "row 3"]
    check_answered([each for each in outcomes if each.digest != row(3).digest], others)


@pytest.mark.parametrize("fault", ["400", "413", "422"])
def test_a_refused_row_is_asked_once_and_others_go_on(server: ChatServer, fault: str) -> None:
    server.faults = {"row 0": [fault]}
    outcomes = {each.digest: each for each in engine(server).answers(rows(12))}
    refused = outcomes.pop(row(0).digest)
    assert isinstance(refused, Answer)
    assert (refused.status, refused.text) == ("refused", "")
    assert refused.detail.startswith(f"{fault}: {fault} for")
    assert server.visits["row 0"] == 1
    check_answered(outcomes.values(), rows(12)[1:])


def test_a_server_that_refuses_every_row_is_not_believed(server: ChatServer) -> None:
    server.always = "400"
    server.faults = {PROBE: [""]}
    came = []
    with pytest.raises(EngineError, match="refuses all requests; its model may read no images"):
        came.extend(engine(server).answers(rows(40)))
    assert came == []


def test_a_failed_row_does_not_let_refusals_through(server: ChatServer) -> None:
    server.always, server.faults = "400", {PROBE: [""], "row 1": ["page"]}
    came = []
    with pytest.raises(EngineError, match="refuses all requests"):
        came.extend(engine(server, attempts=1, concurrency=1).answers(rows(40)))
    assert [each.digest for each in came] == [row(1).digest]


def test_refusals_without_an_answer_are_not_believed(server: ChatServer) -> None:
    server.always = "400"
    server.faults = {PROBE: [""]}
    outcomes = list(engine(server).answers(rows(3)))
    assert [type(each) for each in outcomes] == [Unanswered] * 3
    assert all("nothing was answered before" in each.detail for each in outcomes)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("401", "wants a key, and there is none in the environment variable TEST_KEY"),
        ("403", "environment variable TEST_KEY"),
        ("402", "402: 402 for nobody; check"),
        ("404", "check `model`"),
        ("429 quota", "has no quota"),
        ("redirect", "set `url` to the place itself: 'http://127.0.0.1:1/v1/chat/completions'"),
        ("400", "refuses even a short question: 400"),
    ],
)
def test_a_server_that_cannot_answer_stops_all_at_once(
    server: ChatServer, fault: str, says: str
) -> None:
    server.always = fault
    with pytest.raises(EngineError, match=says.replace("(", r"\(")):
        list(engine(server).answers(rows(40)))
    # A short question alone was asked; on a busy machine more than once.
    assert {body["messages"][0]["content"] for body in server.bodies} == {"Say OK."}


def test_answers_before_the_end_stay_good(server: ChatServer) -> None:
    server.faults = {"row 20": ["404"]}
    came = []
    with pytest.raises(EngineError):
        came.extend(engine(server, concurrency=1).answers(rows(40)))
    check_answered(came, rows(20))


@pytest.mark.parametrize("fault", ["500", "503", "page", "cut", "reset"])
def test_a_server_that_fails_all_stops_the_shard_after_a_bounded_time(
    server: ChatServer, fault: str
) -> None:
    engine_ = engine(server)
    check_answered(engine_.answers(rows(8)), rows(8))
    server.always = fault
    begun = time.monotonic()
    came = []
    with pytest.raises(EngineError, match=r"answers nothing for 0\.3 s, not even a short question"):
        came.extend(engine_.answers(rows(200)))
    assert time.monotonic() - begun < 20  # not the 200 rows' time-outs
    assert not any(isinstance(each, Unanswered) for each in came)


@pytest.mark.parametrize("seed", range(3))
def test_under_any_faults_no_answer_is_lost_doubled_or_another_rows(
    server: ChatServer, seed: int
) -> None:
    draw = random.Random(seed)
    faults = ["429", "500", "503", "reset", "cut", "gzip", "other", "", *REPLIES]
    server.faults = {
        asked.prompt: [*draw.choices(faults, k=draw.randrange(4)), ""] for asked in rows(120)
    }
    server.most, server.delay_s = 12, 0.002
    requests = rows(120)
    draw.shuffle(requests)
    check_answered(engine(server, concurrency=16, attempts=30).answers(requests), requests)
    assert server.peak <= 16
    assert all(server.visits[asked.prompt] >= 1 for asked in requests)
    del server.answered[caption(PROBE, b"", 0)]
    assert set(server.answered.values()) == {1}


def test_a_stalled_server_stops_the_shard(server: ChatServer) -> None:
    server.always = "stall"
    with pytest.raises(EngineError, match=r"no answer within 0\.1 s"):
        list(engine(server, timeout_s=0.1).answers(rows(9)))


def test_nothing_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError, match="ConnectError"):
        list(engine("http://127.0.0.1:9/v1").answers(rows(9)))
    assert capsys.readouterr().err.count("/v1 does not answer: ConnectError") == 1


def test_a_server_that_answers_short_questions_only_stops_the_shard(server: ChatServer) -> None:
    server.always, server.faults = "500", {PROBE: [""]}
    with pytest.raises(EngineError, match="answered none of 32 requests in a row"):
        list(engine(server, attempts=1).answers(rows(200)))
    assert len(server.bodies) < 60


def test_a_server_that_dies_and_comes_back_loses_and_doubles_nothing() -> None:
    server = ChatServer(delay_s=0.02)
    came: list[Answer | Unanswered] = []
    with ExitStack() as life:
        life.enter_context(running(server))
        ask = engine(server, {"away_s": 5.0}, attempts=2).answers(rows(60))
        came.extend(next(ask) for _ in range(10))
        life.close()  # the server ends, in the middle of some answers
        again = threading.Timer(0.3, lambda: life.enter_context(running(server)))
        again.start()
        came.extend(ask)
        again.join()
    check_answered(came, rows(60))
    assert server.visits[PROBE] >= 2


def test_too_many_requests_halve_the_number_in_flight(server: ChatServer) -> None:
    server.most, server.retry_after_s, server.delay_s = 5, "0", 0.01
    check_answered(engine(server, concurrency=32, attempts=20).answers(rows(150)), rows(150))
    assert server.peak <= 32
    assert statistics.median(count for _, count in server.counts[100:]) <= 6
    refused = len(server.bodies) - sum(server.answered.values())
    assert refused < 80


def test_a_pause_that_the_server_wants_is_kept_by_all_requests(server: ChatServer) -> None:
    server.faults = {"row 0": ["429 1", ""]}
    ask = engine(server, concurrency=1).answers(rows(2))
    assert {next(ask).digest, next(ask).digest} == {row(0).digest, row(1).digest}
    moments = [at for at, _ in server.counts]
    assert moments[2] - moments[1] >= 0.2


def test_a_pause_of_hours_is_cut_short(server: ChatServer) -> None:
    server.faults = {"row 0": ["429 7200", ""]}
    begun = time.monotonic()
    check_answered(engine(server).answers(rows(2)), rows(2))
    assert time.monotonic() - begun < 60  # of 7,200 s


def test_requests_are_taken_as_slots_get_free(server: ChatServer) -> None:
    taken: list[int] = []

    def prepared() -> Iterator[Asked]:
        for number in range(50):
            taken.append(number)
            yield row(number)

    ask = engine(server, concurrency=4).answers(prepared())
    for came in range(1, 51):
        next(ask)
        assert len(taken) <= came + 4 - 1
    assert list(ask) == []


def test_no_request_no_question(server: ChatServer) -> None:
    assert list(engine(server).answers([])) == []
    assert server.bodies == []


def test_answers_that_nobody_takes_are_given_up(server: ChatServer) -> None:
    server.delay_s = 0.05
    made = engine(server)
    ask: Any = made.answers(rows(50))
    next(ask)
    ask.close()
    check_answered(made.answers(rows(4)), rows(4))
    assert len(server.bodies) < 30


def test_threads_share_the_limit(server: ChatServer) -> None:
    server.delay_s = 0.01
    made = engine(server, concurrency=3)
    shards = [[row(number) for number in range(at, at + 10)] for at in (0, 10, 20)]
    came: list[list[Answer | Unanswered]] = [[], [], []]
    threads = [
        threading.Thread(target=lambda n=n: came[n].extend(made.answers(shards[n])))
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outcomes, asked in zip(came, shards, strict=True):
        check_answered(outcomes, asked)
    assert server.peak <= 3


def test_an_error_of_the_row_before_it_is_asked_is_raised(server: ChatServer) -> None:
    def prepared() -> Iterator[Asked]:
        yield row(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(engine(server).answers(prepared()))


def test_a_server_that_wants_the_newer_name_of_the_limit_gets_it(server: ChatServer) -> None:
    server.limit_key = "max_completion_tokens"
    check_answered(engine(server).answers(rows(4)), rows(4))
    assert server.bodies[-1]["max_completion_tokens"] == 50


def test_the_key_is_sent_and_shown_nowhere(
    server: ChatServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TEST_KEY", f" {KEY}\n")
    caplog.set_level(logging.DEBUG)
    server.faults = {"row 0": ["400"], "row 1": ["500"], "row 2": ["429 1", ""]}
    made = engine(server, attempts=2)
    shown = [*map(repr, made.answers(rows(9))), repr(made), str(made.identity())]
    shown += [repr(part) for part in vars(made._opened()).values()]
    assert server.headers[-1]["Authorization"] == f"Bearer {KEY}"
    server.always, server.faults = "401", {}
    with pytest.raises(
        EngineError, match=r"401 for Bearer \[key\]; it refuses the key in"
    ) as error:
        list(made.answers(rows(9)))
    shown += traceback.format_exception(error.value)
    out = capfd.readouterr()
    everything = "".join([*shown, caplog.text, out.out, out.err])
    assert "400: 400 for Bearer [key]" in everything
    assert "httpx" in caplog.text
    assert KEY not in everything


def test_without_a_key_none_is_sent(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # not asked either
    check_answered(engine(server).answers(rows(1)), rows(1))
    assert "Authorization" not in server.headers[-1]


def test_a_key_that_no_header_can_have_is_not_shown(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-\u00e9\nx")
    with pytest.raises(EngineError, match="TEST_KEY holds no key") as error:
        list(engine(server).answers(rows(1)))
    assert "\u00e9" not in str(error.value)


def test_the_identity_has_no_url_and_no_effort() -> None:
    made = engine("http://somewhere/v1", temperature=0.5, concurrency=3)
    assert made.identity() == {
        "engine": "openai",
        "model": "m",
        "temperature": 0.5,
        "top_p": 1.0,
    }


@pytest.mark.parametrize("url", ["http://me:word@host/v1", "ftp://host/v1", "http://h/v1?key=1"])
def test_a_url_with_a_secret_or_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        engine(url)
