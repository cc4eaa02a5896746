"""A build removes what it wrote, and nothing else; it stops before what it made is lost."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import Tiny, draw_images, write_tar

from pipelines.build import build
from pipelines.engines.engine import Engine
from pipelines.verify.job import verify
from schemas.store.storage import CorpusError, Storage

FOREIGN = (
    "shards/train-000.tar",
    "shards/t2i-000099.tar",
    "shards/t2i-000098.parquet",
    "shards/t2i-000098.tar",
    "shards/README.md",
    "raw/00007.tar",
    "raw/00007-0123456789ab.tar",
    "raw/notes.parquet",
    "signals/00003.parquet",
    "signals/3.parquet",
    "signals/00002.parquet.bak",
    "tokens/00009.npy",
    "tokens/00009.tokens128.npy",
    "selection/quota-notes.json",
    "selection/quota-0123456789abcdef0123456789abcdef.json",
    "sources/listing-x.jsonl",
    "sources/00009.parquet",
    "dead_letters/notes.txt",
    "dead_letters/crawl/notes.txt",
    "dead_letters/crawl/00009.parquet",
    "dead_letters/shard/00009.parquet",
    "exchange/notes.arrow",
    "exchange/dedup-read-00000-by_url.arrow",
    ".attempts/measure/notes",
    ".partial-notes",
    "raw/.partial-12345678",
    "manifest.json.bak",
    "other/.partial-0123456789abcdef0123456789abcdef",
    "mine/deep/file",
)


def foreign_bytes(name: str) -> bytes:
    """Make a file as another program would: Parquet where the name says so."""
    if not name.endswith(".parquet"):
        return f"the user's {name}".encode()
    sink = io.BytesIO()
    pq.write_table(pa.table({"mine": [1, 2, 3]}), sink)
    return sink.getvalue()


def test_files_of_others_outlive_builds_that_shrink_the_corpus(tiny: Tiny) -> None:
    for name in FOREIGN:
        path = tiny.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(foreign_bytes(name))
    for number in (3, 4, 5):
        (tiny.folder / f"images/{number}.png").unlink()
    before = tiny.files()
    manifest = tiny.build(tiny.recipe(shard={"samples": 100}), allow_shrink=True)
    assert manifest["subsets"]["t2i"]["samples"] == 3
    after = tiny.files()
    assert [name for name in FOREIGN if after.get(name) != foreign_bytes(name)] == []
    gone = before.keys() - after.keys()
    assert {"signals/00002.parquet", "tokens/00002.tokens128.npy"} <= gone
    assert "shards/t2i-000001.tar" in gone
    kept = {name for name in after if not name.startswith(FOREIGN)}
    assert not [name for name in kept if name.split("/")[-1].startswith("00002")]


def test_an_output_shard_does_not_take_the_place_of_a_users_tar(tiny: Tiny) -> None:
    """Six samples go to six possible shards; one of those that are written is taken."""
    manifest = tiny.build(tiny.recipe(shard={"samples": 1}))
    path = manifest["subsets"]["t2i"]["shards"][-1]["path"]
    tiny.build()  # the corpus has fewer shards again
    assert not (tiny.out / path).exists()
    (tiny.out / path).write_bytes(b"the user's")
    with pytest.raises(CorpusError, match=f"{path}: lies where a file of this build"):
        tiny.build(tiny.recipe(shard={"samples": 1}))
    assert (tiny.out / path).read_bytes() == b"the user's"


def test_another_corpus_in_the_folder_is_left_as_it_is(tiny: Tiny) -> None:
    before = tiny.files()
    for changes, said in (
        ({"name": "other"}, r"holds the corpus 'tiny' of the sources pics, and this recipe is"),
        ({"sources": [{"name": "x", "kind": "folder", "path": str(tiny.folder / "images")}]},
         "this recipe has none of them, but x"),
    ):  # fmt: skip
        with pytest.raises(CorpusError, match=said):
            tiny.build(tiny.recipe(**changes))
    assert tiny.files() == before


def test_a_folder_that_lost_images_stops_the_build_until_that_is_allowed(tiny: Tiny) -> None:
    before = tiny.files()
    for rows, lost in ((5, [5]), (3, [4, 3])):
        for number in lost:
            (tiny.folder / f"images/{number}.png").unlink()
        for _ in range(2):  # and again, as nothing was accepted
            told = f"pics had 6 rows and has {rows}.*--allow-shrink"
            with pytest.raises(CorpusError, match=told):
                tiny.build()
            assert tiny.files() == before
    tiny.build(allow_shrink=True)
    assert not verify(Storage(str(tiny.out)))
    tiny.build()  # what was accepted is what the next build is compared with


def test_a_source_that_left_the_recipe_stops_the_build(tmp_path: Path) -> None:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "a", range(3))
    draw_images(tmp_path / "b", range(3, 4))
    sources = [{"name": n, "kind": "folder", "path": str(tmp_path / n)} for n in "ab"]
    tiny.build(tiny.recipe(sources=sources), until="ingest")
    with pytest.raises(CorpusError, match="b had 1 row and is no longer in the recipe"):
        tiny.build(tiny.recipe(sources=sources[:1]), until="ingest")
    tiny.build(tiny.recipe(sources=sources[:1]), until="ingest", allow_shrink=True)


@pytest.mark.parametrize(("rows", "stops"), [(18, False), (17, True), (3, True)])
def test_a_list_that_was_cut_short_stops_the_build(rows: int, stops: bool, tmp_path: Path) -> None:
    """A tenth of the rows may go."""
    tiny = Tiny(folder=tmp_path)
    lines = ["url", *(f"http://127.0.0.1:9/{number}.png" for number in range(20))]
    listed = tmp_path / "list.csv"
    listed.write_text("\n".join(lines))
    sources = [{"name": "web", "kind": "list", "path": str(listed), "columns": {"text": ""}}]
    tiny.build(tiny.recipe(sources=sources, rows_per_shard=7), until="ingest")
    before = tiny.files()
    listed.write_text("\n".join(lines[: rows + 1]))
    recipe = tiny.recipe(sources=sources, rows_per_shard=3)
    if stops:
        with pytest.raises(CorpusError, match=f"web had 20 rows and has {rows}"):
            tiny.build(recipe, until="ingest")
        assert tiny.files() == before
    else:
        assert tiny.build(recipe, until="ingest")["funnel"][0]["kept"] == rows


def test_tars_that_lost_rows_stop_the_build_once_they_are_read(tmp_path: Path) -> None:
    """Their rows are not known before: nothing is fetched or removed for them, though."""
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(4))
    write_tar(tmp_path / "a.tar", tmp_path / "images", range(4))
    sources = [{"name": "tars", "kind": "webdataset", "path": str(tmp_path / "*.tar")}]
    recipe = tiny.recipe(sources=sources)
    tiny.build(recipe, until="crawl")
    tiny.build(tiny.recipe(sources=sources, rows_per_shard=3), until="crawl")  # cut otherwise
    whole = (tmp_path / "a.tar").read_bytes()
    write_tar(tmp_path / "a.tar", tmp_path / "images", range(3))
    raw = {name: data for name, data in tiny.files().items() if name.startswith("raw/")}
    for _ in range(2):
        with pytest.raises(CorpusError, match="tars had 4 rows and has 3"):
            tiny.build(recipe, until="crawl")
        assert {n: d for n, d in tiny.files().items() if n.startswith("raw/")} == raw
    (tmp_path / "a.tar").write_bytes(whole)
    tiny.build(recipe, until="crawl")
    write_tar(tmp_path / "a.tar", tmp_path / "images", range(3))
    tiny.build(recipe, until="crawl", allow_shrink=True)
    plan = json.loads((tiny.out / "sources/plan.json").read_text())
    assert plan["tars"]["rows"] == 3


@pytest.mark.slow
def test_neither_quotas_nor_filters_nor_smaller_shards_are_a_loss(tiny: Tiny) -> None:
    sources = [{"name": "pics", "kind": "folder", "path": str(tiny.folder / "images"), "quota": 2}]
    manifest = tiny.build(tiny.recipe(sources=sources, rows_per_shard=4))
    assert manifest["subsets"]["t2i"]["samples"] == 2
    assert not list(tiny.out.glob("*/00002.parquet"))
    assert not verify(Storage(str(tiny.out)))


def test_dead_letters_of_others_are_not_replaced(tmp_path: Path) -> None:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(1))
    tiny.build(until="ingest")
    path = tiny.out / "dead_letters/crawl/00000.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(foreign_bytes(path.name))
    with pytest.raises(CorpusError, match=r"crawl/00000.parquet: lies where a file"):
        tiny.build(until="crawl")
    assert path.read_bytes() == foreign_bytes(path.name)


def test_an_object_store_is_looked_at_as_a_folder_is(tiny: Tiny) -> None:
    bucket = Storage("memory://foreign-files/out")
    bucket.commit_bytes("shards/train-000.tar", b"mine")
    with pytest.raises(CorpusError, match="holds shards, and is no corpus of this program"):
        build(tiny.recipe(), "memory://foreign-files/out", Engine(processes=1))
    assert bucket.fs.find("/foreign-files") == ["/foreign-files/out/shards/train-000.tar"]
