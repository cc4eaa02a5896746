"""A corpus with a rule on a score, and what a changed rule costs."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import simple_scorers
from tiny import Tiny, draw_images

from pipelines.runtime.sidecar import column
from pipelines.verify.job import verify
from schemas.recipe import Recipe
from schemas.store.storage import Storage

SCORERS = [
    {"score": "custom", "name": "bright", "callable": "simple_scorers:brightness"},
    {"score": "custom", "name": "wide", "callable": "simple_scorers:widths"},
]


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(4))
    simple_scorers.SEEN.clear()
    return tiny


def scored(tiny: Tiny, bright: dict[str, float]) -> Recipe:
    return tiny.recipe(score={"scorers": SCORERS}, select={"bright": bright, "wide": {"min": 1}})


def line(manifest: dict[str, Any], stage: str) -> dict[str, Any]:
    return next(line for line in manifest["funnel"] if line["stage"] == stage)


def test_a_rule_on_a_score_drops_rows_and_another_threshold_scores_nothing(tiny: Tiny) -> None:
    tiny.build(scored(tiny, {"min": 0}), until="score")
    assert len(simple_scorers.SEEN) == 4
    found = [
        value
        for path in sorted((tiny.out / "scores").glob("*.parquet"))
        for value in column(pq.read_table(path), "bright")
    ]
    middle = sorted(found)[2]
    manifest = tiny.build(scored(tiny, {"min": middle}))
    assert line(manifest, "score")["kept"] == 4
    assert line(manifest, "select")["dropped"] == {"bright_min": 2}
    assert manifest["subsets"]["t2i"]["samples"] == 2
    manifest = tiny.build(scored(tiny, {"max": middle}))
    assert line(manifest, "select")["dropped"] == {"bright_max": 1}
    assert len(simple_scorers.SEEN) == 4
    assert not verify(Storage(str(tiny.out)))
    page = (tiny.out / "report.html").read_text()
    assert "<h3>bright</h3>" in page
    other = Tiny(folder=tiny.folder)
    (tiny.out).rename(tiny.folder / "changed")
    fresh = other.build(scored(tiny, {"max": middle}))
    assert fresh["subsets"] == manifest["subsets"]
