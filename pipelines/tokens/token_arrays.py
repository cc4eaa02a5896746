"""Arrays of a shard's images, collected in any order and written in the order of the rows."""

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.runtime.spool import Spool


def array_header(dtype: str, shapes: Sequence[Sequence[int]]) -> bytes:
    """Return the `.npy` header of several arrays: stacked if all have one shape, else flat."""
    of = np.dtype(dtype)
    whole = (len(shapes), *shapes[0])
    if len({tuple(shape) for shape in shapes}) > 1:
        whole = (sum(math.prod(shape) for shape in shapes),)
    header = io.BytesIO()
    described = {"descr": of.newbyteorder("<").str, "fortran_order": False, "shape": whole}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


@dataclass(frozen=True, kw_only=True)
class TokenArrays:
    """Collects arrays in any order and shape; rows are in memory, bytes in a spool.

    Images finish in another order if shapes have separate batches, or codes of an earlier build are
    reused.
    """

    spool: Spool
    _rows: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # of TOKENS

    def __contains__(self, place: tuple[str, str]) -> bool:
        return place in self._rows

    def about(self, key: str, member: str) -> dict[str, Any]:
        """Return the row of TOKENS of a sample's member, without `file` and `offset`."""
        return self._rows[key, member]

    def add(self, key: str, member: str, array: np.ndarray, about: dict[str, Any]) -> None:
        """Add the array of a sample's member; `about` has the other columns of TOKENS."""
        data = np.ascontiguousarray(array).tobytes()
        self.spool.add((key, member), data)
        self._rows[key, member] = {
            "key": key,
            "member": member,
            "length": len(data),
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "sha256": hashlib.sha256(data).hexdigest(),
            **about,
        }

    def write(self, member: str, keys: Sequence[str], path: Path) -> list[dict[str, Any]]:
        """Write one member of one or more samples to an `.npy`; return its rows of TOKENS.

        Arrays of one shape are stacked, so that `numpy.load` returns [N, ...]; arrays of several
        shapes are flat, one after the other. The caller adds the column `file`.
        """
        rows = [self._rows[key, member] for key in keys]
        placed: list[dict[str, Any]] = []
        with open(path, "wb") as file:
            file.write(array_header(rows[0]["dtype"], [row["shape"] for row in rows]))
            for row in rows:
                placed.append({**row, "offset": file.tell()})
                file.write(self.spool.read((row["key"], member)))
        return placed
