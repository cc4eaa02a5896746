"""What the report says of the lists that dedup compared rows with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.dedup.benchmark_files import BenchmarkCounts, read_counts
from schemas.recipe import Recipe
from schemas.store.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """The lists of a recipe."""

    benchmarks: Mapping[str, BenchmarkCounts] = field(default_factory=dict)  # by name


def read_lists(recipe: Recipe, store: Storage) -> Lists:
    """Read what dedup keeps beside its side-cars."""
    return Lists(benchmarks=read_counts(recipe, store))
