import json
import os
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.runtime.sidecar import Counts, Origin
from pipelines.sources.lists.reader import ListReader
from pipelines.sources.plan import make_plan, passed_over, read_plan
from schemas.recipe import Recipe
from schemas.store.storage import CorpusError, Storage


def recipe(*sources: dict[str, Any], rows_per_shard: int = 2) -> Recipe:
    named = [{"kind": "list", "columns": {"text": ""}} | source for source in sources]
    return Recipe.model_validate({"name": "r", "sources": named, "rows_per_shard": rows_per_shard})


def write(path: Path, *urls: str) -> dict[str, Any]:
    path.write_text("\n".join(["url", *urls, ""]))
    return {"name": path.stem, "path": str(path)}


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lists that were counted, in order; the counting itself goes on as ever."""
    names: list[str] = []
    plan = ListReader.plan

    def noting(self: ListReader, rows_per_shard: int, store: Storage) -> Any:
        names.append(self.source.name)
        return plan(self, rows_per_shard, store)

    monkeypatch.setattr(ListReader, "plan", noting)
    return names


def test_units_come_in_the_order_of_the_recipe_and_number_the_shards(
    tmp_path: Path, store: Storage
) -> None:
    b = write(tmp_path / "b.csv", "1", "2", "3")
    a = write(tmp_path / "a.csv", "4")
    units = make_plan(recipe(b, a), store)
    assert [(unit.source, unit.first_row) for unit in units] == [("b", 0), ("b", 2), ("a", 0)]
    assert list(read_plan(store)) == units
    units = make_plan(recipe(a, b), store)
    assert [unit.source for unit in read_plan(store)] == ["a", "b", "b"]


def test_the_files_of_a_glob_come_in_name_order(tmp_path: Path, store: Storage) -> None:
    for name in ("10", "2", "1"):
        write(tmp_path / f"{name}.csv", "u")
    units = make_plan(recipe({"name": "all", "path": f"{tmp_path}/*.csv"}), store)
    assert [unit.name for unit in units] == ["1.csv", "10.csv", "2.csv"]


def test_a_source_that_did_not_change_is_not_counted_again(
    tmp_path: Path, store: Storage, counted: list[str]
) -> None:
    a, b = write(tmp_path / "a.csv", "1"), write(tmp_path / "b.csv", "2")
    first = make_plan(recipe(a, b), store)
    before = os.stat(tmp_path / "out/sources/plan.json")
    assert make_plan(recipe(a, b), store) == first
    assert counted == ["a", "b"]
    assert os.stat(tmp_path / "out/sources/plan.json") == before
    write(tmp_path / "b.csv", "2", "3", "4")
    assert len(make_plan(recipe(a, b), store)) == 3
    assert counted == ["a", "b", "b"]
    make_plan(recipe(a, b, rows_per_shard=1), store)
    assert counted == ["a", "b", "b", "a", "b"]


def test_a_file_added_to_a_glob_is_noticed(tmp_path: Path, store: Storage) -> None:
    write(tmp_path / "b.csv", "1")
    source = {"name": "all", "path": f"{tmp_path}/*.csv"}
    assert len(make_plan(recipe(source), store)) == 1
    write(tmp_path / "a.csv", "2")
    assert [unit.name for unit in make_plan(recipe(source), store)] == ["a.csv", "b.csv"]


def test_a_change_inside_a_listed_folder_is_noticed(tmp_path: Path, store: Storage) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics/a.png").write_bytes(b"a")
    source = {"name": "pics", "kind": "folder", "path": str(tmp_path / "pics")}
    before = make_plan(recipe(source), store)
    assert make_plan(recipe(source), store) == before
    (tmp_path / "pics/a.txt").write_text("a prompt")
    assert make_plan(recipe(source), store) != before


def test_a_file_may_stand_in_two_sources(tmp_path: Path, store: Storage) -> None:
    a = write(tmp_path / "a.csv", "1")
    units = make_plan(recipe(a, a | {"name": "again"}), store)
    assert [unit.source for unit in units] == ["a", "again"]


@pytest.mark.parametrize("kind", ["list", "webdataset", "folder"])
@pytest.mark.parametrize("path", ["none.csv", "none*.csv"])
def test_a_missing_file_is_named(kind: str, path: str, tmp_path: Path, store: Storage) -> None:
    with pytest.raises(CorpusError, match=rf"{path.replace('*', '.')}: no such"):
        make_plan(recipe({"name": "a", "kind": kind, "path": f"{tmp_path}/{path}"}), store)


def test_sources_without_rows_are_refused(tmp_path: Path, store: Storage) -> None:
    with pytest.raises(CorpusError, match=r"recipe r: its sources hold no rows \(source .*: .*\)"):
        make_plan(recipe(write(tmp_path / "a.csv")), store)


def test_reading_a_plan_before_it_is_made_says_so(store: Storage) -> None:
    with pytest.raises(CorpusError, match="has a build been started here"):
        read_plan(store)


def test_a_new_plan_is_seen_by_whoever_read_the_old_one(tmp_path: Path, store: Storage) -> None:
    a = write(tmp_path / "a.csv", "1")
    make_plan(recipe(a), store)
    assert len(read_plan(store)) == 1
    write(tmp_path / "a.csv", *"12345")
    make_plan(recipe(a), store)
    assert len(read_plan(Storage(store.root))) == 3


def test_a_plan_in_an_object_store_is_read_back() -> None:
    fsspec.filesystem("memory").pipe_file("/plans/l.jsonl", b'{"url": "1"}\n' * 3)
    store = Storage("memory://plans/out")
    units = make_plan(recipe({"name": "l", "path": "memory://plans/*.jsonl"}), store)
    assert list(read_plan(store)) == units
    assert json.loads(store.read("sources/plan.json"))["l"]["units"][0]["name"] == "l.jsonl"


def test_what_planning_and_reading_pass_over_is_counted_together(
    tmp_path: Path, store: Storage
) -> None:
    (tmp_path / "pics").mkdir()
    for name in ("a.png", "b.svg", "c.svg"):
        (tmp_path / "pics" / name).write_bytes(b"a")
    source = {"name": "pics", "kind": "folder", "path": str(tmp_path / "pics")}
    make_plan(recipe(source), store)
    assert passed_over(store, [_origin({})]) == {"pics": {".svg file": 2}}
    assert passed_over(store, [_origin({".md file": 2})]) == {
        "pics": {".md file": 2, ".svg file": 2}
    }


def _origin(counts: dict[str, int]) -> Origin:
    return Origin(stage="ingest", fingerprint="", content="", counts=Counts(), passed_over=counts)
