from pathlib import Path

import pytest

from pipelines.runtime.sidecar import dead_letters_path, read_table, sidecar_path
from pipelines.runtime.stage import ShardResult, is_fresh, run_shard
from pipelines.sources.plan import make_plan
from pipelines.stages.ingest import Ingest
from schemas.keys import sample_key
from schemas.recipe import Recipe
from schemas.source_config import Columns, ListSource
from schemas.store.storage import CorpusError, Storage
from schemas.tables import SOURCES

LIST = """url,text,licence
http://a.org/2,two,
http://a.org/1,one,MIT
,no url,
http://a.org/2,two again,
file:///etc/passwd,bad,
http://a.org/3,three,,,
"""


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "l.csv").write_text(LIST)
    source = ListSource(name="web", kind="list", path=f"{tmp_path}/l.csv", licence="CC0")
    return Recipe(name="r", sources=(source,), rows_per_shard=100)


def stage_of(recipe: Recipe) -> Ingest:
    return Ingest(sources=recipe.sources, crawl=recipe.crawl)


def ingested(recipe: Recipe, store: Storage, tmp_path: Path) -> ShardResult:
    make_plan(recipe, store)
    return stage_of(recipe).process(0, store, tmp_path)


def test_every_row_has_one_outcome(recipe: Recipe, store: Storage, tmp_path: Path) -> None:
    counts = ingested(recipe, store, tmp_path).counts()
    assert counts.conserved
    assert (counts.rows_in, counts.kept) == (6, 2)
    assert counts.dropped == {"repeated_url": 1}
    assert counts.failed == {"missing_url": 1, "bad_url": 1, "malformed_row": 1}


def test_rows_come_out_in_key_order_and_the_first_of_a_url_stands(
    recipe: Recipe, store: Storage, tmp_path: Path
) -> None:
    table = ingested(recipe, store, tmp_path).table
    assert table.schema.equals(SOURCES)
    rows = table.to_pylist()
    keys = {url: sample_key("web", url) for url in ("http://a.org/1", "http://a.org/2")}
    assert [row["key"] for row in rows] == sorted(keys.values())
    assert {(row["url"], row["key"], row["text"], row["licence"]) for row in rows} == {
        ("http://a.org/1", keys["http://a.org/1"], "one", "MIT"),
        ("http://a.org/2", keys["http://a.org/2"], "two", "CC0"),
    }


def test_dead_letters_name_the_file_and_the_row(recipe: Recipe, store: Storage) -> None:
    make_plan(recipe, store)
    run_shard(stage_of(recipe), 0, store)
    letters = read_table(store, dead_letters_path("ingest", 0)).to_pylist()
    assert [(letter["id"], letter["outcome"], letter["reason"]) for letter in letters] == [
        ("l.csv row 3", "failed", "missing_url"),
        ("l.csv row 4", "dropped", "repeated_url"),
        ("l.csv row 5", "failed", "bad_url"),
        ("l.csv row 6", "failed", "malformed_row"),
    ]


def test_shards_together_hold_what_one_shard_would(
    recipe: Recipe, store: Storage, tmp_path: Path
) -> None:
    whole = ingested(recipe, store, tmp_path).table.to_pylist()
    small = recipe.model_copy(update={"rows_per_shard": 1})
    rows = {}
    for shard in range(len(make_plan(small, store))):
        table = stage_of(small).process(shard, store, tmp_path).table
        rows |= {row["key"]: row for row in table.to_pylist()}
    assert rows.keys() == {row["key"] for row in whole}


def test_only_shards_whose_part_of_the_list_changed_are_made_again(
    recipe: Recipe, store: Storage, tmp_path: Path
) -> None:
    (tmp_path / "b.csv").write_text("url\nhttp://b.org/1\n")
    both = recipe.model_copy(
        update={
            "sources": (
                recipe.sources[0],
                ListSource(
                    name="b",
                    kind="list",
                    path=f"{tmp_path}/b.csv",
                    columns=Columns(text=""),
                ),
            )
        }
    )
    stage = stage_of(both)
    for shard in range(len(make_plan(both, store))):
        run_shard(stage, shard, store)
    (tmp_path / "b.csv").write_text("url\nhttp://b.org/2\n")
    make_plan(both, store)
    assert [is_fresh(stage, shard, store) for shard in range(2)] == [True, False]


def test_ingest_without_a_plan_says_what_is_missing(recipe: Recipe, store: Storage) -> None:
    with pytest.raises(CorpusError, match=r"no sources/plan\.json"):
        run_shard(stage_of(recipe), 0, store)
    assert not store.exists(sidecar_path("sources", 0))
