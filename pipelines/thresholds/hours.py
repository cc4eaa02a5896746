"""The time that stages with models took a row, as the log of the builds tells."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.report.build_log import read_log
from pipelines.shards.manifest import read_manifest
from schemas.recipe import Recipe
from schemas.store.storage import Storage


@dataclass(frozen=True, kw_only=True)
class StageRate:
    """How long a stage takes a row."""

    stage: str
    seconds: float  # a row; of all workers together
    on_gpu: bool  # whether the recipe asks for a GPU

    def hours(self, rows: int) -> float:
        """Return the hours of so many rows."""
        return self.seconds * rows / 3600


def stage_rates(store: Storage, recipe: Recipe, scored: int) -> Sequence[StageRate]:
    """Return the rates of `score` and `vq_tokens`, as far as they are known.

    A rate is that of the build which worked longest on the stage. Its rows are not logged: they are
    taken to be today's, by the share of shards that it ran.

    Args:
        store: the corpus.
        recipe: of the last build.
        scored: rows that `score` scores by this recipe.
    """
    runs = [run for run in read_log(store) if run["shards_run"] and run["seconds"]]
    funnel = {line["stage"]: line["rows_in"] for line in read_manifest(store).get("funnel", ())}
    rows = {
        "score": (scored if recipe.score.scorers else 0, recipe.score.gpu),
        "vq_tokens": (funnel.get("vq_tokens", 0), recipe.vq_tokens.gpu),
    }
    rates: list[StageRate] = []
    for stage, (all_rows, gpu) in rows.items():
        longest = max(
            (run for run in runs if run["stage"] == stage),
            key=lambda run: run["seconds"],
            default=None,
        )
        if longest and all_rows:
            share = longest["shards_run"] / (longest["shards_run"] + longest["shards_fresh"])
            seconds = longest["seconds"] / (all_rows * share)
            rates.append(StageRate(stage=stage, seconds=seconds, on_gpu=gpu is not None))
    return rates
