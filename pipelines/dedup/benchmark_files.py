"""What a corpus keeps of each benchmark: the hashes of its images, and counts for the report.

The driver writes one file a benchmark before dedup. So an image of a benchmark is decoded once, and
workers read no folder of images.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipelines.runtime.sidecar import Counts, Origin, read_origin, write_sidecar
from schemas.fingerprint import content_digest, fingerprint
from schemas.list_config import Benchmark
from schemas.recipe import DecodeConfig, DedupConfig, Recipe
from schemas.store.storage import Storage

LISTS = "lists"  # folder
STAGE = "dedup"
VERSION = 1  # raised when the files hold other values for the same images
PROMPTS, TOO_SHORT = "prompt", "prompt that is too short"  # counted in the footer


def benchmark_path(name: str) -> str:
    """Return the path of the file of a benchmark below the corpus."""
    return f"{LISTS}/benchmark-{name}.parquet"


def benchmark_paths(recipe: Recipe) -> list[str]:
    """Return the paths of the files of all benchmarks of a recipe."""
    return [benchmark_path(benchmark.name) for benchmark in recipe.dedup.benchmarks]


def benchmark_fingerprint(benchmark: Benchmark, config: DedupConfig, decode: DecodeConfig) -> str:
    """Return the fingerprint of a fresh file: of all that decides it, with pinned hashes."""
    semantic = config.semantic.scorer if config.semantic else None
    pinned = [benchmark.prompts_sha256, benchmark.column, config.benchmark_words]
    hashed = config.phash_distance is not None
    return fingerprint(VERSION, pinned, benchmark.images_sha256, hashed, semantic, decode.decides())


def write_benchmark(
    store: Storage, name: str, made_of: str, table: pa.Table, counts: "BenchmarkCounts"
) -> None:
    """Write the file of a benchmark."""
    images = Counts(
        rows_in=table.num_rows + sum(counts.failed.values()),
        kept=table.num_rows,
        failed=counts.failed,
    )
    prompts = {PROMPTS: counts.prompts, TOO_SHORT: counts.too_short}
    origin = Origin(
        stage=STAGE,
        fingerprint=made_of,
        content=content_digest(table),
        counts=images,
        passed_over=prompts,
    )
    write_sidecar(store, benchmark_path(name), table, origin)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkCounts:
    """The counts of a benchmark."""

    prompts: int = 0
    too_short: int = 0  # of the prompts: those that match no text
    images: int = 0  # that are compared
    failed: Mapping[str, int]  # images that cannot be used: reason -> number

    @classmethod
    def of(cls, origin: Origin) -> "BenchmarkCounts":
        """Return the counts that a footer has."""
        return cls(
            prompts=origin.passed_over.get(PROMPTS, 0),
            too_short=origin.passed_over.get(TOO_SHORT, 0),
            images=origin.counts.kept,
            failed=origin.counts.failed,
        )


def read_counts(recipe: Recipe, store: Storage) -> dict[str, BenchmarkCounts]:
    """Return the counts of each benchmark that has a file, by name."""
    names = [benchmark.name for benchmark in recipe.dedup.benchmarks]
    found = {name: read_origin(store, benchmark_path(name)) for name in names}
    return {name: BenchmarkCounts.of(origin) for name, origin in found.items() if origin}
