"""What dedup makes of rows that select would keep: by running it here, or as the last build did."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from pipelines.benchmarks import write_benchmarks
from pipelines.dedup.benchmark_files import LISTS
from pipelines.runtime.exchange import partitions_for
from pipelines.runtime.sidecar import each_shard, read_columns, sidecar_path
from pipelines.stage_table import make_stages
from pipelines.stages.dedup import Dedup, verdict_table
from pipelines.stages.select import Select
from pipelines.thresholds.selection import Masks
from pipelines.thresholds.stored import Stored
from pipelines.verify.dedup import LocalSteps
from schemas.recipe import Recipe
from schemas.store.storage import CorpusError, Storage

pc: Any = pyarrow.compute  # its stubs do not accept Python values


@dataclass(frozen=True, kw_only=True)
class Deduplicated:
    """The rows that dedup keeps of those that select keeps."""

    kept: Masks
    dropped: Mapping[str, int]  # by reason
    new: int = 0  # kept rows that were not compared with any other


def run_dedup(stored: Stored, recipe: Recipe, selected: Masks) -> Deduplicated:
    """Run the steps of dedup in this process, with exchange files in a temporary folder.

    Memory holds one partition: 250,000 rows. Images of benchmarks that the last build did not
    compare with, or not in this way, are hashed again.
    """
    [stage] = (stage for stage in make_stages(recipe) if isinstance(stage, Dedup))
    rows, shards = sum(int(mask.sum()) for mask in selected), range(len(selected))
    kept = [np.zeros(len(mask), bool) for mask in selected]
    dropped: Counter[str] = Counter()
    if not rows:
        return Deduplicated(kept=kept, dropped=dropped)
    with tempfile.TemporaryDirectory(prefix="what-if-") as folder:
        corpus = _Selected(stored.store.root, folder)
        corpus.fill(stored, selected)
        write_benchmarks(recipe, stored.store, corpus.aside)
        steps = LocalSteps(
            tasks=stage.tasks(partitions_for(rows, len(shards)), rows),
            store=Storage(f"{folder}/exchange"),
            corpus=corpus,
        )
        for group, found in steps.run(shards):
            for shard in group:
                table, counts = verdict_table(found, shard, stage.earlier)
                dropped.update(counts.dropped)
                kept[shard][selected[shard]] = _has_no_reason(table)
    return Deduplicated(kept=kept, dropped=dropped)


def stored_dedup(stored: Stored, before: Masks) -> Sequence[pa.Table] | None:
    """Read the verdicts of the last build: a table a shard, of the rows that select kept then.

    Args:
        stored: the corpus.
        before: the rows that select keeps by the recipe of the last build.

    Returns:
        None if there are none of these rows.
    """

    def read(shard: int) -> pa.Table:
        return read_columns(stored.store, sidecar_path(Dedup.folder, shard), ["reason"])

    if len(before) and not stored.store.exists(sidecar_path(Dedup.folder, 0)):
        return None
    try:
        tables = each_shard(read, range(len(before)))
    except CorpusError:
        return None
    same = all(t.num_rows == mask.sum() for t, mask in zip(tables, before, strict=True))
    return tables if same else None


def as_before(verdicts: Sequence[pa.Table], before: Masks, selected: Masks) -> Deduplicated:
    """Apply the verdicts of the last build to the rows that select keeps now.

    A row that is new to dedup is taken as kept. A row whose representative is dropped now is taken
    as its duplicate still.
    """
    kept, dropped, new = list[np.ndarray](), Counter[str](), 0
    for table, was, now in zip(verdicts, before, selected, strict=True):
        reasons = table["reason"]
        passed = np.ones(len(was), bool)
        passed[was] = _has_no_reason(table)
        again = reasons.filter(pa.array(now[was] & ~passed[was]))
        dropped.update({v["values"]: v["counts"] for v in pc.value_counts(again).to_pylist()})
        kept.append(now & passed)
        new += int((now & ~was).sum())
    return Deduplicated(kept=kept, dropped=dropped, new=new)


class _Selected(Storage):
    """A corpus with another `selection/`, and files of benchmarks, which lie in a local folder."""

    def __init__(self, root: str, aside: str) -> None:
        super().__init__(root)
        self.aside = Storage(aside)

    def locate(self, path: str) -> tuple[Any, str]:
        """Return where a file lies."""
        folder, _, name = path.partition("/")
        is_aside = folder == LISTS and self.aside.exists(path)
        if name and (is_aside or folder == Select.folder):
            return self.aside.locate(path)
        return super().locate(path)

    def fill(self, stored: Stored, selected: Masks) -> None:
        """Write the keys of selected rows, a side-car a shard."""
        fs, folder = self.aside.locate(Select.folder)
        fs.makedirs(folder, exist_ok=True)
        for shard, mask in enumerate(selected):
            keys = stored.keys(shard).filter(pa.array(mask))
            pq.write_table(
                pa.table({"key": keys}), self.locate(sidecar_path(Select.folder, shard))[1]
            )


def _has_no_reason(table: pa.Table) -> np.ndarray:
    return pc.equal(table["reason"], "").to_numpy()
