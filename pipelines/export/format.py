"""What a format of an export is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from pipelines.export.samples import Sample, Shard
from schemas.store.storage import Storage
from schemas.subsets import Subset


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What one shard became; stored in its mark."""

    fingerprint: str  # of the shard, its description and the format
    subset: str
    samples: int
    licences: Mapping[str, int]  # samples of each licence; '' where it is unknown
    files: Mapping[str, int]  # bytes of each file, by its path below the folder


class Format(Protocol):
    """A format: how a shard is written, and the files that describe the whole."""

    name: ClassVar[str]
    version: ClassVar[int]  # changed when the same shard becomes other bytes

    def refusal(self, subset: Subset) -> str:
        """Say why the format cannot hold a subset; '' if it can."""
        ...

    def folders(self, shard: Shard) -> Sequence[str]:
        """Return the folders that the files of a shard lie in."""
        ...

    def members(self, shard: Shard) -> Sequence[str]:
        """Return the members that `write` needs of each sample, beside its JSON."""
        ...

    def write(self, shard: Shard, samples: Iterable[Sample], to: Storage) -> Mapping[str, int]:
        """Write the samples of a shard; return the bytes of each file, by path."""
        ...

    def finish(self, exported: Mapping[str, Sequence[Exported]], to: Storage) -> None:
        """Write the files that describe the whole folder.

        Args:
            exported: what lies in the folder, shard by shard, of each subset.
            to: the folder.
        """
        ...
