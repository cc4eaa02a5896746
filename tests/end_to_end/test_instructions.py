"""A build whose instructions a server writes: with gates, forms where these refuse, and answers."""

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pair_sources
import pyarrow.parquet as pq
import pytest
from chat_server import PROBE, ChatServer, chat_server
from tiny import Tiny, draw_images

from filters.captioner import EngineError
from filters.captions.instructions import (
    INSTRUCTION,
    LEAD_IN,
    LEAD_IN_PROMPT,
    PROMPTS,
    lead_in_request,
)
from pipelines.captions import engines
from pipelines.cli.main import main
from pipelines.verify.job import verify
from schemas.caption_config import Instruction
from schemas.keys import unit
from schemas.markers import IMAGE, IMAGE_GEN
from schemas.store.storage import CorpusError, Storage
from schemas.subsets import EDIT, T2I, UNDERSTAND

IMAGES = 6
SHARE = 0.8
TEMPLATE = re.compile(r"[\w-]+/m-writer-[0-9a-f]{10}/\S+")


def writes(prompt: str) -> str:
    """Write what is asked for, but something else for some captions."""
    if prompt == PROBE:
        return "OK."
    (given,) = re.findall(r'"(.*?)"', prompt)
    number = int(re.findall(r"\d+", given)[0])
    if starts(prompt, LEAD_IN_PROMPT):
        return f"Here are your waves number {number}"
    if number % 3 == 0:
        return "I'm sorry, but I cannot help with that."
    if starts(prompt, PROMPTS[UNDERSTAND.name]):
        return "What is drawn in this picture?"
    return f"{'I would like to see' if starts(prompt, PROMPTS[T2I.name]) else 'Please,'} {given}"


def starts(prompt: str, bundled: str) -> bool:
    return prompt.startswith(bundled.partition("{caption}")[0])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setattr(engines, "_made", {})
    with chat_server(writes=writes) as server:
        yield server


def parts(folder: Path, server: ChatServer, **more: Any) -> dict[str, Any]:
    """Return sources of three subsets, and how their instructions are written."""
    images = {"kind": "folder", "path": str(folder / "images")}
    asked = {"engine": "writer", "share": SHARE, **more}
    url, limits = server.url, {"concurrency": 1}
    return {
        "rows_per_shard": 7,
        "dedup": {"phash_distance": None, "same_bytes": False},
        "sources": [
            {"name": "pics", **images},
            {"name": "asked", **images, "subset": UNDERSTAND.name},
            pair_sources.instruct_pix2pix(folder / "data", count=7),
        ],
        "caption": {
            "engines": [{"engine": "openai", "name": "writer", "url": url, "model": "m", **limits}],
            "instructions": {
                T2I.name: {**asked, "lead_in": True},
                EDIT.name: asked,
                UNDERSTAND.name: asked,
            },
        },
    }


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    draw_images(tmp_path / "images", range(IMAGES))
    return Tiny(folder=tmp_path)


def samples(tiny: Tiny, subset: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted((tiny.out / "shards").glob(f"{subset}-*.tar")):
        with tarfile.open(path) as tar:
            members = [tar.extractfile(member) for member in tar if member.name.endswith(".json")]
            found += [json.loads(member.read()) for member in members if member]
    return found


def written(tiny: Tiny) -> dict[str, list[dict[str, Any]]]:
    """Map each key to what the server wrote for it."""
    paths = sorted((tiny.out / "captions").glob("0*.parquet"))
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    return {row["key"]: row["instructions"] for row in rows}


@pytest.mark.slow
def test_a_server_writes_instructions_and_forms_do_where_it_fails(
    tiny: Tiny, server: ChatServer
) -> None:
    recipe = tiny.recipe(**parts(tiny.folder, server))
    manifest = tiny.build(recipe)
    said = written(tiny)
    origins = dict.fromkeys(("model", "form, refused", "form, not drawn"), 0)
    for subset in (T2I, EDIT, UNDERSTAND):
        assert samples(tiny, subset.name)
        for sample in samples(tiny, subset.name):
            user, answer = (message["content"] for message in sample["messages"])
            texts = {each["style"]: each for each in said[sample["key"]]}
            is_drawn = unit(sample["key"], "instruction") < SHARE
            assert bool(texts) == is_drawn
            instruction = texts.get(INSTRUCTION)
            if not instruction or not instruction["caption"]:
                assert re.fullmatch(r"[\w-]+/u\S+/a\S+", sample["template"])
                assert not instruction or instruction["reason"] == "refusal"
                origins["form, refused" if instruction else "form, not drawn"] += 1
                continue
            origins["model"] += 1
            assert TEMPLATE.fullmatch(sample["template"])
            assert f"/m-writer-{instruction['prompt']}/" in sample["template"]
            mark = f"{IMAGE}\n" if subset.input_image else ""
            assert user == f"{mark}{instruction['caption']}"
            if subset == T2I:
                assert answer == f"{texts[LEAD_IN]['caption']} {IMAGE_GEN}"
                assert sample["template"].endswith(f"/m-writer-{lead_in_request().prompt_id}")
            elif subset == UNDERSTAND:
                assert answer == sample["caption"]
            assert instruction["engine"] not in (sample["caption_origin"], sample["caption_style"])
    assert min(origins.values()) > 0
    asked = sum(server.visits.values()) - server.visits[PROBE]
    [line] = manifest["answers"]
    # Rows of one caption share an answer: an edit that changes nothing is asked about, and dropped.
    assert (
        line["answers"] == asked == len({each["digest"] for row in said.values() for each in row})
    )
    assert "<code>instruction: refusal</code>" in (tiny.out / "report.html").read_text()
    assert not verify(Storage(str(tiny.out)), deep=True)
    files = tiny.files()
    for folder in ("captions", "pairs"):
        for path in (tiny.out / folder).iterdir():
            path.unlink()
    tiny.build(recipe)
    assert tiny.files() == files
    assert sum(server.visits.values()) - server.visits[PROBE] == asked


@pytest.mark.slow
def test_a_stopped_build_keeps_the_instructions_that_were_answered(
    tiny: Tiny, server: ChatServer
) -> None:
    recipe = tiny.recipe(**parts(tiny.folder, server, share=1.0))
    tiny.build(recipe, until="dedup")
    answered: list[str] = []

    def stops(prompt: str) -> str:
        answered.append(prompt)
        server.always = "401" if len(answered) == 4 else ""
        return writes(prompt)

    server.writes = stops
    with pytest.raises((EngineError, CorpusError), match="401"):
        tiny.build(recipe, until="caption")
    assert len(answered) == 4
    server.always, server.writes = "", writes
    tiny.build(recipe, until="caption")
    rows = [each for row in written(tiny).values() for each in row]
    assert len(rows) > IMAGES
    visits = [count for prompt, count in server.visits.items() if prompt != PROBE]
    assert sorted(visits) == [1] * (len(visits) - 1) + [2]  # one request met the 401


def test_requests_for_instructions_are_in_batch_files(
    tiny: Tiny, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = parts(tiny.folder, server, share=1.0)
    path = tiny.write_recipe(**recipe)
    tiny.build(tiny.recipe(**recipe), until="dedup")
    asked: list[str] = []
    for number in range(3):
        folder = tiny.folder / f"requests{number}"
        command = ["caption", path, "--out", str(tiny.out)]
        assert main([*command, "--emit-batch", str(folder)]) == 0
        answers: list[str] = []
        for file in folder.glob("*.jsonl"):
            for request in map(json.loads, file.read_text().splitlines()):
                [message] = request["body"]["messages"]
                asked.append(message["content"])
                choice = {"message": {"content": writes(message["content"])}}
                body = {"model": "m", "choices": [{**choice, "finish_reason": "stop"}]}
                response = {"status_code": 200, "body": body}
                answers.append(
                    json.dumps({"custom_id": request["custom_id"], "response": response})
                )
        if not answers:
            break
        (tiny.folder / "answers.jsonl").write_text("\n".join(answers))
        assert main([*command, "--take-batch", str(tiny.folder / "answers.jsonl")]) == 0
    assert number == 2  # instructions, then lead-ins, then nothing
    capsys.readouterr()
    tiny.build(tiny.recipe(**recipe), until="caption")
    assert not server.visits
    for bundled in (*PROMPTS.values(), LEAD_IN_PROMPT):
        assert any(starts(prompt, bundled) for prompt in asked)


def test_a_recipe_names_an_engine_that_it_has_and_a_prompt_with_the_caption(tiny: Tiny) -> None:
    for wrong, message in (
        ({"engine": "nobody"}, "no engine is named 'nobody'"),
        ({"engine": "writer", "prompt": "Write."}, r"must hold \{caption\}"),
        ({"engine": "writer", "share": 0}, "share"),
    ):
        engine = {"engine": "custom", "name": "writer", "callable": "a:b"}
        caption = {"engines": [engine], "instructions": {T2I.name: wrong}}
        with pytest.raises(ValueError, match=message):
            tiny.recipe(caption=caption)
    assert Instruction(engine="writer").share == 1.0
