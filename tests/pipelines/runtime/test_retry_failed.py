"""Rows that failed temporarily get another chance; all others stay what they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from serve import SPECIAL, CorpusServer, running_server, send_status

from pipelines.runtime.ownership import stray_tars
from pipelines.runtime.retry_failed import MARK, mark_shards
from pipelines.runtime.sidecar import (
    read_origin,
    read_origins,
    read_rejects,
    sidecar_path,
)
from pipelines.runtime.stage import is_fresh, run_shard
from pipelines.sources.plan import make_plan
from pipelines.stages.crawl import Crawl
from pipelines.stages.ingest import Ingest
from schemas.recipe import Recipe
from schemas.store.storage import Storage

URLS = ("wild/icon.png", "wild/grey16.png", "wild/cmyk.jpg", "wild/gone.png", "wild/no_ai.png")


def recipe_of(folder: Path, base_url: str) -> Recipe:
    listed = folder / "list.csv"
    listed.write_text("\n".join(["url", *URLS]))
    source = {"name": "web", "kind": "list", "path": str(listed), "base_url": base_url}
    source |= {"columns": {"text": ""}}
    crawl = {"timeout_s": 2.0, "retries": 0, "allow_private_addresses": True}
    return Recipe.model_validate({"name": "r", "sources": [source], "crawl": crawl})


def crawl(recipe: Recipe, store: Storage) -> Crawl:
    make_plan(recipe, store)
    run_shard(Ingest(sources=recipe.sources, crawl=recipe.crawl), 0, store)
    stage = Crawl(sources=recipe.sources, config=recipe.crawl)
    run_shard(stage, 0, store)
    return stage


def files(store: Storage) -> dict[str, bytes]:
    root = Path(store.root)
    paths = [*root.glob("raw/*"), *root.glob("dead_letters/*/*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


@contextmanager
def unavailable(monkeypatch: pytest.MonkeyPatch, *urls: str) -> Iterator[None]:
    """Have the server say 503 of these while the body runs."""
    with monkeypatch.context() as patched:
        for url in urls:
            patched.setitem(SPECIAL, f"/{url}", send_status(503))
        yield


@pytest.fixture
def undisturbed(server: CorpusServer, tmp_path: Path) -> dict[str, bytes]:
    """What a crawl writes while the server is there."""
    store = Storage(str(tmp_path / "undisturbed"))
    crawl(recipe_of(tmp_path, server.base_url), store)
    return files(store)


def test_after_an_outage_the_retried_shard_is_the_undisturbed_one(
    server: CorpusServer, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    store = Storage(str(tmp_path / "out"))
    with running_server() as away:
        base_url = away.base_url
    crawl(recipe_of(tmp_path, base_url), store)
    assert set(read_rejects(store, "crawl", 0)["reason"].to_pylist()) == {"connection_error"}
    assert mark_shards(store, "raw", range(1)) == len(URLS)
    stage = crawl(recipe_of(tmp_path, server.base_url), store)
    assert is_fresh(stage, 0, store)
    assert files(store) == undisturbed


def test_only_what_may_pass_is_asked_for_again(
    server: CorpusServer,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Storage(str(tmp_path / "out"))
    recipe = recipe_of(tmp_path, server.base_url)
    with unavailable(monkeypatch, "wild/grey16.png"):
        crawl(recipe, store)
    assert mark_shards(store, "raw", range(1)) == 1
    server.hits.clear()
    crawl(recipe, store)
    assert server.hits == {"/wild/grey16.png": 1}
    assert files(store) == undisturbed


def test_killed_before_its_commit_a_retry_loses_nothing_that_was_fetched(
    server: CorpusServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Storage(str(tmp_path / "out"))
    recipe = recipe_of(tmp_path, server.base_url)
    with unavailable(monkeypatch, "wild/grey16.png"):
        crawl(recipe, store)
    before = files(store)
    mark_shards(store, "raw", range(1))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.runtime.stage.write_sidecar", killed)
        with pytest.raises(KeyboardInterrupt):
            crawl(recipe, store)
    with unavailable(monkeypatch, *URLS):
        crawl(recipe, store)
    for path in stray_tars(store, read_origins(store, "raw", [0])):
        store.remove(path)
    assert files(store) == before


def test_bytes_that_have_changed_are_fetched_anew(
    server: CorpusServer,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Storage(str(tmp_path / "out"))
    recipe = recipe_of(tmp_path, server.base_url)
    with unavailable(monkeypatch, "wild/grey16.png"):
        crawl(recipe, store)
    mark_shards(store, "raw", range(1))
    (tar,) = Path(store.root).glob("raw/*.tar")
    tar.write_bytes(tar.read_bytes().replace(b"IDAT", b"IDAX"))
    crawl(recipe, store)
    assert files(store) == undisturbed


def test_a_shard_without_such_rows_stays_as_it_is(
    server: CorpusServer, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    store = Storage(str(tmp_path / "undisturbed"))
    assert mark_shards(store, "raw", range(1)) == 0
    assert files(store) == undisturbed


def test_marking_twice_marks_once(tmp_path: Path) -> None:
    store = Storage(str(tmp_path / "out"))
    with running_server() as away:
        base_url = away.base_url
    crawl(recipe_of(tmp_path, base_url), store)
    for _ in range(2):
        assert mark_shards(store, "raw", range(1)) == len(URLS)
    origin = read_origin(store, sidecar_path("raw", 0))
    assert origin is not None
    assert origin.fingerprint.count(MARK) == 1
