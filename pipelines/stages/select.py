"""select: apply the recipe's rules to stored values; no pixel is touched."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from filters.rules import columns_in, judge, measured_first
from pipelines.runtime.sidecar import column, kept_keys
from pipelines.runtime.stage import MapStage, ShardResult
from pipelines.runtime.values import read_values
from pipelines.sources.plan import read_plan
from schemas.recipe import Recipe
from schemas.rule_config import Rule, decided
from schemas.store.storage import Storage
from schemas.tables import SELECTION


@dataclass(frozen=True, kw_only=True)
class Select(MapStage):
    """Judge the rows of one shard by the rules of the recipe and of its source."""

    folder: ClassVar[str] = "selection"
    reads: ClassVar[tuple[str, ...]] = ("sources", "signals", "scores")
    version: ClassVar[int] = 2  # 2: before dedup, without quotas
    decides: ClassVar[tuple[str, ...]] = ("select", "sources")
    judges: ClassVar[bool] = True
    repeats: ClassVar[bool] = True

    rules: Mapping[str, Mapping[str, Rule]]  # by source, then by column
    scored: tuple[str, ...] = ()  # columns of scores
    rows_of: str = "scores"

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Select":
        """Return the stage as a recipe has it."""
        from filters.scores.registry import columns_of

        scored = tuple(each.name for each in columns_of(recipe.score.scorers))
        return cls(rules=recipe.rules_by_source(), scored=scored, rows_of=rows_of)

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""
        return SELECTION

    def settings(self, shard: int, store: Storage) -> Any:
        """Return the rules of the shard's source, in order."""
        return decided(self.rules[read_plan(store)[shard].source])

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Write `selection/NNNNN.parquet`."""
        rules = self.rules[read_plan(store)[shard].source]
        cheap, dear = measured_first(rules, self.scored)
        keys = kept_keys(store, self.rows_of, shard)
        values = read_values(store, shard, keys, columns_in(rules))
        reasons = judge(values, {**cheap, **dear})
        kept_rows = pc.equal(reasons, pa.scalar(""))
        table = pa.table([keys, kept_rows, reasons], schema=SELECTION)
        dropped = Counter(filter(None, column(table, "reason")))
        kept = len(keys) - dropped.total()
        return ShardResult(table=table, rows_in=len(keys), kept=kept, dropped=dropped)
