"""Held-out samples: shards of their own, and no image, near image or prompt on both sides."""

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pair_sources
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from PIL import Image
from tiny import Tiny, draw_images

from filters.text import normalised_text
from pipelines.verify.job import verify
from schemas.store.storage import Storage

pytestmark = pytest.mark.slow

SHARD = {"samples": 4, "held_out": 0.4}
IMAGES = 16


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A corpus of all subsets, two fifths of it held out."""
    tiny = Tiny(folder=tmp_path_factory.mktemp("split"))
    images = tiny.folder / "images"
    draw_images(images, range(IMAGES))
    for number in (2, 5, 9):  # one prompt of three images
        (images / f"{number}.txt").write_text("the Same   words, thrice")
    with Image.open(images / "7.png") as picture:  # a near image of another
        picture.save(images / "7b.jpg", quality=60)
    (images / "7b.txt").write_text("the seventh thing again, as a JPEG")
    tiny.build(recipe(tiny))
    return tiny


def recipe(tiny: Tiny, **shard: Any) -> Any:
    data, images = tiny.folder / "data", str(tiny.folder / "images")
    of = {"name": "of", "kind": "folder", "path": images}
    pairs = [pair_sources.seed_multi_turn, pair_sources.llava, pair_sources.pick_a_pic]
    described = tiny.folder / "sources.json"
    if not described.exists():  # the miniatures are written once
        described.write_text(json.dumps([make(data) for make in pairs]))
    sources = [
        {"name": "pics", "kind": "folder", "path": images},
        {"name": "edits", "kind": "edits", "of": of, "share": 0.6, "side": 64},
        *json.loads(described.read_text()),
    ]
    dedup = {"phash_distance": 4, "colour_distance": 0}  # near images are kept, if not equal
    settings = {"rows_per_shard": 8, "dedup": dedup, "shard": {**SHARD, **shard}}
    return tiny.recipe(sources=sources, **settings)


def samples(tiny: Tiny) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the subset and the row of side-cars of each sample in a shard."""
    rows: dict[str, dict[str, Any]] = defaultdict(dict)
    for folder in ("sources", "raw", "signals", "captions"):
        for path in (tiny.out / folder).glob("*.parquet"):
            for row in pq.read_table(path).to_pylist():
                rows[row["key"]][folder] = row
    for path in sorted((tiny.out / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            for key in {member.name.partition(".")[0] for member in tar}:
                yield path.name.rpartition("-")[0], rows[key]


def things(subset: str, row: dict[str, Any]) -> set[str]:
    """Name what a sample must not share with one on the other side."""
    listed, raw = row["sources"], row["raw"]
    found = {raw["sha256"], *(image["sha256"] for image in raw["images"])}
    if listed["source"] in ("pics", "edits"):
        found.add(listed["origin"] or listed["url"])
    else:
        found.add(f"{listed['source']} {listed['origin'] or listed['url']}")
    if subset.startswith(("t2i", "preference")):
        found.add(normalised_text(row["captions"]["caption"]))
    return found


def test_no_image_and_no_prompt_is_on_both_sides(split: Tiny) -> None:
    sides: dict[bool, set[str]] = {True: set(), False: set()}
    hashes: dict[bool, set[int]] = {True: set(), False: set()}
    for subset, row in samples(split):
        is_held_out = subset.endswith("_held_out")
        sides[is_held_out] |= things(subset, row)
        hashes[is_held_out].add(row["signals"]["phash"])
    assert sides[True]
    assert sides[False]
    assert not sides[True] & sides[False]
    assert all((a ^ b).bit_count() > 4 for a in hashes[True] for b in hashes[False])


def test_every_sample_is_on_one_side_and_the_counts_add_up(split: Tiny) -> None:
    manifest = json.loads((split.out / "manifest.json").read_text())
    counts = {name: subset["samples"] for name, subset in manifest["subsets"].items()}
    assert {"t2i", "edit", "t2i_held_out", "edit_held_out"} <= counts.keys()
    assert sum(counts.values()) == manifest["funnel"][-1]["kept"]
    assert manifest["funnel"][-1]["kept"] == manifest["funnel"][-2]["kept"]
    listed = pq.read_table(split.out / "shards" / "held_out.parquet").to_pylist()
    held = sum(count for name, count in counts.items() if name.endswith("_held_out"))
    groups = {row["group"] for row in listed}
    told = {"share": 0.4, "samples": held, "groups": len(groups)}
    assert len(listed) == held
    assert manifest["held_out"] == told
    keys = {row["key"] for row in listed if row["subset"] == "t2i"}
    tars = [str(path) for path in (split.out / "shards").glob("t2i_held_out-*.tar")]
    read = wds.WebDataset(sorted(tars), shardshuffle=False, empty_check=False)
    assert {sample["__key__"] for sample in read} == keys


def test_samples_that_share_something_have_one_group(split: Tiny) -> None:
    table = pq.read_table(split.out / "shards" / "held_out.parquet").to_pylist()
    group_of = {row["key"]: row["group"] for row in table}
    of_thing: dict[str, set[str]] = defaultdict(set)
    for subset, row in samples(split):
        if row["sources"]["key"] in group_of:
            for thing in things(subset, row):
                of_thing[thing].add(group_of[row["sources"]["key"]])
    assert all(len(groups) == 1 for groups in of_thing.values())


def test_verify_finds_no_fault_and_a_second_build_has_nothing_to_do(split: Tiny) -> None:
    assert verify(Storage(str(split.out)), deep=True) == []
    before = split.files()
    split.build(recipe(split))
    assert split.files() == before


def test_a_changed_list_of_held_out_samples_is_a_fault(split: Tiny) -> None:
    path = split.out / "shards" / "held_out.parquet"
    whole = path.read_bytes()
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    try:
        faults = [fault for fault in verify(Storage(str(split.out))) if "held_out" in fault.file]
        missing = table["key"][0].as_py()
        assert any(missing in fault.what for fault in faults)
    finally:
        path.write_bytes(whole)


def test_another_draw_moves_samples_and_none_takes_the_files_away(split: Tiny) -> None:
    """Last: it builds the corpus anew."""
    before = {path.name: path.read_bytes() for path in (split.out / "shards").iterdir()}
    split.build(recipe(split, shuffle="again"))
    assert verify(Storage(str(split.out))) == []
    again = {path.name: path.read_bytes() for path in (split.out / "shards").iterdir()}
    assert again["held_out.parquet"] != before["held_out.parquet"]
    split.build(recipe(split, held_out=0.0))
    assert verify(Storage(str(split.out))) == []
    assert not [path for path in (split.out / "shards").iterdir() if "held_out" in path.name]
