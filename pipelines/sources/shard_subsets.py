"""The subset of each shard of side-cars: that of its source."""

from dataclasses import dataclass

from pipelines.sources.plan import read_plan
from schemas.recipe import Recipe
from schemas.store.storage import Storage
from schemas.subsets import SUBSETS, T2I, Subset


@dataclass(frozen=True)
class ShardSubsets:
    """The subsets of a recipe's sources; a shard has rows of one source."""

    by_source: tuple[tuple[str, str], ...] = ()  # of sources that are not t2i

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "ShardSubsets":
        """Return those of a recipe."""
        found = ((source.name, source.subset) for source in recipe.sources)
        return cls(tuple((name, subset) for name, subset in found if subset != T2I.name))

    def __bool__(self) -> bool:
        """Return whether any source is not t2i."""
        return bool(self.by_source)

    def of(self, shard: int, store: Storage) -> Subset:
        """Return the subset of a shard."""
        if not self:
            return T2I
        source = read_plan(store)[shard].source
        return SUBSETS[dict(self.by_source).get(source, T2I.name)]


def subsets_of(recipe: Recipe) -> tuple[Subset, ...]:
    """Return the subsets that a build of a recipe makes, in the order of SUBSETS."""
    names = {source.subset for source in recipe.sources}
    return tuple(subset for name, subset in SUBSETS.items() if name in names)
