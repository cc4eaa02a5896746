"""Lists of hashes of known images: whether a file or a picture is on one.

A list is a text file with hashes in hex: MD5, SHA-1 or SHA-256, told apart by their length, or PDQ.
A line may have other fields beside the hash, separated by commas, semicolons or white space, as in
`NAME,HASH`, in `HASH  FILE` of sha256sum, or in the quoted CSV of the NSRL. Blank lines and lines
with # are left out. The first line may be a header.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from filters.text_list import read_bytes
from schemas.store.errors import CorpusError

Kind = Literal["bytes", "pdq"]
# Name -> bytes of a digest.
DIGESTS: Final[Mapping[str, int]] = {"md5": 16, "sha1": 20, "sha256": 32}
PDQ_BYTES: Final = 32
_FIELDS = re.compile(r"[\s,;\"']+")
_HEX = re.compile(r"[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class HashList:
    """One list. Memory: the bytes of its digests."""

    digests: Mapping[str, NDArray[Any]]  # by name of the algorithm: sorted, bytes strings
    pdq: NDArray[np.uint64]  # [n, 4]

    def find_bytes(self, body: bytes) -> str | None:
        """Return `md5 0123...` of a file that is on the list; None if it is not."""
        for name, known in self.digests.items():
            digest = hashlib.new(name, body, usedforsecurity=False).digest()
            place = int(np.searchsorted(known, np.array(digest, known.dtype)))
            # Arrays of bytes drop zeros at the end.
            if place < len(known) and known[place] == digest.rstrip(b"\0"):
                return f"{name} {digest.hex()}"
        return None

    def find_pdq(self, pdq: str, distance: int) -> str | None:
        """Return `pdq 0123...` of the first hash of the list within `distance` bits, or None.

        Compares with every hash, about 28 million a second.
        """
        words = np.frombuffer(bytes.fromhex(pdq), ">u8").astype(np.uint64)
        apart = np.bitwise_count(self.pdq ^ words).sum(axis=1, dtype=np.int64)
        near = np.flatnonzero(apart <= distance)
        if not len(near):
            return None
        return f"pdq {self.pdq[near[0]].astype('>u8').tobytes().hex()}"


@lru_cache(16)
def read_hashes(path: str, kind: Kind, sha256: str = "") -> HashList:
    """Read a list, once a process: about 5 s a million hashes.

    Args:
        path: any fsspec URL.
        kind: of its hashes; those of PDQ look like SHA-256.
        sha256: of the file, checked if given.

    Raises:
        CorpusError: the file is missing, too large, not the one of the hash, or no list.
    """
    body = read_bytes(path)
    if sha256 and (found := hashlib.sha256(body).hexdigest()) != sha256:
        raise CorpusError(f"{path}: sha256 is {found}, the recipe says {sha256}")
    lengths = {PDQ_BYTES} if kind == "pdq" else {*DIGESTS.values()}
    by_length: dict[int, list[str]] = {length: [] for length in lengths}
    for hashed in _hashes(path, body, lengths):
        by_length[len(hashed) // 2].append(hashed)
    packed = {n: bytes.fromhex("".join(found)) for n, found in by_length.items()}
    if not any(packed.values()):
        raise CorpusError(f"{path}: expected a hash a line, found none")
    if kind == "pdq":
        words = np.frombuffer(packed[PDQ_BYTES], ">u8").astype(np.uint64).reshape(-1, 4)
        return HashList(digests={}, pdq=words)
    digests = {
        name: np.unique(np.frombuffer(packed[length], f"S{length}"))
        for name, length in DIGESTS.items()
        if packed[length]
    }
    return HashList(digests=digests, pdq=np.zeros((0, 4), np.uint64))


def list_sha256(path: str, kind: Kind) -> str:
    """Return the sha256 of a list, after it was read as one.

    Raises:
        CorpusError: as `read_hashes`.
    """
    read_hashes(path, kind)
    return hashlib.sha256(read_bytes(path)).hexdigest()


def _hashes(path: str, body: bytes, lengths: set[int]) -> Iterator[str]:
    try:
        lines = body.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: expected a text file in UTF-8: {error}") from error
    digits = {2 * length for length in lengths}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = _FIELDS.split(line)
        found = [each for each in fields if len(each) in digits and _HEX.fullmatch(each)]
        if not found and number > 1:
            allowed = ", ".join(map(str, sorted(digits)))
            raise CorpusError(
                f"{path}: line {number}: {line!r:.80} has no hash of {allowed} hex digits"
            )
        yield from found
