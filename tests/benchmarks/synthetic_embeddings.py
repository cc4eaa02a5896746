"""Embeddings of images that never were, for the rows of a synthetic corpus.

Images have topics, of which the nth comes in proportion to n ** -0.6, and two images of a topic
have a cosine of 0.7 in the mean. A quarter of the rows show popular images, as in
`synthetic_corpus`: their cosine with the image is drawn from 0.9 to 1, so that some copies are
beyond the 0.95 of the default `eps`, and two copies are further from each other than from it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from synthetic_corpus import COPIES, draw_popular, put

from pipelines.runtime.sidecar import kept_keys
from schemas.store.storage import Storage
from schemas.tables import SCORES

WIDTH = 512
COLUMN = pa.field("clip_embedding", pa.list_(pa.float16()))
TOPIC_ROWS = 2_000  # on average
SHARED = 0.7  # cosine of two images of a topic
LEAST_COSINE = 0.9  # of a copy and its image


@dataclass(frozen=True, kw_only=True)
class SyntheticEmbeddings:
    """Write `scores/` of a shard of a corpus of `rows` rows in all."""

    rows: int
    store: Storage

    def __call__(self, shard: int) -> int:
        """Write the side-car; return the rows."""
        keys = kept_keys(self.store, "signals", shard)
        rng = np.random.default_rng([1, shard])
        values = self._embeddings(rng, len(keys)).astype(np.float16)
        embeddings = pa.array(list(values), COLUMN.type)
        digests = pa.array([""] * len(keys), pa.string())
        columns = [keys, digests, digests, embeddings]
        table = pa.table(columns, schema=pa.schema([*SCORES, COLUMN]))
        put(self.store, "scores", shard, table)
        return len(keys)

    def _embeddings(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Return embeddings of length 1: float32 [count, WIDTH]."""
        topics = topic_centres(max(1, self.rows // TOPIC_ROWS))
        found = images(rng, topics, count)
        copied = np.flatnonzero(rng.random(count) < COPIES)
        shown = popular_images(max(1, self.rows // 20), len(topics))
        originals = shown[draw_popular(rng, len(shown), len(copied))]
        found[copied] = turned(rng, originals, rng.uniform(LEAST_COSINE, 1, len(copied)))
        return found


@lru_cache(1)
def topic_centres(count: int) -> np.ndarray:
    """Return the centres of topics, the same in every process."""
    return _directions(np.random.default_rng(2), count)


@lru_cache(1)
def popular_images(count: int, topics: int) -> np.ndarray:
    """Return the popular images, the same in every process."""
    return images(np.random.default_rng(3), topic_centres(topics), count)


def images(rng: np.random.Generator, topics_TC: np.ndarray, count: int) -> np.ndarray:
    """Draw images, each of a topic."""
    centres = topics_TC[draw_popular(rng, len(topics_TC), count)]
    return turned(rng, centres, np.full(count, SHARED**0.5))


def turned(rng: np.random.Generator, of_NC: np.ndarray, cosines_N: np.ndarray) -> np.ndarray:
    """Return directions that have these cosines with others, else at random."""
    aside = _directions(rng, len(of_NC))
    aside -= (aside * of_NC).sum(axis=1, keepdims=True) * of_NC
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    cosines = cosines_N[:, None].astype(np.float32)
    return cosines * of_NC + np.sqrt(1 - cosines**2) * aside


def _directions(rng: np.random.Generator, count: int) -> np.ndarray:
    points = rng.standard_normal((count, WIDTH), np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)
