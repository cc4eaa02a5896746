"""SemDeDup as it was published, on faiss, and how its verdicts agree with those of dedup."""

from importlib import import_module
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute

from pipelines.dedup.semantic import ITERATIONS, SAMPLE_A_CLUSTER, wanted_clusters
from pipelines.runtime.sidecar import read_table, sidecar_path
from schemas.store.storage import Storage

pc: Any = pyarrow.compute  # its stubs do not accept Python values

CHECKED = 2_000  # rows that are compared with all others
BLOCK = 20_000  # rows
COLUMNS = 4_096  # of a cluster's products at once; as published it is all, which may be gigabytes


class Embedded(NamedTuple):
    """Embeddings of rows with distinct URLs, best first, and what dedup made of them."""

    values: np.ndarray  # float32 [n, C]
    removed: np.ndarray  # bool [n]


def read_embedded(store: Storage, shards: int) -> Embedded:
    """Read what dedup read, and its verdicts."""
    keys, pixels, values, removed = [], [], [], []
    for shard in range(shards):
        verdicts = read_table(store, sidecar_path("duplicates", shard))
        first = pc.not_equal(verdicts["reason"], "repeated_url").to_numpy()
        scores = read_table(store, sidecar_path("scores", shard))
        flat = pc.list_flatten(scores["clip_embedding"].combine_chunks())
        found = flat.to_numpy(zero_copy_only=False).reshape(len(scores), -1)
        signals = read_table(store, sidecar_path("signals", shard), ["key", "pixels"])
        keys.append(np.array(signals["key"].to_pylist(), "S32")[first])
        pixels.append(signals["pixels"].to_numpy()[first])
        values.append(found[first])
        removed.append(pc.not_equal(verdicts["reason"], "").to_numpy()[first])
    order = np.lexsort((np.concatenate(keys), -np.concatenate(pixels)))
    return Embedded(
        np.concatenate(values)[order].astype(np.float32), np.concatenate(removed)[order]
    )


def sem_dedup(values: np.ndarray, eps: float, threads: int) -> np.ndarray:
    """Return which rows SemDeDup removes; they come best first."""
    import torch  # as published: the products within a cluster are torch's

    faiss: Any = import_module("faiss")  # installed apart
    faiss.omp_set_num_threads(threads)
    torch.set_num_threads(threads)
    count, width = values.shape
    clusters = wanted_clusters(count)
    rng = np.random.default_rng(0)
    sample = values[np.sort(rng.permutation(count)[: SAMPLE_A_CLUSTER * clusters])]
    k_means = faiss.Kmeans(width, clusters, niter=ITERATIONS, spherical=True, seed=0)
    k_means.train(sample)
    _, nearest = k_means.index.search(values, 1)
    order = np.argsort(nearest[:, 0], kind="stable")
    starts = np.searchsorted(nearest[order, 0], np.arange(clusters + 1))
    removed = np.zeros(count, bool)
    for start, stop in pairwise(starts.tolist()):
        rows = order[start:stop]
        if len(rows) < 2:
            continue
        points = torch.from_numpy(values[rows])
        for first in range(0, len(rows), COLUMNS):
            block = points[first : first + COLUMNS]
            products = points[: first + len(block)] @ block.T
            products[first:].triu_(diagonal=1)
            most = products.max(dim=0).values
            removed[rows[first : first + len(block)]] = (most > 1 - eps).numpy()
    return removed


def compared(embedded: Embedded, peer: np.ndarray, eps: float) -> dict[str, Any]:
    """Return how many verdicts agree, and how many rows each way leaves near a better kept row."""
    ours, values = embedded.removed, embedded.values
    alone = {"dedup": ours & ~peer, "faiss": peer & ~ours}
    return {
        "verdicts": {
            "rows": len(ours),
            "agree_percent": round(100 * float((ours == peer).mean()), 3),
            "removed_by_both": int((ours & peer).sum()),
            **{f"removed_by_{way}_alone": int(rows.sum()) for way, rows in alone.items()},
        },
        "near_a_better_kept_row_percent": {
            "checked_rows": CHECKED,
            "kept by dedup": near_kept(values, ~ours, ~ours, eps),
            "kept by faiss": near_kept(values, ~peer, ~peer, eps),
            "kept by dedup, removed by faiss": near_kept(values, alone["faiss"], ~ours, eps),
        },
    }


def near_kept(values: np.ndarray, rows: np.ndarray, kept: np.ndarray, eps: float) -> float:
    """Return the share of a sample of rows that are near a better kept row, in percent."""
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(rows))[:CHECKED]
    others = np.flatnonzero(kept)
    near = np.zeros(len(drawn), bool)
    for start in range(0, len(others), BLOCK):
        block = others[start : start + BLOCK]
        found = values[drawn] @ values[block].T > 1 - eps
        near |= (found & (block < drawn[:, None])).any(axis=1)
    return round(100 * float(near.mean()), 2) if len(drawn) else 0.0
