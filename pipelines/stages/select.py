"""select: apply the recipe's rules to stored signals; no pixel is touched."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from filters.rules import Verdict, judge
from pipelines.runtime.sidecar import kept_keys, read_table, rows_with, sidecar_path
from pipelines.runtime.stage import MapStage, ShardResult
from pipelines.sources.plan import read_plan
from schemas.keys import rank, unit
from schemas.recipe import Recipe, Rule
from schemas.store.storage import Storage
from schemas.tables import SELECTION

QUOTA = "quota"
CAP = "cap"
TEXT_REPEATS = "text_repeats"  # what rules can name besides the columns of signals


@dataclass(frozen=True, kw_only=True)
class Select(MapStage):
    """Judge the rows of one shard that dedup kept."""

    folder: ClassVar[str] = "selection"
    reads: ClassVar[tuple[str, ...]] = ("signals", "duplicates")
    version: ClassVar[int] = 1
    decides: ClassVar[tuple[str, ...]] = ("select", "sources")
    judges: ClassVar[bool] = True
    repeats: ClassVar[bool] = True

    rules: dict[str, Rule]
    # Source -> highest rank within its quota, which `pipelines.stages.quota` finds.
    cutoffs: Mapping[str, str] = field(default_factory=dict)
    rows_of: str = "duplicates"

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Select":
        """Return the stage as a recipe has it, without quotas."""
        return cls(rules=recipe.select, rows_of=rows_of)

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""
        return SELECTION

    def settings(self, shard: int, store: Storage) -> Any:
        """Return the rules, in order, and the cut-off of the shard's source."""
        rules = [[name, rule.model_dump(mode="json")] for name, rule in self.rules.items()]
        return [rules, self.cutoffs.get(read_plan(store)[shard].source, "")]

    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Write `selection/NNNNN.parquet`."""
        cutoff = self.cutoffs.get(read_plan(store)[shard].source)
        rows = []
        for key, verdict in judged(shard, store, self.rules, self.rows_of):
            if verdict.kept and cutoff is not None and rank(key, QUOTA) > cutoff:
                verdict = Verdict(kept=False, reason=QUOTA)
            rows.append({"key": key, "kept": verdict.kept, "reason": verdict.reason})
        dropped = Counter(row["reason"] for row in rows if not row["kept"])
        table = pa.Table.from_pylist(rows, schema=SELECTION)
        kept = len(rows) - dropped.total()
        return ShardResult(table=table, rows_in=len(rows), kept=kept, dropped=dropped)


def judged(
    shard: int, store: Storage, rules: dict[str, Rule], rows_of: str
) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdict of each row that the stage before kept, in key order, but for quotas."""
    signals = read_table(store, sidecar_path("signals", shard))
    columns = ["key", TEXT_REPEATS]
    twins = read_table(store, sidecar_path("duplicates", shard), columns).to_pylist()
    repeats = {twin["key"]: twin[TEXT_REPEATS] for twin in twins}
    for row in rows_with(signals, kept_keys(store, rows_of, shard)).to_pylist():
        values = row | {TEXT_REPEATS: repeats[row["key"]]}
        yield row["key"], judge(values, rules, drawn=unit(row["key"], CAP))
