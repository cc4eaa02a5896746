"""Benchmarks of the recipe: their files are checked and pinned, and their images hashed once."""

from collections.abc import Iterator

import pyarrow as pa

from filters.contamination import MIN_WORDS
from filters.prompt_files import prompts_sha256, read_prompts
from pipelines.benchmark_images import (
    corpus_images,
    folder_images,
    folder_sha256,
    is_corpus,
)
from pipelines.dedup.benchmark_files import (
    BenchmarkCounts,
    benchmark_fingerprint,
    benchmark_path,
    write_benchmark,
)
from pipelines.dedup.contamination import prompt_index
from pipelines.earlier_corpora import comparison_faults, pinned_manifest
from pipelines.runtime.console import CONSOLE
from pipelines.runtime.sidecar import read_origin
from schemas.list_config import Benchmark
from schemas.recipe import DedupConfig, Recipe
from schemas.recipe_file import RecipeError
from schemas.store.storage import CorpusError, Storage, absolute
from schemas.tables import BENCHMARK


def pinned_benchmarks(recipe: Recipe) -> tuple[Benchmark, ...]:
    """Fill in the hashes of prompts and images, or check those given.

    Raises:
        RecipeError: a corpus of images lacks values that are compared.
        CorpusError: a file is missing, cannot be used, or is not the one that was pinned.
    """
    return tuple(_pinned(benchmark, recipe) for benchmark in recipe.dedup.benchmarks)


def _pinned(benchmark: Benchmark, recipe: Recipe) -> Benchmark:
    update: dict[str, str] = {}
    if benchmark.prompts:
        path = absolute(benchmark.prompts)
        read_prompts(path, benchmark.column, benchmark.prompts_sha256)
        update |= {"prompts": path, "prompts_sha256": prompts_sha256(path)}
    if benchmark.images:
        path = absolute(benchmark.images)
        found = _images_sha256(path, _place(benchmark), recipe)
        if benchmark.images_sha256 not in ("", found):
            raise CorpusError(
                f"{_place(benchmark)}: {path}: sha256 is {found}, the recipe says "
                f"{benchmark.images_sha256}"
            )
        update |= {"images": path, "images_sha256": found}
    return benchmark.model_copy(update=update)


def _images_sha256(path: str, where: str, recipe: Recipe) -> str:
    if not is_corpus(path):
        return folder_sha256(path, recipe.crawl.max_bytes)
    _, found = pinned_manifest(path, where)
    if faults := [*comparison_faults(path, f"{where}: {path}", recipe)]:
        raise RecipeError("\n".join(faults))
    return found


def _place(benchmark: Benchmark) -> str:
    return f"dedup.benchmarks.{benchmark.name}"


def benchmark_faults(config: DedupConfig) -> Iterator[str]:
    """Yield a line for each benchmark whose prompts cannot be read."""
    for benchmark in config.benchmarks:
        try:
            if benchmark.prompts:
                read_prompts(benchmark.prompts, benchmark.column, benchmark.prompts_sha256)
        except CorpusError as error:
            yield f"{_place(benchmark)}: {error}"


def benchmark_warnings(config: DedupConfig) -> Iterator[str]:
    """Yield a line for each benchmark that has prompts which are too short to be told."""
    for benchmark in config.benchmarks:
        index = prompt_index(benchmark, config.benchmark_words)
        if index.too_short:
            yield (
                f"{_place(benchmark)}: {index.too_short:,} of {index.prompts:,} prompts have "
                f"fewer than {MIN_WORDS} words beside those of templates; they match no text"
            )


def write_benchmarks(recipe: Recipe, store: Storage, aside: Storage | None = None) -> bool:
    """Write the files of benchmarks that are not fresh; return whether there were any.

    Args:
        recipe: names the benchmarks, with the hashes of their files.
        store: the corpus.
        aside: where the files are written, if not into the corpus.

    Raises:
        CorpusError: images cannot be read, or none of them can be decoded.
    """
    into = aside or store
    found = [_write(benchmark, recipe, store, into) for benchmark in recipe.dedup.benchmarks]
    return any(found)


def _write(benchmark: Benchmark, recipe: Recipe, store: Storage, into: Storage) -> bool:
    made_of = benchmark_fingerprint(benchmark, recipe.dedup, recipe.decode)
    origin = read_origin(store, benchmark_path(benchmark.name))
    if origin is not None and origin.fingerprint == made_of:
        return False
    table, counts = make_benchmark(benchmark, recipe)
    if counts.failed:
        some = sorted(counts.failed.items())
        said = ", ".join(f"{number:,} {reason}" for reason, number in some)
        CONSOLE.warning("%s: images that cannot be used: %s", _place(benchmark), said)
    write_benchmark(into, benchmark.name, made_of, table, counts)
    return True


def make_benchmark(benchmark: Benchmark, recipe: Recipe) -> tuple[pa.Table, BenchmarkCounts]:
    """Return the images of a benchmark, a table of BENCHMARK, and its counts.

    Raises:
        CorpusError: images cannot be read, or none of them can be decoded.
    """
    table, failed = BENCHMARK.empty_table(), dict[str, int]()
    if benchmark.images and is_corpus(benchmark.images):
        table = corpus_images(Storage(benchmark.images), recipe.dedup)
    elif benchmark.images:
        table, failed = folder_images(benchmark, recipe)
    if benchmark.images and not table.num_rows:
        raise CorpusError(f"{_place(benchmark)}: {benchmark.images}: holds no usable image")
    index = prompt_index(benchmark, recipe.dedup.benchmark_words)
    counts = BenchmarkCounts(
        prompts=index.prompts, too_short=index.too_short, images=table.num_rows, failed=failed
    )
    return table, counts
