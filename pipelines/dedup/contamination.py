"""Contamination: rows that have a prompt or an image of a benchmark, a set for evaluation.

A row is compared with every benchmark, in the order of the recipe, when it is read; the first that
it matches is its reason. Nothing is exchanged for it. An image matches one with the same bytes, one
with a near pHash and near colours, or one with a near embedding, by the distances of dedup. It is
compared with every image of the benchmark, at about 180 million a second and core, so none is
missed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from filters.contamination import PromptIndex, content_words
from filters.prompt_files import read_prompts
from pipelines.dedup.benchmark_files import benchmark_path
from pipelines.dedup.rows import SHA256, TEXTS, layouts, numbers, points_of, standing_alone
from pipelines.dedup.semantic import Points, least_product
from pipelines.dedup.words import hexed, unhex
from pipelines.runtime.sidecar import column, read_origin, read_table
from schemas.list_config import Benchmark
from schemas.recipe import DedupConfig
from schemas.store.storage import CorpusError, Storage

CONTAMINATED = "contaminated"  # reason, before the name of a benchmark
BLOCK = 256  # rows that are compared with all images of a benchmark at once


def reason_of(benchmark: Benchmark) -> str:
    """Return the reason of the rows that have a prompt or an image of a benchmark."""
    return f"{CONTAMINATED}:{benchmark.name}"


def prompt_index(benchmark: Benchmark, words: int) -> PromptIndex:
    """Return the index of the prompts of a benchmark, made once a process."""
    if not benchmark.prompts:
        return PromptIndex.of(())
    return _prompt_index(benchmark.prompts, benchmark.column, benchmark.prompts_sha256, words)


@lru_cache(16)
def _prompt_index(path: str, column_: str, sha256: str, words: int) -> PromptIndex:
    return PromptIndex.of(read_prompts(path, column_, sha256), words=words)


class Images(NamedTuple):
    """The images of a benchmark, M of them."""

    names: list[str]
    by_sha256: dict[str, str]  # -> name
    phashes: np.ndarray  # uint64 [M]
    layouts: np.ndarray  # uint8 [M, width]
    points: Points  # int16 [M, C]


@lru_cache(4)
def _images(root: str, name: str, made_of: str) -> Images:
    """Read the images of a benchmark; `made_of` tells versions of its file apart."""
    table = read_table(Storage(root), benchmark_path(name))
    names, hashes = column(table, "image"), column(table, "sha256")
    return Images(
        names=names,
        by_sha256=dict(zip(reversed(hashes), reversed(names), strict=True)),
        phashes=table["phash"].to_numpy(),
        layouts=unhex(column(table, "colour_layout")),
        points=points_of(table),
    )


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """The comparison of rows with the benchmarks of a recipe."""

    config: DedupConfig
    store: Storage  # of the corpus, which has the files of benchmarks

    def split(self, rows: pa.Table, points: Points | None = None) -> tuple[pa.Table, pa.Table]:
        """Return the rows that match no benchmark, and the verdicts on the others.

        Args:
            rows: with the columns TEXTS; title and text are both compared.
            points: embeddings of the rows, if they are compared.
        """
        words = self._words(rows)
        reasons = np.full(len(rows), "", object)
        matched = np.full(len(rows), "", object)
        for benchmark in self.config.benchmarks:
            left = np.flatnonzero(reasons == "")
            found = self._prompts(benchmark, [words[row] for row in left]) if words else {}
            if benchmark.images:
                theirs = self._theirs(benchmark)
                mine = None if points is None else points[left]
                found = {**self._looks(theirs, rows.take(left), mine), **found}
            for row, what in found.items():
                reasons[left[row]], matched[left[row]] = reason_of(benchmark), what
        said = rows.append_column("reason", pa.array(reasons, pa.string()))
        said = said.append_column("matched", pa.array(matched, pa.string()))
        said = said.filter(pa.array(reasons != ""))
        clean = rows.filter(pa.array(reasons == ""))
        return clean, standing_alone(said, said["reason"], said["matched"])

    def _theirs(self, benchmark: Benchmark) -> Images:
        path = benchmark_path(benchmark.name)
        if (origin := read_origin(self.store, path)) is None:
            raise CorpusError(f"{path}: missing; build again")
        fs, place = self.store.locate(path)  # what-if has files beside the corpus
        root = fs.unstrip_protocol(place).removesuffix(f"/{path}")
        return _images(root, benchmark.name, origin.fingerprint)

    def _words(self, rows: pa.Table) -> list[list[list[str]]]:
        """Return the words of the texts of each row; [] if there are no prompts."""
        if not any(benchmark.prompts for benchmark in self.config.benchmarks):
            return []
        texts = zip(*(column(rows, name) for name in TEXTS), strict=True)
        return [[content_words(text) for text in each if text] for each in texts]

    def _prompts(self, benchmark: Benchmark, words: list[list[list[str]]]) -> dict[int, str]:
        """Return {number of a row: the prompt that it has}."""
        find = prompt_index(benchmark, self.config.benchmark_words).find_words
        found = (next(filter(None, map(find, each)), None) for each in words)
        return {row: prompt for row, prompt in enumerate(found) if prompt}

    def _looks(self, theirs: Images, rows: pa.Table, points: Points | None) -> dict[int, str]:
        """Return {number of a row: the first image that it looks like}."""
        found: dict[int, str] = {}
        if self.config.semantic is not None and points is not None:
            found |= self._named(theirs, _near_points(points, theirs, self.config.semantic.eps))
        if self.config.phash_distance is not None:
            distances = self.config.phash_distance, self.config.colour_distance
            found |= self._named(theirs, _near_looks(rows, theirs, *distances))
        same = enumerate(hexed(numbers(rows, SHA256)))
        return found | {row: theirs.by_sha256[sha] for row, sha in same if sha in theirs.by_sha256}

    def _named(
        self, theirs: Images, near: Iterator[tuple[np.ndarray, np.ndarray]]
    ) -> dict[int, str]:
        found: dict[int, str] = {}
        for rows, images in near:
            for row, image in zip(rows.tolist(), images.tolist(), strict=True):
                found.setdefault(row, theirs.names[image])
        return found


def _near_looks(
    rows: pa.Table, theirs: Images, distance: int, colour_distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows and the images that look alike, pair by pair, in their order."""
    phashes, colours = rows["phash"].to_numpy(), layouts(rows)
    for start in range(0, len(rows), BLOCK):
        differing = phashes[start : start + BLOCK, None] ^ theirs.phashes
        mine, images = np.nonzero(np.bitwise_count(differing) <= distance)
        a, b = colours[start + mine].astype(np.int16), theirs.layouts[images].astype(np.int16)
        alike = np.abs(a - b).max(axis=1, initial=0) <= colour_distance
        yield start + mine[alike], images[alike]


def _near_points(
    points: Points, theirs: Images, eps: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows and the images whose cosine is 1 - eps or more, in their order."""
    if not theirs.points.shape[1]:  # images of a folder have no embedding
        return
    wide = theirs.points.astype(np.float64).T
    for start in range(0, len(points), BLOCK):
        products = points[start : start + BLOCK].astype(np.float64) @ wide
        mine, images = np.nonzero(products >= least_product(eps))
        yield start + mine, images
