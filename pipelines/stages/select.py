"""select: apply the recipe's rules to stored signals; no pixel is touched."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from filters.rules import Verdict, judge
from pipelines.runtime.sidecar import read_table, sidecar_path
from pipelines.runtime.stage import Outcome
from pipelines.sources.plan import read_plan
from schemas.keys import rank, unit
from schemas.recipe import Rule
from schemas.store.storage import Storage
from schemas.tables import SELECTION

QUOTA = "quota"
CAP = "cap"
TEXT_REPEATS = "text_repeats"  # what rules can name besides the columns of signals


@dataclass(frozen=True, kw_only=True)
class Select:
    """Judge the rows of one shard that dedup kept."""

    name: ClassVar[str] = "select"
    folder: ClassVar[str] = "selection"
    inputs: ClassVar[tuple[str, ...]] = ("signals", "duplicates")
    version: ClassVar[int] = 1
    decodes: ClassVar[bool] = False

    rules: dict[str, Rule]
    cutoffs: dict[str, str]  # source -> highest rank within its quota (pipelines.stages.quota)

    def settings(self, shard: int, store: Storage) -> Any:
        """Return the rules, in order, and the cut-off of the shard's source."""
        rules = [[name, rule.model_dump(mode="json")] for name, rule in self.rules.items()]
        return [rules, self.cutoffs.get(read_plan(store)[shard].source, "")]

    def process(self, shard: int, store: Storage, scratch: Path) -> Outcome:
        """Write `selection/NNNNN.parquet`."""
        cutoff = self.cutoffs.get(read_plan(store)[shard].source)
        rows = []
        for key, verdict in judged(shard, store, self.rules):
            if verdict.kept and cutoff is not None and rank(key, QUOTA) > cutoff:
                verdict = Verdict(kept=False, reason=QUOTA)
            rows.append({"key": key, "kept": verdict.kept, "reason": verdict.reason})
        dropped = Counter(row["reason"] for row in rows if not row["kept"])
        table = pa.Table.from_pylist(rows, schema=SELECTION)
        kept = len(rows) - dropped.total()
        return Outcome(table=table, rows_in=len(rows), kept=kept, dropped=dropped)


def judged(shard: int, store: Storage, rules: dict[str, Rule]) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdict of each row that dedup kept, in key order; quotas are not applied."""
    signals = read_table(store, sidecar_path("signals", shard))
    duplicates = read_table(store, sidecar_path("duplicates", shard))
    # Both are in key order, and dedup speaks of every measured row.
    for row, twin in zip(signals.to_pylist(), duplicates.to_pylist(), strict=True):
        if row["key"] != twin["key"]:
            raise AssertionError(f"shard {shard}: signals of {row['key']} meet {twin['key']}")
        if not twin["reason"]:
            values = row | {TEXT_REPEATS: twin[TEXT_REPEATS]}
            yield row["key"], judge(values, rules, drawn=unit(row["key"], CAP))
