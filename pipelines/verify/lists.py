"""Checks of the files that dedup keeps of lists: images of benchmarks, and rows of entries."""

from collections.abc import Iterator

from pipelines.benchmarks import make_benchmark
from pipelines.dedup.balance import PATH
from pipelines.dedup.benchmark_files import (
    BenchmarkCounts,
    benchmark_fingerprint,
    benchmark_path,
)
from pipelines.runtime.sidecar import column, read_table
from pipelines.stages.dedup import Dedup
from pipelines.verify.faults import Fault
from pipelines.verify.look import Look, as_written, checked_origin, schema_faults
from schemas.fingerprint import content_digest
from schemas.list_config import Benchmark
from schemas.tables import BALANCE, BENCHMARK


def balance_sound(look: Look) -> Iterator[Fault]:
    """Check the counts of entries; `--deep` compares the rows of the corpus again."""
    origin, table = checked_origin(look.store, PATH), read_table(look.store, PATH)
    if wrong := schema_faults(table, BALANCE):
        yield from (Fault(PATH, what) for what in wrong)
        return
    yield from as_written(look.store, PATH, BALANCE)
    made_of = look.fingerprints.get(Dedup.folder, origin.fingerprint)
    if origin.fingerprint != made_of:
        yield Fault(PATH, "made with another recipe, another version or other input")
    if content_digest(table) != origin.content:
        yield Fault(PATH, "rows are not the ones that were written")
    if not origin.counts.conserved or origin.counts.kept != table.num_rows:
        yield Fault(PATH, f"holds {table.num_rows:,} entries, its footer counts {origin.counts}")


def benchmark_sound(look: Look, benchmark: Benchmark) -> Iterator[Fault]:
    """Check the file of a benchmark; `--deep` reads its prompts and images again."""
    path, recipe = benchmark_path(benchmark.name), look.recipe
    origin, table = checked_origin(look.store, path), read_table(look.store, path)
    if wrong := schema_faults(table, BENCHMARK):
        yield from (Fault(path, what) for what in wrong)
        return
    yield from as_written(look.store, path, BENCHMARK)
    if origin.fingerprint != benchmark_fingerprint(benchmark, recipe.dedup, recipe.decode):
        yield Fault(path, "made with another recipe or another version")
    if content_digest(table) != origin.content:
        yield Fault(path, "rows are not the ones that were written")
    images = column(table, "image")
    if images != sorted(set(images)):
        yield Fault(path, "images are not in order, or not unique")
    if not origin.counts.conserved or origin.counts.kept != len(images):
        yield Fault(path, f"holds {len(images):,} images, its footer counts {origin.counts}")
    if look.deep:
        made, counts = make_benchmark(benchmark, recipe)
        if content_digest(made) != origin.content or counts != BenchmarkCounts.of(origin):
            yield Fault(path, f"holds {BenchmarkCounts.of(origin)}, made again {counts}")
