"""Entries of a list that a text has, as in MetaCLIP (arXiv 2309.16671): what balances a corpus.

MetaCLIP looks for each entry between two spaces, in a text whose , . ; : ? ! and ` stand between
spaces. Here texts and entries are compared in their normal form, so case does not count, and all
punctuation but the apostrophe is a border of words: the entry `t-shirt` is `t shirt`, and
`fox` is in "A fox (red)", but not in "foxglove".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

from filters.text import normalised_text
from filters.text_list import read_texts
from schemas.store.errors import CorpusError

MISSING = "a balance needs the package ahocorasick-rs: pip install 'vargpt-corpus[lists]'"
_BORDER = regex.compile(r"[^\w']+")


def has_matcher() -> bool:
    """Return whether the package is there."""
    return find_spec("ahocorasick_rs") is not None


def spaced(text: str) -> str:
    """Return the words of a text in their normal form, each between two spaces.

    >>> spaced("A Fox (red), on a T-shirt!")
    ' a fox red on a t shirt '
    """
    words = _BORDER.sub(" ", normalised_text(text)).split()
    return f" {' '.join(words)} " if words else " "


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryIndex:
    """Entries, each with a hash that does not depend on the others."""

    entries: Sequence[str]  # as listed; of those with one normal form, the first
    hashes: NDArray[np.uint64]  # [n]
    matcher: Any  # AhoCorasick

    @classmethod
    def of(cls, entries: Sequence[str]) -> "EntryIndex":
        """Index entries; about 2 s for 500,000.

        Raises:
            CorpusError: the package ahocorasick-rs is missing, or no entry has a word.
        """
        if not has_matcher():
            raise CorpusError(MISSING)
        forms: dict[str, str] = {}
        for entry in entries:
            forms.setdefault(spaced(entry), entry)
        forms.pop(" ", None)
        if not forms:
            raise CorpusError("a balance needs entries with at least one word")
        digests = [blake2b(form.encode(), digest_size=8).digest() for form in forms]
        matcher = import_module("ahocorasick_rs").AhoCorasick(list(forms), store_patterns=False)
        return cls(
            entries=tuple(forms.values()),
            hashes=np.frombuffer(b"".join(digests), "<u8").astype(np.uint64),
            matcher=matcher,
        )

    def find(self, text: str) -> NDArray[np.uint64]:
        """Return the hashes of the entries that a text has, each once, in order."""
        found = self.matcher.find_matches_as_indexes(spaced(text), overlapping=True)
        return np.unique(self.hashes[[number for number, _, _ in found]])


@lru_cache(2)
def entry_index(path: str, sha256: str) -> EntryIndex:
    """Return the index of a file with an entry a line, made once a process.

    Raises:
        CorpusError: as `read_texts`, or no entry has a word.
    """
    return EntryIndex.of(read_texts(path, sha256))
