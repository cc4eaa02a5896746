"""Rows are compared with lists: benchmarks; one small corpus is built with all of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny import Tiny, draw_images

from pipelines.verify.job import verify
from schemas.store.storage import Storage

PROMPT = "a green bench and a blue bowl"


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Ten images; two have texts like a prompt, two others lie in a folder for evaluation."""
    tiny = Tiny(folder=tmp_path_factory.mktemp("lists"))
    images, evaluation = tiny.folder / "images", tiny.folder / "evaluation"
    draw_images(images, range(10))
    (images / "0.txt").write_text("A photo of a green bench, and a blue bowl!")
    (images / "1.txt").write_text("a green bench beside a blue bowl")
    evaluation.mkdir()
    Image.open(images / "2.png").resize((150, 140)).save(evaluation / "two.jpg", quality=90)
    shutil.copy(images / "3.png", evaluation / "three.png")
    (evaluation / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n, and no more")
    rows = [{"prompt": "a photo of a dog"}, {"prompt": PROMPT, "include": [{"count": 1}]}]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tiny.folder / "evaluation_metadata.jsonl").write_text(lines)
    tiny.build(tiny.recipe(**parts(tiny)))
    return tiny


def parts(tiny: Tiny, *, benchmarks: bool = True) -> dict[str, Any]:
    prompts = {"name": "geneval", "prompts": str(tiny.folder / "evaluation_metadata.jsonl")}
    images = {"name": "pictures", "images": str(tiny.folder / "evaluation")}
    dedup = {"phash_distance": 4, "benchmarks": [prompts, images] if benchmarks else []}
    return {"rows_per_shard": 4, "dedup": dedup}


def faults(tiny: Tiny, *, deep: bool = False) -> list[str]:
    return [str(fault) for fault in verify(Storage(str(tiny.out)), deep=deep)]


def verdicts(tiny: Tiny) -> dict[str, dict[str, Any]]:
    """Map the name of each image to its verdict."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((tiny.out / "duplicates").glob("0*.parquet")):
        listed = pq.read_table(tiny.out / "sources" / path.name).to_pylist()
        names = {row["key"]: Path(row["url"]).name for row in listed}
        found |= {names[row["key"]]: row for row in pq.read_table(path).to_pylist()}
    return found


def test_rows_with_a_prompt_or_an_image_of_a_benchmark_are_dropped(listed: Tiny):
    found = verdicts(listed)
    dropped = {
        name: (row["reason"], row["matched"]) for name, row in found.items() if row["reason"]
    }
    assert dropped == {
        "0.png": ("contaminated:geneval", PROMPT),
        "2.png": ("contaminated:pictures", "two.jpg"),
        "3.png": ("contaminated:pictures", "three.png"),
    }
    assert {row["kept_key"] for row in found.values()} == {row["key"] for row in found.values()}
    assert found["0.png"]["text_repeats"] == 0
    assert found["4.png"]["text_repeats"] == 1


def test_the_corpus_is_sound(listed: Tiny):
    assert faults(listed, deep=True) == []


def test_the_report_shows_the_counts_and_the_matched_prompt(listed: Tiny):
    page = (listed.out / "report.html").read_text()
    counts = ("geneval", "2", "1", "0")
    cells = "".join(f'<td class="number">{count}</td>' for count in counts[1:])
    assert f'<tr><th scope="row">{counts[0]}</th>{cells}' in page
    assert f"<bdi>{PROMPT}</bdi>" in page


def test_a_file_of_a_benchmark_goes_with_it(listed: Tiny, tmp_path: Path):
    other = Tiny(folder=tmp_path / "copy")
    shutil.copytree(listed.folder, other.folder)
    other.build(other.recipe(**parts(other, benchmarks=False)))
    assert not list((other.out / "duplicates").glob("benchmark-*"))
    assert "benchmark" not in (other.out / "sources/claims.json").read_text()
    assert [row["reason"] for row in verdicts(other).values()] == [""] * 10
    assert faults(other) == []


def test_a_changed_file_of_a_benchmark_is_found(listed: Tiny):
    path = listed.out / "duplicates/benchmark-pictures.parquet"
    body = path.read_bytes()
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    found = faults(listed)
    path.write_bytes(body)
    assert any(line.startswith("duplicates/benchmark-pictures.parquet") for line in found)
