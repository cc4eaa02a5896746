"""What the report says of the lists that dedup compared rows with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.dedup.balance import PATH
from pipelines.dedup.benchmark_files import BenchmarkCounts, read_counts
from pipelines.runtime.sidecar import column, read_origin, read_table
from schemas.recipe import Recipe
from schemas.store.storage import Storage
from schemas.tables import BALANCE

MOST_ENTRIES = 30  # that the report shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """The lists of a recipe."""

    benchmarks: Mapping[str, BenchmarkCounts] = field(default_factory=dict)  # by name
    balance: "BalanceCounts | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceCounts:
    """The entries of a balance."""

    per_entry: int
    entries: int  # of the list
    found: int  # entries that rows have
    common: int  # entries of more than `per_entry` rows
    top: tuple[tuple[str, int, float], ...]  # of most rows: entry, rows, share drawn


def read_lists(recipe: Recipe, store: Storage) -> Lists:
    """Read what dedup keeps of lists."""
    return Lists(benchmarks=read_counts(recipe, store), balance=_read_balance(recipe, store))


def _read_balance(recipe: Recipe, store: Storage) -> BalanceCounts | None:
    config = recipe.dedup.balance
    origin = read_origin(store, PATH) if config else None
    if config is None or origin is None:
        return None
    table = read_table(store, PATH)
    top = zip(*(column(table.slice(0, MOST_ENTRIES), name) for name in BALANCE.names), strict=True)
    return BalanceCounts(
        per_entry=config.per_entry,
        entries=origin.counts.rows_in,
        found=table.num_rows,
        common=int((table["rows"].to_numpy() > config.per_entry).sum()),
        top=tuple((name, rows, min(1.0, config.per_entry / rows)) for name, rows in top),
    )
