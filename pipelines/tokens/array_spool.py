"""Arrays on local disk in the order they are made, written out in the order of their rows."""

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Spooled:
    """One array of one image, and how it came about: the columns of schema TOKENS."""

    dtype: str
    shape: tuple[int, ...]
    about: dict[str, Any]  # the other columns
    sha256: str
    offset: int  # in the spool, bytes
    length: int  # bytes


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


class ArraySpool:
    """Takes arrays of any order and shape; memory holds only where they lie.

    Images finish in another order than they began, where shapes are batched apart or codes of an
    earlier build are taken over, and a shard's features are too many to wait in memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrays: dict[tuple[str, str], Spooled] = {}

    def __enter__(self) -> Self:
        self._file = open(self._path, "w+b")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __contains__(self, place: tuple[str, str]) -> bool:
        return place in self._arrays

    def add(self, key: str, member: str, array: np.ndarray, about: dict[str, Any]) -> None:
        """Keep the array of a member of a sample."""
        data = np.ascontiguousarray(array).tobytes()
        self._arrays[key, member] = Spooled(
            dtype=array.dtype.name,
            shape=array.shape,
            about=about,
            sha256=hashlib.sha256(data).hexdigest(),
            offset=self._file.tell(),
            length=len(data),
        )
        self._file.write(data)

    def write(self, member: str, keys: Sequence[str], path: Path) -> list[dict[str, Any]]:
        """Write one member of samples, one or more, to an `.npy`; return its rows of TOKENS.

        Arrays of one shape are stacked, so that `numpy.load` gives [N, ...]; of several shapes
        they stand flat, one after the other. The column `file` is the caller's.
        """
        arrays = [(key, self._arrays[key, member]) for key in keys]
        header = array_header(arrays[0][1].dtype, [spooled.shape for _, spooled in arrays])
        rows: list[dict[str, Any]] = []
        with open(path, "wb") as file:
            file.write(header)
            for key, spooled in arrays:
                rows.append(
                    {
                        "key": key,
                        "member": member,
                        "offset": file.tell(),
                        "length": spooled.length,
                        "dtype": spooled.dtype,
                        "shape": list(spooled.shape),
                        "sha256": spooled.sha256,
                        **spooled.about,
                    }
                )
                self._file.seek(spooled.offset)
                file.write(self._file.read(spooled.length))
        self._file.seek(0, 2)
        return rows
