"""The report of side-cars, without a build."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain

import pytest

from pipelines.dedup.lists import Lists
from pipelines.report.build_log import StageTime
from pipelines.report.page.examples import Found, find_examples, make_thumbnail, wanted
from pipelines.report.page.render import render_page
from pipelines.report.summary import merge_all, summarise_shard
from pipelines.stage_table import STAGES
from schemas.recipe import Recipe
from schemas.sample import CONTRACT_VERSION
from schemas.store.storage import Storage


@pytest.fixture(scope="session")
def render() -> Callable[..., str]:
    """Render the page of the first shards of a corpus."""

    def page(
        store: Storage,
        recipe: Recipe,
        shards: int,
        by_dedup: Mapping[str, int] | None = None,
        times: Mapping[str, StageTime] | None = None,
    ) -> str:
        summary = merge_all(summarise_shard(shard, store, recipe) for shard in range(shards))
        asked = wanted(summary)
        found = [find_examples(asked.of(n), store, recipe.blur) for n in range(shards)]
        blank = {"rows_in": 0, "kept": 0, "dropped": {}, "failed": {}}
        funnel = [{"stage": stage, **blank} for stage in STAGES]
        for line in funnel:
            line["dropped"] = (by_dedup or {}) if line["stage"] == "dedup" else {}
        manifest = {"recipe": "0" * 32, "contract": CONTRACT_VERSION, "tokens": [], "subsets": {}}
        return render_page(
            summary,
            Found(list(chain(*found))),
            {**manifest, "funnel": funnel},
            times or {},
            recipe,
            partial(make_thumbnail, store=store, settings=recipe.decode),
            Lists(),
        )

    return page
