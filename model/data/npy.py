"""`.npy` members to arrays, without parsing anew a header that thousands of them share."""

import io
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

_START: Final = 10  # bytes: magic, version, and the length of the header, of version 1


def read_npy(member: str, body: bytes) -> NDArray[Any] | None:
    """Return the array of a `.npy` member, None for other members: a webdataset handler.

    Parsing the header is nine tenths of what NumPy does for an array of a few kilobytes.

    Raises:
        ValueError: no array, one that is cut short, or one of Python objects.
    """
    if not member.endswith(".npy"):
        return None
    end = _START + int.from_bytes(body[_START - 2 : _START], "little")
    shape, fortran, dtype = _header(body[:end])
    if fortran:
        raise ValueError("expected an array in C order")
    return np.frombuffer(body, dtype, offset=end).reshape(shape)


@lru_cache(maxsize=1024)
def _header(start: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    file = io.BytesIO(start)
    if npy_format.read_magic(file) != (1, 0):
        raise ValueError("expected an array in version 1 of the format")
    shape, fortran, dtype = npy_format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("an array of Python objects is not read")
    return shape, fortran, dtype
