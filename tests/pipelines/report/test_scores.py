"""The report's part on scores, of really scored rows: against counts over all rows at once."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from threshold_corpus import build_until_dedup, lay_out

from filters.signal import Column
from pipelines.report.build_log import StageTime
from pipelines.report.page.correlations import STEPS, Moments, make_moments
from pipelines.report.page.medians import median
from pipelines.report.page.records import Group, Summary
from pipelines.report.summary import merge, merge_all, summarise_shard
from pipelines.runtime.sidecar import (
    Counts,
    column,
    make_origin,
    read_table,
    sidecar_path,
    write_sidecar,
)
from pipelines.verify.report import _comparable
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe
from schemas.store.storage import Storage
from schemas.tables import CAPTIONS, PAIRS, TOKENS


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, Recipe, int]:
    """A corpus until dedup, with empty side-cars after it."""
    folder = tmp_path_factory.mktemp("scored")
    build_until_dedup(lay_out(folder), folder / "out")
    store = Storage(str(folder / "out"))
    shards = len(list((folder / "out/scores").glob("*.parquet")))
    for shard in range(shards):
        for name, schema in (("captions", CAPTIONS), ("pairs", PAIRS), ("tokens", TOKENS)):
            table = schema.empty_table()
            origin = make_origin(name, "0" * 32, table, Counts())
            write_sidecar(store, sidecar_path(name, shard), table, origin)
    return store, load_recipe(f"{store.root}/recipe.yaml"), shards


@pytest.fixture(scope="module")
def parts(scored) -> list[Summary]:
    store, recipe, shards = scored
    return [summarise_shard(shard, store, recipe) for shard in range(shards)]


def rows(scored, folder: str, *names: str) -> list[tuple]:
    store, _, shards = scored
    tables = [read_table(store, sidecar_path(folder, shard)) for shard in range(shards)]
    return [row for t in tables for row in zip(*(column(t, n) for n in names), strict=True)]


def test_parts_add_up_the_same_in_any_order_and_grouping(parts: list[Summary]) -> None:
    whole = merge_all(parts)
    assert merge_all(reversed(parts)) == whole
    assert merge(merge(parts[4], parts[2]), merge(parts[0], merge(parts[3], parts[1]))) == whole


def test_the_rows_nearest_to_a_bound_are_shown_on_both_sides(scored, parts) -> None:
    found = merge_all(parts).examples
    values = dict(rows(scored, "scores", "key", "brightness"))
    sources = dict(rows(scored, "sources", "key", "source"))
    reasons = dict(rows(scored, "selection", "key", "reason"))
    limit = {"pics": 0.495, "more": 0.49}
    for kind, reason, most in (("just_kept", "", 6), ("just_dropped", "brightness_min", 6)):
        there = [key for key, why in reasons.items() if why == reason and values.get(key)]
        there.sort(key=lambda key: (abs(values[key] - limit[sources[key]]), key))
        shown = [choice.key for choice in found[Group(kind, "brightness_min")]]
        assert shown == there[:most]
        assert shown


def test_scores_are_counted_by_source(scored, parts) -> None:
    found = merge_all(parts).scores_of_sources
    sources = dict(rows(scored, "sources", "key", "source"))
    values = [(sources[k], v) for k, v in rows(scored, "scores", "key", "brightness") if v]
    for source, limit in (("pics", 0.495), ("more", 0.49)):
        mine = [value for of, value in values if of == source]
        histogram = found[source, "brightness"]
        assert sum(histogram.measured) == len(mine)
        assert histogram.under == sum(value < limit for value in mine)
        assert (histogram.lowest, histogram.highest) == (min(mine), max(mine))
        middle = sorted(mine)[(len(mine) - 1) // 2]
        assert median(merge_all(parts).score_values[source, "brightness"]) == round(middle, 2)


def test_correlations_are_those_of_all_scored_rows(scored, parts) -> None:
    moments = merge_all(parts).moments
    scores = dict(rows(scored, "scores", "key", "brightness"))
    entropy = dict(rows(scored, "signals", "key", "entropy"))
    pairs = [(value, entropy[key]) for key, value in scores.items() if value is not None]
    expected = np.corrcoef(np.array(pairs).T)[0, 1]
    assert moments["brightness", "entropy"].correlation == pytest.approx(expected, abs=1e-3)
    assert moments["brightness", "entropy"].rows == len(pairs)
    # A pair of scores comes once; a score without spread correlates with nothing.
    assert ("clarity", "brightness") not in moments
    assert moments["brightness", "clarity"].correlation is None


def test_a_correlation_is_of_places_on_the_axis_without_missing_values() -> None:
    x = Column(name="x", type=pa.float64(), meaning="", low=0, high=10)
    y = Column(name="y", type=pa.float64(), meaning="", low=1, high=100, logarithmic=True)
    values = {
        "x": pa.chunked_array([[0.0, 5.0, None, 10.0, 99.0]], pa.float64()),
        "y": pa.chunked_array([[1.0, 10.0, 50.0, 100.0, None]], pa.float64()),
    }
    [(pair, found)] = make_moments([x, y], ["x"], values).items()
    half = STEPS // 2
    assert pair == ("x", "y")
    assert found == Moments(3, 3 * half, 3 * half, *([half**2 + STEPS**2] * 3))
    assert found.correlation == pytest.approx(1)


def test_the_page_shows_scores_thresholds_and_correlations(scored, render) -> None:
    page = render(*scored)
    scores = page.partition('<section id="scores">')[2].partition("</section>")[0]
    assert "Kept by select" in scores
    assert scores.count("brightness = 0.4") >= 2
    assert scores.count("data:image/webp") >= 6
    assert '<th scope="row">entropy</th>' in scores
    assert "<h3>brightness</h3>" in page.partition('<section id="signals">')[2]


def test_a_corpus_without_scorers_has_no_such_part(scored, tmp_path: Path) -> None:
    store, recipe, _ = scored
    shutil.copytree(store.root, tmp_path / "out")
    without = recipe.model_copy(
        update={"score": type(recipe.score)(), "select": {}, "sources": recipe.sources[:1]}
    )
    summary = summarise_shard(0, Storage(str(tmp_path / "out")), without)
    assert summary.moments == summary.scores_of_sources == {}


def test_verify_leaves_out_how_long_a_stage_took_and_waited(scored, render) -> None:
    waited = render(*scored, times={"score": StageTime(61.0, 0.87)})
    assert ">1 min 01 s, 87 % waiting for prepared images<" in waited
    assert _comparable(waited, True) == _comparable(render(*scored), True)
