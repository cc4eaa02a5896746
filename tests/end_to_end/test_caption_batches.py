"""Requests for captions go to files, and answers come from files, in any order and with faults."""

import json
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow.parquet as pq
import pytest
from tiny import Tiny, draw_images

from pipelines.cli.main import main
from pipelines.verify.job import verify
from schemas.recipe import Recipe
from schemas.store.storage import Storage

IMAGES = 5
CAPTION: dict[str, Any] = {
    "styles": [{"style": "sentence"}],
    "engines": [
        {"engine": "openai", "name": name, "url": "http://127.0.0.1:9/v1", "model": name}
        for name in ("first", "second")
    ],
}


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(IMAGES))
    tiny.build(recipe(tiny), until="dedup")
    return tiny


def recipe(tiny: Tiny) -> Recipe:
    return tiny.recipe(caption=CAPTION)


def requests(
    tiny: Tiny, engine: str, capsys: pytest.CaptureFixture[str], unread: int = 0
) -> list[dict[str, Any]]:
    folder = Path(mkdtemp(dir=tiny.folder))
    command = ["caption", tiny.write_recipe(caption=CAPTION), "--out", str(tiny.out)]
    assert main([*command, "--engine", engine, "--emit-batch", str(folder)]) == 0
    printed = capsys.readouterr().out.splitlines()
    if unread:
        assert f"{unread} images without a request; the first: " in printed.pop()
    files = sorted(folder.glob("*.jsonl"))
    assert printed == [*map(str, files)] or not files
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def answer(request: dict[str, Any], text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    body = {"id": "x", "model": request["body"]["model"], "choices": [choice], "usage": usage}
    return {"custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}}


def failed(request: dict[str, Any]) -> str:
    body = {"error": {"message": "slow down"}}
    response = {"status_code": 429, "body": body}
    return json.dumps({"custom_id": request["custom_id"], "response": response})


def take(tiny: Tiny, engine: str, lines: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    file = tiny.folder / "answers.jsonl"
    file.write_text("\n".join(lines))
    words = ["--engine", engine, "--take-batch", str(file)]
    code = main(["caption", str(tiny.folder / "r.yaml"), "--out", str(tiny.out), *words])
    printed = capsys.readouterr().out
    assert code == ("\n0 answers kept" in f"\n{printed}")
    return printed


def captions(tiny: Tiny) -> list[dict[str, Any]]:
    paths = sorted((tiny.out / "captions").glob("0*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def test_rounds_of_files_caption_a_corpus_and_no_server_is_asked(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    first = requests(tiny, "first", capsys)
    assert len({each["custom_id"] for each in first}) == len(first) == IMAGES
    assert not requests(tiny, "second", capsys)  # its turn has not come
    good, refusing = first[1:], first[0]
    said = [json.dumps(answer(each, "Waves of light colour in a grid.")) for each in good]
    said.append(json.dumps(answer(refusing, "I'm sorry, I cannot describe it.")))
    said.append(json.dumps({**answer(refusing, "other"), "custom_id": "0" * 32}))
    printed = take(tiny, "first", [failed(first[2]), failed(first[1])], capsys)
    assert f"0 answers kept, {IMAGES} requests wait" in printed
    assert "2 lines failed, status 429; the first: " in printed
    assert "line 1: 429: slow down\n" in printed
    printed = take(tiny, "first", [*reversed(said), '{"custom_id": "cut'], capsys)
    assert f"{IMAGES} answers kept, 0 requests wait" in printed
    assert "1 answers to other requests" in printed
    assert "1 lines are no answers; the first: " in printed
    [second] = requests(tiny, "second", capsys)
    take(tiny, "second", [json.dumps(answer(second, "Bands of colour, in rows."))], capsys)
    assert not requests(tiny, "first", capsys)
    tiny.build(recipe(tiny))  # port 9 of this machine answers nobody
    rows = captions(tiny)
    assert sorted(row["caption_origin"] for row in rows) == ["first"] * (IMAGES - 1) + ["second"]
    assert sum(each["completion_tokens"] for row in rows for each in row["written"]) == 5 * 6
    assert not verify(Storage(str(tiny.out)))


def test_what_keeps_files_from_being_made_is_said(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write_recipe(caption=CAPTION)
    command = ["caption", str(tiny.folder / "r.yaml"), "--out", str(tiny.out)]
    assert main([*command, "--engine", "none", "--emit-batch", str(tiny.folder / "x")]) == 1
    assert "no engine `openai` named 'none'" in capsys.readouterr().err
    (tiny.folder / "old").mkdir()
    (tiny.folder / "old/requests-00000.jsonl").touch()
    assert main([*command, "--emit-batch", str(tiny.folder / "old")]) == 1
    assert "requests of another time; give another folder" in capsys.readouterr().err
    (tiny.out / "duplicates/00001.parquet").unlink()
    assert main([*command, "--emit-batch", str(tiny.folder / "x")]) == 1
    assert "duplicates/00001.parquet: missing; build until dedup" in capsys.readouterr().err


def test_images_that_cannot_be_read_are_said(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        image = tiny.folder / f"images/{number}.png"
        image.write_bytes(bytes(image.stat().st_size))
    asked = requests(tiny, "first", capsys, unread=2)
    assert len(asked) == IMAGES - 2


def test_an_image_in_two_shards_is_asked_about_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(3))
    for name in ("copy", "other"):
        shutil.copy(tmp_path / "images/0.png", tmp_path / f"images/{name}.png")
        (tmp_path / f"images/{name}.txt").write_text(f"the {name} of a picture")
    dedup = {"phash_distance": None, "same_bytes": False}
    caption = {**CAPTION, "engines": CAPTION["engines"][:1]}
    twice.build(twice.recipe(caption=caption, dedup=dedup, rows_per_shard=1), until="dedup")
    recipe_file = twice.write_recipe(caption=caption, dedup=dedup, rows_per_shard=1)
    command = ["caption", recipe_file, "--out", str(twice.out)]
    assert main([*command, "--emit-batch", str(tmp_path / "a")]) == 0
    lines = (tmp_path / "a/requests-00000.jsonl").read_text().splitlines()
    asked = [json.loads(line) for line in lines]
    assert len(asked) == len({each["custom_id"] for each in asked}) == 3
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(json.dumps(answer(each, "Waves of colour.")) for each in asked))
    assert main([*command, "--take-batch", str(file)]) == 0
    capsys.readouterr()
    assert main([*command, "--emit-batch", str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out == "no request waits for an answer\n"
