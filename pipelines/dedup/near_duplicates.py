"""Find near-duplicates: images with near perceptual hashes and near colours.

Distinct hashes are compared, not rows: near hashes are found band by band, and joined into
clusters. All rows that are like a row are in its cluster, so each cluster is processed alone: from
the best row down, a row that is kept removes all rows like it.
"""

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np

HASH_BITS = 64


def band_masks(distance: int) -> list[int]:
    """Return masks; two hashes within `distance` bits agree under at least one of them.

    The 64 bits are cut into distance + 2 blocks; differing bits touch at most `distance` of them,
    so two blocks are equal, and a mask is made of each two: at distance 4, 15 masks of 21 bits.

    >>> [f"{mask:x}" for mask in band_masks(0)]
    ['ffffffffffffffff']
    """
    blocks = distance + 2
    cuts = [HASH_BITS * number // blocks for number in range(blocks + 1)]
    parts = [(1 << high) - (1 << low) for low, high in pairwise(cuts)]
    return [a | b for a, b in combinations(parts, 2)]


def near_hashes(hashes: np.ndarray, bands: np.ndarray, distance: int) -> np.ndarray:
    """Return the pairs of hashes within `distance` bits that agree in a band, each pair once.

    All hashes of a band that agree in it are compared, at about 100 million pairs a second.

    Args:
        hashes: uint64 `[n]`, distinct within a band.
        bands: uint8 `[n]`, the number of a mask of `band_masks` for each hash. A pair is found in
            the first band in which its hashes agree, so all rows of that band and key must be here.
        distance: most bits that differ.

    Returns:
        uint64 `[pairs, 2]`.
    """
    masks = np.array(band_masks(distance), np.uint64)
    keys = hashes & masks[bands]
    order = np.lexsort((hashes, keys, bands))
    hashes, bands, keys = hashes[order], bands[order], keys[order]
    found = [np.empty((0, 2), np.uint64)]
    for a, b in _neighbours(run_ends(bands, keys)):
        differing = hashes[a] ^ hashes[b]
        near = np.bitwise_count(differing) <= distance
        a, b, differing = a[near], b[near], differing[near]
        first = np.argmax((differing[:, None] & masks) == 0, axis=1) == bands[a]
        found.append(np.stack([hashes[a[first]], hashes[b[first]]], axis=1))
    return np.concatenate(found)


def clusters(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join pairs into clusters; return each hash, and the least hash of its cluster.

    About 100 bytes a pair while it runs.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    hashes, places = np.unique(pairs, return_inverse=True)
    a, b = places.reshape(-1, 2).T
    graph = coo_array((np.ones(len(a), np.bool_), (a, b)), shape=(len(hashes), len(hashes)))
    _, labels = connected_components(graph, directed=False)
    # Hashes are in order, so the first of each label is its least.
    _, first = np.unique(labels, return_index=True)
    return hashes, hashes[first][labels]


def find_representatives(
    cluster: np.ndarray,
    hashes: np.ndarray,
    layouts_WN: np.ndarray,
    *,
    distance: int,
    colour_distance: int,
) -> np.ndarray:
    """Return the representative of each row: the best kept row that is like it.

    Compares each row with the better kept rows of its cluster, in all clusters at once.

    Args:
        cluster: the cluster of each row, sorted; within a cluster the best row comes first.
        hashes: uint64 `[n]`.
        layouts_WN: mean colours, uint8 `[width, n]`.
        distance: most bits that differ between near hashes.
        colour_distance: most levels between near colours.

    Returns:
        Row numbers `[n]`; a kept row is its own representative.
    """
    representatives = np.arange(len(cluster))
    left = representatives
    while len(left):
        best = left[run_starts(cluster[left])]  # the best row left of each cluster is kept
        rows, best = left[left != best], best[left != best]
        alike = _alike(rows, best, hashes, layouts_WN, distance, colour_distance)
        representatives[rows[alike]] = best[alike]
        left = np.delete(rows, alike)
    return representatives


def run_starts(*columns: np.ndarray) -> np.ndarray:
    """Return where the run of equal rows of each sorted row starts.

    >>> run_starts(np.array([5, 5, 6, 7, 7])).tolist()
    [0, 0, 2, 3, 3]
    """
    places = np.arange(len(columns[0]))
    new = np.zeros(len(places), bool)
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    return np.maximum.accumulate(np.where(new, places, 0))


def run_ends(*columns: np.ndarray) -> np.ndarray:
    """Return where the run of equal rows of each sorted row ends.

    >>> run_ends(np.array([5, 5, 6, 7, 7])).tolist()
    [2, 2, 3, 5, 5]
    """
    return len(columns[0]) - run_starts(*(column[::-1] for column in columns))[::-1]


def _neighbours(ends: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all pairs of places within a run: neighbours first, then those two apart, and so on."""
    a, apart = np.arange(len(ends)), 1
    while len(a := a[a + apart < ends[a]]):
        yield a, a + apart
        apart += 1


def _alike(
    a: np.ndarray,
    b: np.ndarray,
    hashes: np.ndarray,
    layouts_WN: np.ndarray,
    distance: int,
    colour_distance: int,
) -> np.ndarray:
    """Return the places at which rows `a` and `b` have near hashes and near colours."""
    places = np.flatnonzero(np.bitwise_count(hashes[a] ^ hashes[b]) <= distance)
    for layout in layouts_WN:  # most differ in the first few already
        x, y = layout[a[places]], layout[b[places]]
        places = places[np.maximum(x, y) - np.minimum(x, y) <= colour_distance]
    return places
