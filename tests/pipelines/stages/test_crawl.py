"""Crawl over a real server that misbehaves, and over bytes that lie where they are."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from serve import CorpusServer

from pipelines.runtime.sidecar import (
    dead_letters_path,
    read_origin,
    read_table,
    sidecar_path,
)
from pipelines.runtime.stage import ShardReport, is_fresh, run_shard
from pipelines.sources.plan import make_plan
from pipelines.stages.crawl import Crawl
from pipelines.stages.ingest import Ingest
from schemas.recipe import CrawlConfig, Recipe
from schemas.store.storage import Storage

GOOD = ("wild/icon.png", "wild/cmyk.jpg", "wild/grey16.png", "wild/moved.png", "wild/bomb.png")
BAD = ("wild/no_ai.png", "wild/gone.png", "wild/endless.png", "wild/drips.png")


def recipe_of(source: dict[str, Any], **crawl: Any) -> Recipe:
    patience: dict[str, Any] = {"timeout_s": 1.0, "retries": 0, "max_bytes": 2_000_000}
    limits = CrawlConfig(**patience | {"allow_private_addresses": True} | crawl)
    return Recipe.model_validate(
        {"name": "r", "sources": [{"name": "web"} | source], "crawl": limits.model_dump()}
    )


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"))


def list_of(server: CorpusServer, path: Path, *urls: str) -> dict[str, Any]:
    path.write_text("\n".join(["url", *urls]))
    columns = {"text": ""}
    return {"kind": "list", "path": str(path), "columns": columns, "base_url": server.base_url}


def stage_of(recipe: Recipe) -> Crawl:
    return Crawl(sources=recipe.sources, config=recipe.crawl)


def crawled(recipe: Recipe, store: Storage) -> ShardReport:
    make_plan(recipe, store)
    run_shard(Ingest(sources=recipe.sources, crawl=recipe.crawl), 0, store)
    return run_shard(stage_of(recipe), 0, store)


def raw_rows(store: Storage) -> list[dict]:
    return read_table(store, sidecar_path("raw", 0)).to_pylist()


def test_images_are_fetched_opt_outs_dropped_and_failures_said(
    server: CorpusServer, store: Storage, tmp_path: Path
) -> None:
    report = crawled(recipe_of(list_of(server, tmp_path / "l.csv", *GOOD, *BAD)), store)
    assert (report.rows_in, report.kept) == (9, 5)
    assert report.dropped == {"robots_noai": 1}
    assert report.failed == {"http_404": 1, "too_large": 1, "timeout": 1}
    letters = read_table(store, dead_letters_path("crawl", 0)).to_pylist()
    gone = next(letter for letter in letters if letter["reason"] == "http_404")
    assert f"{server.base_url}wild/gone.png" in gone["detail"]


def test_offsets_read_the_very_bytes_back(
    server: CorpusServer, store: Storage, tmp_path: Path
) -> None:
    crawled(recipe_of(list_of(server, tmp_path / "l.csv", *GOOD)), store)
    sources = read_table(store, sidecar_path("sources", 0)).to_pylist()
    urls = {row["key"]: row["url"] for row in sources}
    rows = raw_rows(store)
    found = store.read_ranges([(row["file"], row["offset"], row["length"]) for row in rows])
    assert [row["key"] for row in rows] == sorted(urls)
    for row, body in zip(rows, found, strict=True):
        name = urls[row["key"]].replace("moved.png", "moved_here.png")
        assert body == (server.folder / name).read_bytes()
        assert row["sha256"] == hashlib.sha256(body).hexdigest()
        assert row["final_url"] == f"{server.base_url}{name}"


def test_the_order_in_which_answers_come_leaves_no_trace(
    server: CorpusServer, tmp_path: Path
) -> None:
    source = list_of(server, tmp_path / "l.csv", *GOOD)
    made = []
    for concurrency in (1, 8, 8):
        store = Storage(str(tmp_path / f"out{len(made)}"))
        crawled(recipe_of(source, concurrency=concurrency), store)
        origin = read_origin(store, sidecar_path("raw", 0))
        assert origin is not None
        made.append(([store.read(file) for file in origin.files], origin.content))
    assert made[0] == made[1] == made[2]


def test_a_shard_of_no_rows_is_made(server: CorpusServer, store: Storage, tmp_path: Path) -> None:
    report = crawled(recipe_of(list_of(server, tmp_path / "l.csv", "file:///x")), store)
    assert (report.rows_in, report.kept, report.failed) == (0, 0, {})
    assert raw_rows(store) == []


def test_where_everything_fails_no_bytes_of_an_earlier_crawl_are_left(
    server: CorpusServer, store: Storage, tmp_path: Path
) -> None:
    crawled(recipe_of(list_of(server, tmp_path / "l.csv", "wild/icon.png")), store)
    assert len(store.listing("raw")) == 2
    recipe = recipe_of(list_of(server, tmp_path / "l.csv", "wild/gone.png", "wild/no_ai.png"))
    report = crawled(recipe, store)
    assert (report.kept, sum(report.failed.values()), sum(report.dropped.values())) == (0, 1, 1)
    assert raw_rows(store) == []
    assert store.listing("raw").keys() == {"00000.parquet"}


def test_trying_harder_or_moving_the_list_rebuilds_nothing(
    server: CorpusServer, store: Storage, tmp_path: Path
) -> None:
    crawled(recipe_of(list_of(server, tmp_path / "l.csv", "wild/icon.png")), store)
    before = dict(server.hits)
    moved = list_of(server, tmp_path / "moved.csv", "wild/icon.png")
    report = crawled(recipe_of(moved, timeout_s=2.0, retries=1, concurrency=3), store)
    assert report.skipped
    assert server.hits == before
    assert not is_fresh(stage_of(recipe_of(moved, max_bytes=5)), 0, store)


def test_an_image_changed_in_its_folder_is_hashed_again(store: Storage, tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    for body in (b"before", b"afterwards"):
        (tmp_path / "pics/a.png").write_bytes(body)
        pics = {"kind": "folder", "path": str(tmp_path / "pics"), "columns": {"text": ""}}
        crawled(recipe_of(pics), store)
        (row,) = raw_rows(store)
        assert row["sha256"] == hashlib.sha256(body).hexdigest()
        assert row["file"] == f"file://{tmp_path}/pics/a.png"
    assert store.listing("raw").keys() == {"00000.parquet"}


def test_a_corpus_and_its_sources_may_lie_in_object_stores(server: CorpusServer) -> None:
    store = Storage("memory://crawl/out")
    url = f"{server.base_url}wild/icon.png"
    store.fs.pipe_file("/crawl/l.csv", f"url\n{url}\n".encode())
    source = {"kind": "list", "path": "memory://crawl/l.csv", "columns": {"text": ""}}
    report = crawled(recipe_of(source), store)
    (row,) = raw_rows(store)
    assert report.kept == 1
    body = (server.folder / "wild/icon.png").read_bytes()
    assert store.read_ranges([(row["file"], row["offset"], row["length"])]) == [body]
