"""Rows are compared with benchmarks, known hashes and entries, all in one small corpus."""

import hashlib
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
LISTS = ("benchmark-geneval", "benchmark-pictures", "balance")


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Eleven images, some of which are on lists."""
    tiny = Tiny(folder=tmp_path_factory.mktemp("lists"))
    images, evaluation = tiny.folder / "images", tiny.folder / "evaluation"
    draw_images(images, range(11))
    (images / "0.txt").write_text("A photo of a green bench, and a blue bowl!")
    (images / "1.txt").write_text("a green bench beside a blue bowl")
    (images / "9.txt").write_text("nothing to see")
    known = hashlib.sha1((images / "10.png").read_bytes()).hexdigest()
    (tiny.folder / "illegal.txt").write_text(f"# of us\n{known}  10.png\n")
    (tiny.folder / "entries.txt").write_text("thing number\nbench\nno such thing\n")
    evaluation.mkdir()
    Image.open(images / "2.png").resize((150, 140)).save(evaluation / "two.jpg", quality=90)
    shutil.copy(images / "3.png", evaluation / "three.png")
    (evaluation / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n, and no more")
    rows = [{"prompt": "a photo of a dog"}, {"prompt": PROMPT, "include": [{"count": 1}]}]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tiny.folder / "evaluation_metadata.jsonl").write_text(lines)
    tiny.build(tiny.recipe(**parts(tiny)))
    return tiny


def parts(tiny: Tiny) -> dict[str, Any]:
    prompts = {"name": "geneval", "prompts": str(tiny.folder / "evaluation_metadata.jsonl")}
    images = {"name": "pictures", "images": str(tiny.folder / "evaluation")}
    return {
        "rows_per_shard": 6,
        "crawl": {"known_hashes": [str(tiny.folder / "illegal.txt")]},
        "dedup": {
            "phash_distance": 4,
            "benchmarks": [prompts, images],
            "balance": {"entries": str(tiny.folder / "entries.txt"), "per_entry": 4},
        },
    }


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


def test_each_row_on_a_list_is_dropped_with_its_reason(listed: Tiny):
    found = verdicts(listed)
    dropped = {name: row for name, row in found.items() if row["reason"]}
    said = {name: (row["reason"], row["matched"]) for name, row in dropped.items()}
    balanced = {name for name, row in dropped.items() if row["reason"] == "balance"}
    assert {name: each for name, each in said.items() if name not in balanced} == {
        "0.png": ("contaminated:geneval", PROMPT),
        "2.png": ("contaminated:pictures", "two.jpg"),
        "3.png": ("contaminated:pictures", "three.png"),
        "9.png": ("balance_unmatched", ""),
    }
    assert balanced == {"5.png", "7.png", "8.png"}  # of 4 to 8, drawn with 4 / 5
    assert {row["kept_key"] for row in found.values()} == {row["key"] for row in found.values()}
    assert (found["0.png"]["text_repeats"], found["4.png"]["text_repeats"]) == (0, 1)
    counted = pq.read_table(listed.out / "lists/balance.parquet").to_pylist()
    assert counted == [{"entry": "thing number", "rows": 5}, {"entry": "bench", "rows": 1}]
    letters = [pq.read_table(path) for path in (listed.out / "dead_letters/crawl").iterdir()]
    rows = [(row["reason"], row["outcome"]) for table in letters for row in table.to_pylist()]
    assert rows == [("known_hash:illegal", "dropped")]


def test_the_corpus_is_sound(listed: Tiny):
    assert faults(listed, deep=True) == []


def test_the_report_shows_counts_and_what_matched(listed: Tiny):
    page = (listed.out / "report.html").read_text()
    cells = "".join(f'<td class="number">{count}</td>' for count in (2, 1, 0))
    assert f'<tr><th scope="row">geneval</th>{cells}' in page
    assert f"<bdi>{PROMPT}</bdi>" in page
    cells = "".join(f'<td class="number">{value}</td>' for value in ("5", "80.0 %"))
    assert f'<th scope="row"><bdi>thing number</bdi></th>{cells}' in page
    assert "Of 3 entries, 2 are in" in page
    assert "known_hash:illegal" in page


def test_changed_and_missing_files_of_lists_are_found(listed: Tiny):
    paths = [listed.out / f"lists/{name}.parquet" for name in LISTS]
    bodies = [path.read_bytes() for path in paths]
    paths[0].unlink()
    for path in paths[1:]:
        pq.write_table(pq.read_table(path).slice(1), path)
    found = faults(listed)
    for path, body in zip(paths, bodies, strict=True):
        path.write_bytes(body)
    for name in LISTS:
        assert any(line.startswith(f"lists/{name}.parquet") for line in found)


def test_the_files_of_lists_go_with_them(listed: Tiny, tmp_path: Path):
    other = Tiny(folder=tmp_path / "copy")
    shutil.copytree(listed.folder, other.folder)
    other.build(other.recipe(rows_per_shard=6), until="dedup")
    assert [*(other.out / "lists").iterdir()] == []
    claims = (other.out / "sources/claims.json").read_text()
    assert not any(name in claims for name in LISTS)
    assert [row["reason"] for row in verdicts(other).values()] == [""] * 11


def test_the_samples_of_a_corpus_can_be_a_benchmark(listed: Tiny, tmp_path: Path):
    kept = {name for name, row in verdicts(listed).items() if not row["reason"]}
    other = Tiny(folder=tmp_path / "other")
    draw_images(other.folder / "images", (4, 5, 20))
    (other.folder / "images/20.txt").write_text("another text")
    copy = Image.open(listed.folder / "images/6.png").resize((140, 130))
    copy.save(other.folder / "images/21.jpg", quality=90)
    benchmarks = [{"name": "first", "images": str(listed.out)}]
    recipe = other.recipe(dedup={"phash_distance": 4, "benchmarks": benchmarks})
    other.build(recipe, until="dedup")
    found = {name: (row["reason"], row["matched"]) for name, row in verdicts(other).items()}
    keys = {name: row["key"] for name, row in verdicts(listed).items()}
    assert {"4.png", "6.png"} <= kept
    assert found == {
        "4.png": ("contaminated:first", keys["4.png"]),
        "5.png": ("", ""),  # which the balance kept out of the corpus
        "20.png": ("", ""),
        "21.jpg": ("contaminated:first", keys["6.png"]),
    }
