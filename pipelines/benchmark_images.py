"""The images of a benchmark: hashed from a folder, or taken from a finished build."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from filters.colour_layout import colour_layout
from filters.decode import DecodeError
from filters.phash import phash
from filters.signal import Record
from pipelines.dedup.rows import EARLIER_ROWS_OF, Place, errors_naming, read_embedded
from pipelines.runtime.active_images import active_images
from pipelines.runtime.crash_isolation import call_isolated
from pipelines.runtime.images import decode_image
from pipelines.runtime.sidecar import column, kept_keys, read_table, rows_with, sidecar_path
from pipelines.shards.manifest import MANIFEST
from pipelines.sources.folders.listing import list_folder
from pipelines.sources.folders.reader import FolderReader
from pipelines.sources.links import Fault
from pipelines.sources.plan import read_plan
from pipelines.sources.raw_shard import wrong_size
from schemas.list_config import Benchmark
from schemas.recipe import DedupConfig, Recipe
from schemas.source_config import FolderSource
from schemas.store.storage import Storage
from schemas.tables import BENCHMARK

READ_THREADS = 8  # a file each in memory
LOOKS = ("phash", "colour_layout")


def is_corpus(path: str) -> bool:
    """Return whether a finished build lies in a folder."""
    return Storage(path).exists(MANIFEST)


def folder_sha256(path: str, max_bytes: int) -> str:
    """Return the sha256 of the lines `SHA256  NAME` of all images of a folder, as sha256sum's.

    Every image is read. One that cannot be read, or is larger than `max_bytes`, has '' as hash.

    Raises:
        CorpusError: there is no such folder, or it has no image.
    """
    digest = hashlib.sha256()
    for name, body in _bodies(path, max_bytes):
        of_body = "" if isinstance(body, str) else hashlib.sha256(body).hexdigest()
        digest.update(f"{of_body}  {name}\n".encode())
    return digest.hexdigest()


def folder_images(benchmark: Benchmark, recipe: Recipe) -> tuple[pa.Table, dict[str, int]]:
    """Return the hashes of the images of a folder, and {reason: images that cannot be used}.

    They are decoded in a process of their own, as an image can kill its process. About 15 ms an
    image.

    Returns:
        A table of BENCHMARK in the order of names.
    """
    what = f"images of benchmark {benchmark.name}"
    rows, failed = call_isolated(what, _hashed, benchmark.images, recipe)
    return pa.Table.from_pylist(rows, schema=BENCHMARK), dict(failed)


def _hashed(path: str, recipe: Recipe) -> tuple[list[dict[str, Any]], Counter[str]]:
    rows: list[dict[str, Any]] = []
    failed: Counter[str] = Counter()
    looks = recipe.dedup.phash_distance is not None
    for name, body in _bodies(path, recipe.crawl.max_bytes):
        if isinstance(body, str):
            failed[body] += 1
            continue
        row = {"image": name, "sha256": hashlib.sha256(body).hexdigest(), "phash": 0}
        row |= {"colour_layout": "", "points": b""}
        try:
            with active_images(name):
                image = decode_image(body, recipe.decode)
                if looks:
                    row |= _looks(Record(image=image, file_bytes=0, text="", title="", tags=()))
        except DecodeError as error:
            failed[error.reason] += 1
            continue
        rows.append(row)
    return rows, failed


def _looks(record: Record) -> dict[str, Any]:
    return {"phash": phash(record), "colour_layout": colour_layout(record.image, record.box)}


def _bodies(path: str, max_bytes: int) -> Iterator[tuple[str, bytes | str]]:
    """Yield (name, bytes or the reason why there are none) of the images of a folder, by name."""
    source = FolderSource(name="benchmark", kind="folder", path=path)
    reader = FolderReader(source, max_bytes)
    names = [json.loads(line)["path"] for line in list_folder(path, source.links).lines]

    def read(name: str) -> bytes | str:
        found = reader.read(name, max_bytes)
        if isinstance(found, Fault):
            return found.reason
        wrong = wrong_size(found[0], max_bytes, name)
        return wrong[0] if wrong else found[1]

    with ThreadPoolExecutor(READ_THREADS) as threads:
        for start in range(0, len(names), READ_THREADS):
            some = names[start : start + READ_THREADS]
            yield from zip(some, threads.map(read, some), strict=True)


def corpus_images(store: Storage, config: DedupConfig) -> pa.Table:
    """Return what a finished build stores of the images of its samples: a table of BENCHMARK.

    Raises:
        CorpusError: a side-car is missing or damaged.
    """
    shards = range(len(read_plan(store)))
    tables = [_corpus_shard(Place(store, n, -1, EARLIER_ROWS_OF), config) for n in shards]
    return pa.concat_tables(tables).sort_by("image") if tables else BENCHMARK.empty_table()


def _corpus_shard(place: Place, config: DedupConfig) -> pa.Table:
    with errors_naming(place):
        return _images_of(place, config)


def _images_of(place: Place, config: DedupConfig) -> pa.Table:
    store, shard = place.store, place.shard
    keys = kept_keys(store, EARLIER_ROWS_OF, shard)
    raw = rows_with(read_table(store, sidecar_path("raw", shard), ["key", "sha256"]), keys)
    signals = ["key", *(LOOKS if config.phash_distance is not None else ())]
    looks = rows_with(read_table(store, sidecar_path("signals", shard), signals), keys)
    blank = {"phash": 0, "colour_layout": "", "points": b""}
    rows = [{**blank, **look} for look in looks.to_pylist()]
    for row, sha256 in zip(rows, column(raw, "sha256"), strict=True):
        row |= {"image": row["key"], "sha256": sha256}
    for row, points in zip(rows, _points(place, config, len(rows)), strict=True):
        row["points"] = points
    return pa.Table.from_pylist(rows, schema=BENCHMARK)


def _points(place: Place, config: DedupConfig, rows: int) -> Sequence[bytes]:
    if config.semantic is None or not rows:
        return [b""] * rows
    found = read_embedded(place, scorer=config.semantic.scorer, hashed=False)
    assert found is not None  # it has rows
    return column(found, "points")
