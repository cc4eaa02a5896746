"""report: one page that says what the corpus holds and where every row went.

Summaries of shards are merged; only then are the few rows drawn as examples found again and their
images read, so neither a shuffle nor the worker that writes the page ever holds more than the page.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from pipelines.dedup.lists import read_lists
from pipelines.report.build_log import REPORT, stage_times
from pipelines.report.page.examples import (
    Example,
    Found,
    Request,
    Wanted,
    find_examples,
    make_thumbnail,
)
from pipelines.report.page.examples import wanted as rows_wanted
from pipelines.report.page.render import render_page
from pipelines.report.summary import Summary, merge_all, summarise_shard
from pipelines.runtime.crash_isolation import attempt
from pipelines.runtime.stage import Stage
from pipelines.shards.manifest import MANIFEST
from schemas.recipe import Recipe
from schemas.store.storage import CorpusError, Storage


@dataclass(frozen=True, kw_only=True)
class Report(Stage):
    """The Beam part: numbers of side-car shards in, the path of the page out."""

    recipe: Recipe

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Report":
        """Return the stage as a recipe has it."""
        return cls(recipe=recipe)

    def expand(self, shards: Any, store: Storage) -> Any:
        """Build the graph: numbers of side-car shards in, the path of the page out.

        Raises, when run:
            CorpusError: if a side-car or the manifest is missing or damaged.
        """
        import apache_beam as beam
        from apache_beam.pvalue import AsSingleton

        from pipelines.runtime.map_shards import Concurrently

        spread = shards | "Spread" >> beam.Reshuffle().with_input_types(int).with_output_types(int)
        summary = (
            spread
            | "Summarise"
            >> beam.ParDo(
                Concurrently(partial(summarise_shard, store=store, recipe=self.recipe))
            ).with_output_types(Summary)
            | "Merge" >> beam.CombineGlobally(merge_all).with_output_types(Summary)
        )
        wanted = summary | "Wanted" >> beam.Map(rows_wanted)
        found = (
            spread
            | "Request" >> beam.Map(_request, rows=AsSingleton(wanted)).with_output_types(Request)
            | "Find"
            >> beam.ParDo(
                Concurrently(partial(find_examples, store=store, blur=self.recipe.blur))
            ).with_output_types(list[Example])
            | "Found" >> beam.CombineGlobally(_join)
        )
        return (
            summary
            | "Beside" >> beam.Map(_beside, AsSingleton(found))
            | "Publish"
            >> beam.ParDo(Concurrently(partial(write_report, store=store, recipe=self.recipe)))
        )


def write_report(told: tuple[Summary, list[Example]], *, store: Storage, recipe: Recipe) -> str:
    """Draw the examples, render and publish the page; return its path.

    Raises:
        CorpusError: if there is no manifest.
    """
    summary, examples = told
    if not store.exists(MANIFEST):
        raise CorpusError(f"{MANIFEST}: missing; run the build again to make it")
    with attempt(store, "report", 0) as call:
        page = call(
            render_page,
            summary,
            Found(examples),
            json.loads(store.read(MANIFEST)),
            stage_times(store),
            recipe,
            partial(make_thumbnail, store=store, settings=recipe.decode),
            read_lists(recipe, store),
        )
        store.commit_bytes(REPORT, page.encode())
    return REPORT


def _beside(summary: Summary, examples: list[Example]) -> tuple[Summary, list[Example]]:
    return summary, examples


def _request(shard: int, rows: Wanted) -> Request:
    return rows.of(shard)


def _join(lists: Iterable[list[Example]]) -> list[Example]:
    return list(chain.from_iterable(lists))
