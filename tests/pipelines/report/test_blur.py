"""The report's line on blurred faces, against boxes laid out by hand."""

import pyarrow as pa
import pytest

from filters.registry import SIGNALS
from pipelines.runtime.face_boxes import BOXES
from schemas.recipe import BlurConfig, MeasureConfig, Recipe
from schemas.source_config import ListSource
from schemas.tables import SCORES

BOX = [0.0, 0.0, 0.5, 0.5, 0.9]
KEYS = {name: name * 32 for name in "abcd"}
RECIPE = Recipe(
    name="blurred",
    sources=(ListSource(kind="list", name="web", path="list.csv"),),
    measure=MeasureConfig(signals=tuple(SIGNALS)),
    blur=BlurConfig(scorer="found"),
)


@pytest.fixture
def shards(desk) -> int:
    """Two shards: of three samples two have faces; d has one, and is no sample."""
    for shard, boxes in enumerate([{"a": 2, "b": 0, "d": 1}, {"c": 1}]):
        rows = [{"key": KEYS[name], "source": "web"} for name in boxes]
        for folder in ("sources", "signals", "selection"):
            desk.put(folder, shard, rows)
        for folder in ("raw", "captions", "pairs", "duplicates"):
            desk.put(folder, shard, [])
        desk.put("tokens", shard, [row for row in rows if row["key"] != KEYS["d"]])
        schema = SCORES.append(pa.field("found_boxes", BOXES))
        scored = [
            {"key": KEYS[name], "image_sha256": "", "text_digest": "", "found_boxes": [BOX] * n}
            for name, n in boxes.items()
        ]
        desk.put_table("scores", shard, pa.Table.from_pylist(scored, schema=schema))
    return 2


def test_the_report_says_how_many_samples_have_blurred_faces(desk, shards, render) -> None:
    page = render(desk.store, RECIPE, shards)
    kept = page.partition('<section id="kept">')[2].partition("</section>")[0]
    assert "Faces are blurred, in JPEGs and in codes: 3 faces in 2 samples" in kept
    assert "<code>found_blurred</code>" in kept


def test_it_says_nothing_of_faces_where_none_is_to_be_blurred(desk, shards, render) -> None:
    page = render(desk.store, RECIPE.model_copy(update={"blur": None}), shards)
    assert "Faces are blurred" not in page
