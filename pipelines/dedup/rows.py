"""The rows that dedup compares, as columns of numbers, and the verdicts on removed rows.

Columns that end in a digit are the 64-bit words of one hash.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.host import host_of
from filters.text import normalised_text, primary_text
from pipelines.dedup.near_duplicates import run_starts
from pipelines.dedup.semantic import Points, to_points
from pipelines.dedup.words import hexed, unhex, words
from pipelines.runtime.sidecar import column, kept_keys, read_table, sidecar_path
from schemas.store.storage import CorpusError, Storage

REPEATED_URL, SAME_BYTES, NEAR_DUPLICATE = "repeated_url", "same_bytes", "near_duplicate"
SEMANTIC_DUPLICATE = "semantic_duplicate"
# Reasons of rows that another row stands for.
OF_DUPLICATES = (REPEATED_URL, SAME_BYTES, NEAR_DUPLICATE, SEMANTIC_DUPLICATE)
TEXT_REPEATS = "text_repeats"  # reason: its text is boilerplate
EARLIER_ROWS_OF = "tokens"  # folder of an earlier corpus: of the last stage that keeps rows
KEY = ("key0", "key1")
KEPT_KEY = ("kept_key0", "kept_key1")
SHA256 = ("sha256_0", "sha256_1", "sha256_2", "sha256_3")
PHASH = ("phash",)
TEXT = ("text0", "text1")  # digest of the normalised text
ROW = ("shard", *KEY)
TEXTS = ("text", "title")
LISTED = ("text", "title", "url", "author", "source")  # columns of SOURCES that are read

_WORD = pa.uint64()
# Whether a row is a sample of several parts: equal only to one with equal parts, near to none.
OF_PARTS = "of_parts"
REPEATS = pa.schema(
    [("shard", pa.int32()), *((name, _WORD) for name in KEY), ("repeats", pa.int32())]
)
# A verdict: a removed row, the reason, and its representative.
REMOVED_ROWS = pa.schema(
    [
        ("shard", pa.int32()),
        *((name, _WORD) for name in (*KEY, *KEPT_KEY)),
        ("reason", pa.string()),
        ("phash", _WORD),
        ("kept_phash", _WORD),
        ("kept_shard", pa.int32()),  # below 0 in an earlier corpus
        ("matched", pa.string()),  # prompt or image of a benchmark
    ]
)


class Place(NamedTuple):
    """A shard to read rows of, of this corpus or of an earlier one."""

    store: Storage
    shard: int  # number of the side-cars there
    number: int  # that the rows get as their shard; below 0 for an earlier corpus
    rows_of: str  # folder of the stage that kept the rows


@contextmanager
def errors_naming(place: Place) -> Iterator[None]:
    """Name the earlier corpus in an error of reading it; paths of files are below the corpus."""
    try:
        yield
    except CorpusError as error:
        if place.number >= 0:
            raise
        raise CorpusError(f"{place.store.root}: {error}") from error


def read_rows(
    place: Place,
    *,
    hashed: bool,
    fold_case: bool = True,
    groups: Sequence[str] = (),
    texts: bool = False,
) -> pa.Table | None:
    """Read the rows of one shard, with the columns that dedup needs; None if it has no rows.

    Args:
        place: the shard.
        hashed: whether pHashes and colours are compared, and so were measured.
        fold_case: whether texts that differ only in case are equal.
        groups: columns that caps need: words of digests, as `Cap.groups` names them.
        texts: whether the columns TEXTS are read too.
    """
    store, shard, number, rows_of = place
    wanted = ["key", "pixels", *(["phash", "colour_layout"] if hashed else [])]
    signals = read_table(store, sidecar_path("signals", shard), wanted)
    signals = _rows_of(pa.chunked_array([kept_keys(store, rows_of, shard)]), signals)
    if not signals.num_rows:
        return None
    keys = signals["key"]
    raw = _rows_of(keys, read_table(store, sidecar_path("raw", shard), ["key", "sha256"]))
    sources = _rows_of(keys, read_table(store, sidecar_path("sources", shard), ["key", *LISTED]))
    primary = map(primary_text, column(sources, "text"), column(sources, "title"))
    rows = {
        "shard": np.full(signals.num_rows, number, np.int32),
        **_named(KEY, unhex(column(signals, "key"))),
        **_named(SHA256, unhex(column(raw, "sha256"))),
        **_named(TEXT, unhex([_digest(text, fold_case) for text in primary])),
        **_groups(sources, groups),
        **({name: sources[name] for name in TEXTS} if texts else {}),
        OF_PARTS: np.zeros(signals.num_rows, np.bool_),
    }
    if not hashed:
        return pa.Table.from_pydict({**rows, "phash": np.zeros(signals.num_rows, np.uint64)})
    layout = _binary(unhex(column(signals, "colour_layout")))
    looks = {name: signals[name] for name in ("pixels", "phash")}
    return pa.Table.from_pydict({**rows, **looks, "layout": layout})


def with_digests_of_parts(place: Place, rows: pa.Table) -> pa.Table:
    """Put the digest of all parts of a sample in place of the hashes of its main image and text.

    Its parts are the texts, the conversation and all images. An image may be of many samples, and
    an edited image is much like its source, so their looks are not compared.

    Args:
        place: the shard of the rows.
        rows: some rows of it, as `read_rows` returns them.
    """
    keys = pa.chunked_array([hexed(numbers(rows, KEY))], pa.string())

    def read(folder: str, *names: str) -> list[list[Any]]:
        table = read_table(place.store, sidecar_path(folder, place.shard), ["key", *names])
        table = _rows_of(keys, table)
        return [column(table, name) for name in names]

    parts = [*read("raw", "sha256", "images"), *read("sources", "text", "turns")]
    hashes = [
        hashlib.sha256(
            json.dumps([sha256, [image["sha256"] for image in images], text, turns]).encode()
        ).hexdigest()
        for sha256, images, text, turns in zip(*parts, strict=True)
    ]
    found = unhex(hashes)
    columns = {**_named(SHA256, found), **_named(TEXT, found[:, :16])}
    columns[OF_PARTS] = np.ones(len(rows), np.bool_)
    for name, values in columns.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    return rows


def _groups(sources: pa.Table, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the words of the digests of hosts, authors and sources, as far as they are wanted."""
    named = {
        "host": lambda: map(host_of, column(sources, "url")),
        "author": lambda: column(sources, "author"),
        "source": lambda: column(sources, "source"),
    }
    found: dict[str, np.ndarray] = {}
    for name, values in named.items():
        if f"{name}0" in wanted:
            pairs = np.array([digest(value) for value in values()], np.uint64)
            found |= {f"{name}0": pairs[:, 0], f"{name}1": pairs[:, 1]}
    return found


@lru_cache(1 << 16)
def digest(name: str) -> tuple[int, int]:
    """Return the two words of the digest of a name; 0 and 0 for ''."""
    if not name:
        return 0, 0
    hashed = blake2b(name.encode(), digest_size=16).digest()
    return int.from_bytes(hashed[:8]), int.from_bytes(hashed[8:])


def read_embedded(place: Place, *, scorer: str, hashed: bool) -> pa.Table | None:
    """Read the embeddings of the rows of one shard, with what orders rows; None if it has none.

    Returns:
        Columns shard, key0, key1, pixels, phash (0 if not `hashed`), and `points`, the int16
        values of `to_points` as bytes.
    """
    store, shard, number, rows_of = place
    keys = pa.chunked_array([kept_keys(store, rows_of, shard)])
    if not len(keys):
        return None
    wanted = ["key", "pixels", *(["phash"] if hashed else [])]
    signals = _rows_of(keys, read_table(store, sidecar_path("signals", shard), wanted))
    name = f"{scorer}_embedding"
    scores = _rows_of(keys, read_table(store, sidecar_path("scores", shard), ["key", name]))
    values = (
        pc.list_flatten(scores[name].combine_chunks())
        .to_numpy(zero_copy_only=False)
        .reshape(len(keys), -1)
    )
    zeros = pa.array(np.zeros(len(keys), np.uint64))
    return pa.Table.from_pydict(
        {
            "shard": np.full(len(keys), number, np.int32),
            **_named(KEY, unhex(column(signals, "key"))),
            "pixels": signals["pixels"],
            "phash": signals["phash"] if hashed else zeros,
            "points": _binary(to_points(values).view(np.uint8)),
        }
    )


def points_of(rows: pa.Table) -> Points:
    """Return the embeddings of rows: int16 `[n, C]`; `[0, 0]` of no row."""
    return _unpacked(rows, "points", np.int16)


def numbers(table: pa.Table, names: Sequence[str]) -> list[np.ndarray]:
    """Return columns of numbers."""
    return [table[name].to_numpy() for name in names]


def layouts(table: pa.Table) -> np.ndarray:
    """Return the mean colours of each row: uint8 `[n, width]`; `[0, 0]` of no row."""
    return _unpacked(table, "layout", np.uint8)


def best_first(rows: pa.Table) -> list[np.ndarray]:
    """Return sort columns that put the best image first.

    Those of earlier corpora come first, then those of most pixels, then those of smallest keys.
    """
    return [is_own(rows), -rows["pixels"].to_numpy(), *numbers(rows, KEY)]


def is_own(rows: pa.Table) -> np.ndarray:
    """Return whether each row belongs to this corpus, and not to an earlier one."""
    return rows["shard"].to_numpy() >= 0


def own_rows(rows: pa.Table) -> pa.Table:
    """Return the rows of this corpus."""
    return rows.filter(pa.array(is_own(rows)))


def first_of_equal(identity: Sequence[np.ndarray], order: Sequence[np.ndarray]) -> np.ndarray:
    """Return for each row the number of the first row of equal identity."""
    # lexsort takes what counts most last.
    places = np.lexsort([*reversed(order), *reversed(identity)])
    first = np.empty(len(places), np.int64)
    first[places] = places[run_starts(*(word[places] for word in identity))]
    return first


def first_of_same_bytes(rows: pa.Table) -> np.ndarray:
    """Return for each row the number of the first row of equal sha256.

    Those of earlier corpora come first, then those of smallest keys.
    """
    return first_of_equal(numbers(rows, SHA256), [is_own(rows), *numbers(rows, KEY)])


def first_of_same_look(rows: pa.Table) -> np.ndarray:
    """Return for each row the number of the best row of equal pHash and equal colours."""
    identity = [*numbers(rows, PHASH), *words(layouts(rows))]
    if OF_PARTS in rows.column_names:
        of_parts = rows[OF_PARTS].to_numpy()
        # Like no other row.
        identity += [of_parts, *(np.where(of_parts, word, 0) for word in numbers(rows, KEY))]
    return first_of_equal(identity, best_first(rows))


def compare_kept(
    rows: pa.Table, representatives: np.ndarray, first: Callable[[pa.Table], np.ndarray]
) -> np.ndarray:
    """Compare the kept rows by `first`; return the new representative of each row.

    >>> rows = pa.table({"colour": [7, 7, 7, 9]})
    >>> compare_kept(rows, np.array([0, 0, 2, 3]), lambda kept: np.array([0, 0, 2])).tolist()
    [0, 0, 0, 3]
    """
    kept = np.unique(representatives)
    new = np.arange(len(representatives))
    new[kept] = kept[first(rows.take(kept))]
    return new[representatives]


def removed_rows(rows: pa.Table, representatives: np.ndarray, reasons: np.ndarray) -> pa.Table:
    """Return the verdicts on removed rows, those that are not their own representative.

    Args:
        rows: kept rows and removed rows.
        representatives: of each row, the number of its representative.
        reasons: of each row, why it is removed, if it is.

    Returns:
        A table of REMOVED_ROWS.
    """
    places = np.flatnonzero(representatives != np.arange(len(representatives)))
    removed, kept = rows.take(places), rows.take(representatives[places])
    keys = [*removed.select(ROW).columns, *kept.select(KEY).columns]
    reason = pa.array(reasons[places], pa.string())
    looks = [removed["phash"], kept["phash"]]
    matched = pa.array([""] * len(removed), pa.string())
    return pa.table([*keys, reason, *looks, kept["shard"], matched], schema=REMOVED_ROWS)


def standing_alone(
    rows: pa.Table, reason: str | pa.ChunkedArray, matched: pa.ChunkedArray | None = None
) -> pa.Table:
    """Return the verdicts on rows that are dropped as no duplicate of another.

    Each is its own representative.

    Args:
        rows: the dropped rows.
        reason: of all, or of each.
        matched: of each, the prompt or image of a benchmark that it has; None for rows without.

    Returns:
        A table of REMOVED_ROWS.
    """
    keys = [rows[name] for name in (*ROW, *KEY)]
    known = "phash" in rows.column_names
    phash = rows["phash"] if known else pa.array(np.zeros(len(rows), np.uint64))
    if isinstance(reason, str):
        reason = pa.chunked_array([[reason] * len(rows)], pa.string())
    if matched is None:
        matched = pa.chunked_array([[""] * len(rows)], pa.string())
    columns = [*keys, reason, phash, phash, rows["shard"], matched]
    return pa.table(columns, schema=REMOVED_ROWS)


def kept_rows(rows: pa.Table, representatives: np.ndarray) -> pa.Table:
    """Return the kept rows, those that are their own representative."""
    return rows.filter(pa.array(representatives == np.arange(len(representatives))))


def _rows_of(keys: pa.ChunkedArray, table: pa.Table) -> pa.Table:
    """Return the rows that have some keys; both are in key order."""
    found = table.filter(pc.is_in(table["key"], keys.combine_chunks()))
    if not found["key"].equals(keys):
        raise AssertionError(f"{len(keys)} rows were measured, {found.num_rows} of them are known")
    return found


def _digest(text: str, fold_case: bool) -> str:
    identity = normalised_text(text, fold_case=fold_case)
    return blake2b(identity.encode(), digest_size=16).hexdigest()


def _named(names: Sequence[str], bytes_NB: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(names, words(bytes_NB), strict=True))


def _unpacked(rows: pa.Table, name: str, kind: type[np.generic]) -> np.ndarray:
    packed = column(rows, name)
    values = np.frombuffer(b"".join(packed), kind)
    return values.reshape(len(packed), len(values) // max(1, len(packed)))


def _binary(bytes_NB: np.ndarray) -> pa.Array:
    count, width = bytes_NB.shape
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), count, [None, pa.py_buffer(bytes_NB.tobytes())]
    )
