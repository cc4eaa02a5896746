"""Plain Parquet, which every reader of tables reads: images are bytes, codes are lists."""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import pyarrow as pa

from pipelines.export.format import Exported
from pipelines.export.samples import Sample, Shard
from pipelines.export.tables import sample_members, sample_rows, sample_schema, write_parquet
from schemas.store.storage import Storage
from schemas.subsets import Subset


class Parquet:
    """A file a shard, `SUBSET/SUBSET-000000.parquet`."""

    name: ClassVar[str] = "parquet"
    version: ClassVar[int] = 1

    def refusal(self, subset: Subset) -> str:
        """Return '': the format holds every subset."""
        return ""

    def folders(self, shard: Shard) -> Sequence[str]:
        """Return the folder of the subset."""
        return (shard.subset.name,)

    def members(self, shard: Shard) -> Sequence[str]:
        """Return all images and arrays."""
        return sample_members(shard)

    def write(self, shard: Shard, samples: Iterable[Sample], to: Storage) -> Mapping[str, int]:
        """Write the file of a shard."""
        rows = sample_rows(shard, samples, lambda _, data: data)
        path = f"{shard.subset.name}/{shard.name}.parquet"
        return write_parquet(path, sample_schema(shard, pa.binary()), rows, to)

    def finish(self, exported: Mapping[str, Sequence[Exported]], to: Storage) -> None:
        """Write nothing further: each file describes itself."""
