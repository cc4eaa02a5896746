"""Decoding of a sample's members for training, or the reason why the sample is skipped."""

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from PIL import Image
from webdataset.autodecode import Decoder, imagehandler

from model.data.manifest import DataError, Source
from schemas.conversation import message_faults
from schemas.subsets import SUBSETS, Subset

logger = logging.getLogger(__name__)

JUDGED_FROM: Final = 1000
"""Number of samples from which on the share of bad samples is judged."""

_NPY_START: Final = 10  # bytes: magic, version, and the length of the header, of version 1


class BadSample(ValueError):
    """A sample that cannot be trained on, and why."""


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str  # with image marks


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Decoded:
    """The members of one sample, decoded and checked."""

    key: str
    messages: tuple[Message, ...]
    aspect: float  # height / width of the shape that was tokenized
    arrays: Mapping[str, NDArray[Any]]  # by member
    input_image: Image.Image | None  # RGB


def read_npy(member: str, body: bytes) -> NDArray[Any] | None:
    """Return the array of a `.npy` member, None for other members: a webdataset handler.

    The parsed header is cached: parsing takes 90 % of NumPy's time for an array of a few
    kilobytes, and thousands of members have the same header.

    Raises:
        ValueError: the member is no array, is cut short, or holds Python objects.
    """
    if not member.endswith(".npy"):
        return None
    end = _NPY_START + int.from_bytes(body[_NPY_START - 2 : _NPY_START], "little")
    shape, fortran, dtype = _npy_header(body[:end])
    if fortran:
        raise ValueError("expected an array in C order")
    return np.frombuffer(body, dtype, offset=end).reshape(shape)


@lru_cache(maxsize=1024)
def _npy_header(start: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    file = io.BytesIO(start)
    if npy_format.read_magic(file) != (1, 0):
        raise ValueError("expected an array in version 1 of the format")
    shape, fortran, dtype = npy_format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("an array of Python objects is not read")
    return shape, fortran, dtype


_decode_member = Decoder([read_npy, imagehandler("pil")]).decode1


def decode(key: str, members: Mapping[str, bytes], subset: str) -> Decoded:
    """Decode the members of a sample and check its messages.

    Raises:
        BadSample: a member is cut or damaged, or the messages break the contract.
    """
    values = {member: _decoded(member, body) for member, body in members.items()}
    json = values.pop("json")
    if not isinstance(json, dict) or json.get("key") != key:
        raise BadSample(f"json: expected an object whose key is {key}, got {str(json)[:80]}")
    kind = SUBSETS[subset]
    return Decoded(
        key=key,
        messages=_messages(json.get("messages"), kind),
        aspect=_aspect(json.get("crop_aspect", 1.0)),
        arrays={member: value for member, value in values.items() if member.endswith(".npy")},
        input_image=values[kind.input_image] if kind.input_image else None,
    )


def _decoded(member: str, body: bytes) -> Any:
    try:
        return _decode_member(member, body)
    except Exception as error:  # decoders of images and arrays raise nearly every class
        raise BadSample(f"{member}: {type(error).__name__}: {error}") from error


def _aspect(value: Any) -> float:
    if not isinstance(value, float):
        raise BadSample(f"crop_aspect is {value!r}, expected a float")
    return value


def _messages(value: Any, subset: Subset) -> tuple[Message, ...]:
    if faults := message_faults(value, subset, markers=False):
        raise BadSample(f"messages: {faults[0].detail}")
    return tuple(Message(each["role"], each["content"]) for each in value)


def check_array(
    name: str, array: NDArray[Any], shape: Sequence[int], dtype: str, limit: int | None = None
) -> None:
    """Check an array of a sample.

    Raises:
        BadSample: shape or type differ, a value is `limit` or more, or a value is not finite.
    """
    if array.shape != tuple(shape) or array.dtype != dtype:
        found = f"{array.dtype} {list(array.shape)}"
        raise BadSample(f"{name}: expected {dtype} {list(shape)}, got {found}")
    if limit is not None and array.size and int(array.max()) >= limit:
        raise BadSample(f"{name}: expected codes below {limit}, the largest is {array.max()}")
    if limit is None and not np.isfinite(array).all():
        raise BadSample(f"{name}: values that are not finite")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A sample that was read but cannot be used."""

    key: str
    reason: str


class BadCount:
    """Counts and logs bad samples; stops the run if there are too many.

    Args:
        allowed: highest share of the samples read. With fewer than `JUDGED_FROM` samples read, the
            share is taken of `JUDGED_FROM`.
        seen: samples read in earlier runs.
        bad: samples skipped in earlier runs.
    """

    def __init__(self, allowed: float, seen: int = 0, bad: int = 0) -> None:
        self._allowed = allowed
        self.seen, self.bad = seen, bad
        self._last = ""

    def good(self) -> None:
        """Count a good sample."""
        self.seen += 1

    def skip(self, skipped: Skipped, source: Source) -> None:
        """Count and log a bad sample.

        Raises:
            DataError: there were too many bad samples.
        """
        self.seen += 1
        self.bad += 1
        self._last = f"{skipped.key} of {source}: {skipped.reason}"
        logger.warning("skipped %s", self._last)
        self._judge(max(self.seen, JUDGED_FROM))

    def finish(self) -> None:
        """Check the share of bad samples at the end of a run, however short it was.

        Raises:
            DataError: there were too many bad samples.
        """
        self._judge(self.seen)

    def _judge(self, among: int) -> None:
        if self.bad > self._allowed * among:
            raise DataError(
                f"{self.bad} of {self.seen} samples are bad, expected at most a share of "
                f"{self._allowed}; the last: {self._last}"
            )
