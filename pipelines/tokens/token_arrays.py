"""Arrays of a shard's images, taken in any order and written out in the order of their rows."""

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
    """Return what stands before arrays in an `.npy`: stacked if all are of a shape, else flat."""
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
    """Takes arrays of any order and shape; memory holds their rows, and a spool their bytes.

    Images finish in another order than they began, where shapes are batched apart or codes of an
    earlier build are taken over.
    """

    spool: Spool
    _rows: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # of TOKENS

    def __contains__(self, place: tuple[str, str]) -> bool:
        return place in self._rows

    def add(self, key: str, member: str, array: np.ndarray, about: dict[str, Any]) -> None:
        """Keep the array of a member of a sample; `about` has the columns that it cannot tell."""
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
        """Write one member of samples, one or more, to an `.npy`; return its rows of TOKENS.

        Arrays of one shape are stacked, so that `numpy.load` gives [N, ...]; of several shapes
        they stand flat, one after the other. The column `file` is the caller's.
        """
        rows = [self._rows[key, member] for key in keys]
        placed: list[dict[str, Any]] = []
        with open(path, "wb") as file:
            file.write(array_header(rows[0]["dtype"], [row["shape"] for row in rows]))
            for row in rows:
                placed.append({**row, "offset": file.tell()})
                file.write(self.spool.read((row["key"], member)))
        return placed
