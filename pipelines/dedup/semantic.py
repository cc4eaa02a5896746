"""Semantic duplicates: images whose CLIP embeddings are near, as in SemDeDup (arXiv 2303.09540).

1. k-means on a sample finds centroids. A cluster that would have too many rows is split.
2. Each row goes to its nearest centroid.
3. The rows of a cluster are compared in the order of resolution, then key. A row is removed if its
   cosine with a row that was kept before it is 1 - eps or more.

Near rows in different clusters are not found: more rows a cluster find more, and cost more.

All products are of integers below 2**15. They are summed in float64, which is exact, or compared in
float32 where its rounding cannot decide. So the result depends neither on the machine's BLAS nor on
its number of threads, as it would with faiss or scikit-learn.

Shapes: N rows, K centroids, C values of an embedding.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

ONE: Final = 32_767  # the integer of an embedding's value 1.0
CLUSTER_ROWS: Final = 5_000  # of a cluster, on average
MAX_CLUSTER_ROWS: Final = 20_000  # expected rows of a cluster that is split
SAMPLE_A_CLUSTER: Final = 64  # rows of the sample
ITERATIONS: Final = 10  # of k-means
BLOCK: Final = 1_024  # rows that are compared with centroids at once
COMPARED: Final = 256  # rows that are compared with kept rows at once
EPSILON: Final = 2.0**-24  # half the distance of 1 to the next float32
MAX_UNSURE: Final = 0.001  # share of products that are made again one by one

Points = NDArray[np.int16]  # [N, C]


def to_points(embeddings_NC: NDArray[np.floating]) -> Points:
    """Return embeddings of length 1 as integers.

    Raises:
        ValueError: an embedding has another length than 1, by more than 1 %.
    """
    wide = embeddings_NC.astype(np.float64)
    lengths = np.sqrt((wide**2).sum(axis=1))
    if len(wide) and np.abs(lengths - 1).max() > 0.01:
        raise ValueError(f"expected embeddings of length 1, got {lengths.min()} to {lengths.max()}")
    return np.rint(wide / lengths[:, None] * ONE).astype(np.int16)


def wanted_clusters(rows: int) -> int:
    """Return the number of clusters for so many rows.

    >>> wanted_clusters(5000), wanted_clusters(8_300_000)
    (1, 1660)
    """
    return -(-rows // CLUSTER_ROWS) or 1


def sample_share(rows: int) -> float:
    """Return the share of so many rows that the sample has; all rows of a small corpus."""
    return min(1.0, SAMPLE_A_CLUSTER * wanted_clusters(rows) / max(1, rows))


def find_centroids(sample_NC: Points, rows: int) -> Points:
    """Return centroids, of a sample in a fixed order, for so many rows.

    A cluster of which more than MAX_CLUSTER_ROWS rows are expected is split, unless its points are
    all equal.
    """
    share = rows / max(1, len(sample_NC))  # rows that a point of the sample stands for
    centroids = k_means(sample_NC, min(wanted_clusters(rows), len(sample_NC)))
    found: list[Points] = []
    waiting = [(sample_NC, centroids)]
    while waiting:
        points, centroids = waiting.pop()
        clusters = nearest(points, centroids)
        for number, centroid in enumerate(centroids):
            mine = points[clusters == number]
            expected = len(mine) * share
            parts = min(wanted_clusters(int(expected)), len(np.unique(mine, axis=0)))
            indivisible = parts < 2 or (len(mine) == len(points) and len(centroids) > 1)
            if expected <= MAX_CLUSTER_ROWS or indivisible:
                found.append(centroid[None])
            else:
                waiting.append((mine, k_means(mine, parts)))
    return np.concatenate(found)


def k_means(points_NC: Points, count: int) -> Points:
    """Return the centroids of spherical k-means; the first points are the first centroids."""
    centroids = points_NC[:count].copy()
    for _ in range(ITERATIONS if count > 1 else 0):
        clusters = nearest(points_NC, centroids)
        moved = centroids.copy()
        sums = np.zeros(centroids.shape)
        np.add.at(sums, clusters, points_NC.astype(np.float64))
        lengths = np.sqrt((sums**2).sum(axis=1))
        there = lengths > 0  # an empty cluster stays where it is
        moved[there] = np.rint(sums[there] / lengths[there, None] * ONE).astype(np.int16)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def nearest(points_NC: Points, centroids_KC: Points) -> NDArray[np.int64]:
    """Return the number of the nearest centroid of each point; the first of equally near ones."""
    wide = centroids_KC.astype(np.float64).T
    blocks = range(0, len(points_NC), BLOCK)
    found = [(points_NC[b : b + BLOCK].astype(np.float64) @ wide).argmax(axis=1) for b in blocks]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def least_product(eps: float) -> float:
    """Return the least product of the points of two duplicates."""
    return (1 - eps) * ONE * ONE


def representatives(points_NC: Points, eps: float) -> NDArray[np.int64]:
    """Return the number of each row's representative in one cluster; rows come best first."""
    least = least_product(eps)
    found = np.arange(len(points_NC))
    kept: list[int] = []
    kept_points = np.empty(points_NC.shape, np.float32)  # those of the rows in `kept`
    for start in range(0, len(points_NC), COMPARED):
        block = points_NC[start : start + COMPARED].astype(np.float32)
        removed = np.zeros(len(block), bool)
        if kept:
            alike = near(block, kept_points[: len(kept)], least)
            removed = np.asarray(alike.any(axis=1))
            first = alike[removed].argmax(axis=1)
            found[start : start + len(block)][removed] = np.array(kept)[first]
        within = near(block, block, least)
        for place in np.flatnonzero(~removed):
            if removed[place]:
                continue
            kept_points[len(kept)] = block[place]
            kept.append(start + int(place))
            later = np.flatnonzero(within[place, place + 1 :] & ~removed[place + 1 :]) + place + 1
            found[start + later] = start + place
            removed[later] = True
    return found


def near(a_NC: NDArray[np.float32], b_MC: NDArray[np.float32], least: float) -> NDArray[np.bool_]:
    """Return which products of points are `least` or more: [N, M].

    Products are made in float32, which is twice as fast. Those so near to `least` that their
    rounding could decide are made again in float64, so the result is exact.
    """
    width = a_NC.shape[1]
    # The error of a sum of `width` products, for lengths of up to 1.01 (Higham, section 3.1).
    slack = 1.1 * (width + 1) * EPSILON * ONE * ONE
    products = a_NC @ b_MC.T
    found = products >= least - slack
    places = np.flatnonzero(found)
    unsure = places[products.ravel()[places] <= least + slack]
    if len(unsure) > products.size * MAX_UNSURE:
        return a_NC.astype(np.float64) @ b_MC.astype(np.float64).T >= least
    rows, others = np.divmod(unsure, len(b_MC))
    exact = (a_NC[rows].astype(np.float64) * b_MC[others]).sum(axis=1)
    found[rows, others] = exact >= least
    return found
