"""Hashes as 64-bit words, so that NumPy sorts and compares them: hex digits to words and back.

A hash of w bytes is w / 8 words, the first of them the most significant, rounded up.
"""

from collections.abc import Sequence

import numpy as np

WORD = 8  # bytes


def unhex(texts: Sequence[str]) -> np.ndarray:
    """Read equally long hex strings: uint8 `[n, bytes]`."""
    return np.frombuffer(bytes.fromhex("".join(texts)), np.uint8).reshape(len(texts), -1)


def words(bytes_NB: np.ndarray) -> list[np.ndarray]:
    """Cut rows of bytes into words: uint64 `[n]` each.

    >>> [word.tolist() for word in words(unhex(["0000000000000001" "02"]))]
    [[1], [144115188075855872]]
    """
    missing = -bytes_NB.shape[1] % WORD
    padded = np.ascontiguousarray(np.pad(bytes_NB, ((0, 0), (0, missing))))
    return list(padded.view(">u8").astype(np.uint64).T)


def hexed(words_: Sequence[np.ndarray]) -> list[str]:
    """Write words as hex strings, in lower case.

    >>> hexed([np.array([1, 255], np.uint64)])
    ['0000000000000001', '00000000000000ff']
    """
    digits = np.stack(words_, axis=1).astype(">u8").tobytes().hex()
    width = 2 * WORD * len(words_)
    return [digits[start : start + width] for start in range(0, len(digits), width)]
