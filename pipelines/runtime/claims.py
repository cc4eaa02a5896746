"""The file names that belong to this corpus, recorded before anything is written under them.

A file of a user that lies where a build wants to write stops it. A killed build leaves the names
claimed that it was about to write, so that the next one may go on over what lies there.
"""

import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.store.storage import CorpusError, Storage
from schemas.subsets import Subset

CLAIMS = "sources/claims.json"
SIDECAR_DIGITS, OUTPUT_DIGITS = 5, 6


def load_claims(store: Storage) -> dict[str, int] | None:
    """Read the claims: a path -> 1, or a path with a `*` -> numbers below this are ours.

    None if they were lost.

    Raises:
        CorpusError: if they are damaged.
    """
    if not store.exists(CLAIMS):
        return None
    try:
        found: Any = json.loads(store.read(CLAIMS))
        if not isinstance(found, dict) or not all(
            type(count) is int and count >= 0 for count in found.values()
        ):
            raise ValueError("expected names and numbers")
    except ValueError as error:
        raise CorpusError(f"{CLAIMS}: damaged ({error}); remove it and build again") from error
    return found


def claims_bytes(counts: Mapping[str, int]) -> bytes:
    """Write claims as they stand in the corpus."""
    return json.dumps(dict(sorted(counts.items())), indent=1).encode()


def numbered(key: str, number: int) -> str:
    """Put a number into a claimed name.

    >>> numbered("signals/*.parquet", 3), numbered("shards/t2i-*.tar", 3)
    ('signals/00003.parquet', 'shards/t2i-000003.tar')
    """
    digits = OUTPUT_DIGITS if key.startswith("shards/") else SIDECAR_DIGITS
    return key.replace("*", f"{number:0{digits}d}")


def sidecar_keys(folder: str, stage: str) -> tuple[str, str]:
    """Name the side-cars of a stage and its dead letters."""
    return f"{folder}/*.parquet", f"dead_letters/{stage}/*.parquet"


def output_keys(subset: Subset) -> tuple[str, ...]:
    """Name the output shards of a subset, their indexes and the dead letters of writing them."""
    name = f"shards/{subset.name}-*"
    letters = f"dead_letters/{subset.shard_stage}/*.parquet"
    return f"{name}.tar", f"{name}.parquet", letters


class Claims:
    """The claims of a corpus; every change is published at once."""

    def __init__(self, store: Storage, counts: Mapping[str, int]) -> None:
        self._store = store
        self.counts = dict(counts)

    def check(self, wanted: Mapping[str, int]) -> None:
        """Stop if a file lies under a name that is wanted and not claimed yet.

        Raises:
            CorpusError: that names the file.
        """
        there: dict[str, Mapping[str, Any]] = {}
        for path in self._new(wanted):
            folder, name = posixpath.split(path)
            if folder not in there:
                there[folder] = self._store.listing(folder)
            if name in there[folder]:
                raise CorpusError(
                    f"{path}: lies where a file of this build belongs, and nothing of this corpus "
                    "names it; move it out of the corpus and build again"
                )

    def take(self, wanted: Mapping[str, int]) -> None:
        """Claim names.

        Raises:
            CorpusError: if a file lies under one of them that is not claimed yet.
        """
        self.check(wanted)
        self._set({**self.counts, **{k: max(n, self.counts.get(k, 0)) for k, n in wanted.items()}})

    def lower(self, counts: Mapping[str, int]) -> None:
        """Give up numbers from these on, and names whose count is zero, once no file is there."""
        lowered = {key: min(n, counts.get(key, n)) for key, n in self.counts.items()}
        self._set({key: n for key, n in lowered.items() if n})

    def _new(self, wanted: Mapping[str, int]) -> Iterator[str]:
        for key, count in wanted.items():
            for number in range(self.counts.get(key, 0), count):
                yield numbered(key, number)

    def _set(self, counts: Mapping[str, int]) -> None:
        if counts != self.counts or not self._store.exists(CLAIMS):
            self._store.commit_bytes(CLAIMS, claims_bytes(counts))
            self.counts = dict(counts)
