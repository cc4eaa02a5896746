"""Rows of a build of tests/labels/judged.yaml, and which of them dedup takes for duplicates."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from filters.text import normalised_text, primary_text
from pipelines.runtime.sidecar import read_table, sidecar_path
from pipelines.sources.plan import read_plan
from schemas.recipe import DedupConfig
from schemas.store.storage import Storage

FAR = 20  # bits; pairs further apart were not labelled
COLOURS = DedupConfig().colour_distance
DISTANCES_OF_ROWS = (0, 4, 8)  # bits


def read_source(store: Storage, source: str) -> pa.Table:
    """Read the rows of a source that could be measured: listed columns, signals and scores."""
    found: list[pa.Table] = []
    for shard, unit in enumerate(read_plan(store)):
        if unit.source == source:
            sources, signals, scores = (
                read_table(store, sidecar_path(folder, shard))
                for folder in ("sources", "signals", "scores")
            )
            listed = sources.select(["key", "url", "text", "title"])
            found.append(signals.join(scores, "key").join(listed, "key"))
    return pa.concat_tables(found).sort_by("url").combine_chunks()


def near_pairs(rows: pa.Table) -> np.ndarray:
    """Return all pairs within FAR bits: int64 `[pairs, 4]`, places a < b, bits, levels."""
    hashes = rows["phash"].to_numpy()
    layouts: list[Any] = rows["colour_layout"].to_pylist()
    layouts_NC = np.array([[*bytes.fromhex(layout)] for layout in layouts], np.int16)
    found = [np.empty((0, 4), np.int64)]
    for a in range(len(hashes)):
        bits = np.bitwise_count(hashes[a] ^ hashes[a + 1 :])
        b = a + 1 + np.flatnonzero(bits <= FAR)
        levels = np.abs(layouts_NC[b] - layouts_NC[a]).max(axis=1, initial=0)
        found.append(np.stack([np.full(len(b), a), b, bits[b - a - 1], levels], axis=1))
    return np.concatenate(found)


def within(pairs: np.ndarray, bits: int, levels: int) -> np.ndarray:
    """Return whether dedup takes each pair for duplicates, at these distances."""
    return (pairs[:, 2] <= bits) & (pairs[:, 3] <= levels)


def with_corpus_columns(rows: pa.Table, pairs: np.ndarray) -> pa.Table:
    """Add how many rows have a row's text, and whether a row has a near duplicate."""
    listed: list[Any] = rows.select(["text", "title"]).to_pylist()
    texts = [normalised_text(primary_text(row["text"], row["title"])) for row in listed]
    counts = Counter(texts)
    rows = rows.append_column("text_rows", pa.array([counts[text] for text in texts]))
    for bits in DISTANCES_OF_ROWS:
        near = np.zeros(len(rows), bool)
        near[pairs[within(pairs, bits, COLOURS)][:, :2].ravel()] = True
        rows = rows.append_column(f"near_{bits}", pa.array(near))
    return rows
