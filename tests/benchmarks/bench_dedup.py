"""Time, memory and growth of dedup, by hashes and by embeddings beside faiss.

    python tests/benchmarks/bench_dedup.py [--rows 100000 1000000 8300000]
        [--embeddings 100000 1000000] [--runs 3] [--processes 2]

Side-cars of images that never were are written first, and not timed: `synthetic_corpus.py` and
`synthetic_embeddings.py`. Then the job of Beam runs on the local engine, once with the defaults of
a recipe, which compare bytes and pHashes, and once by embeddings alone. Each size has a process of
its own; the largest run once.

The peer, in the same run and on the same rows, is SemDeDup as it was published (arXiv 2303.09540):
faiss's spherical k-means on a sample, each row to its nearest centroid, and all cosines within a
cluster in float32. It takes embeddings in memory, and has as many clusters, sample rows, iterations
and threads; the rows of a cluster come best first. It removes a row that is near any row before it,
dedup one that is near a kept row before it. PYTHONPATH has the folder of faiss:
`pip install --target FOLDER --no-deps faiss-cpu`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import ceil
from typing import Any

import numpy as np
from bench_scale import measured
from measuring import report, spread
from semantic_peer import compared, read_embedded, sem_dedup
from synthetic_corpus import SyntheticShard, put_plan
from synthetic_embeddings import SyntheticEmbeddings

from pipelines.engines.engine import Engine, shard_numbers
from pipelines.engines.local_pool import run_each
from pipelines.runtime.exchange import exchange_folder, partitions_for
from pipelines.runtime.sidecar import column, read_table, sidecar_path
from pipelines.stages.dedup import Dedup
from schemas.recipe import DedupConfig, SemanticConfig
from schemas.store.storage import Storage

PER_SHARD = 5_000
WEIGHTS = {"hashes": 1, "embeddings": 5}  # of a row, in time
RUN_ONCE = 2_000_000  # rows by hashes
BY_HASHES = DedupConfig()
BY_NOTHING = DedupConfig(same_bytes=False, phash_distance=None)  # URLs and texts alone
SEMANTIC = SemanticConfig()
BY_EMBEDDINGS = BY_NOTHING.model_copy(update={"semantic": SEMANTIC})


@contextmanager
def corpus(rows: int, store: Storage, engine: Engine) -> Iterator[int]:
    """Write what dedup reads; yield the number of shards. The engine runs in the body."""
    shards = ceil(rows / PER_SHARD)
    put_plan(store, shards)
    with engine.started(store):
        write = SyntheticShard(rows=rows, per_shard=PER_SHARD, store=store)
        list(run_each(write, range(shards)))
        yield shards


def deduplicate(
    config: DedupConfig, rows: int, shards: int, store: Storage, engine: Engine
) -> None:
    """Run dedup on all rows, as a build does on those that select kept."""
    stage = Dedup(config=config, rows_of="signals")
    partitions = partitions_for(rows, shards)
    with exchange_folder(store):
        engine.run(
            lambda root: stage.expand(
                shard_numbers(root, range(shards)), store, "0" * 32, partitions, rows
            ),
            name="dedup",
        )


def by_hashes(rows: int, runs: int, store: Storage, engine: Engine) -> dict[str, Any]:
    with corpus(rows, store, engine) as shards:
        run = partial(deduplicate, BY_HASHES, rows, shards, store, engine)
        figures = repeated("dedup", run, rows, runs)
    return {"rows": rows, "shards": shards, **figures, "rows_by_reason": reasons(store, shards)}


def by_embeddings(rows: int, runs: int, store: Storage, engine: Engine) -> dict[str, Any]:
    with corpus(rows, store, engine) as shards:
        list(run_each(SyntheticEmbeddings(rows=rows, store=store), range(shards)))
        figures: dict[str, Any] = {"rows": rows, "shards": shards}
        for name, config in {"without": BY_NOTHING, "semantic": BY_EMBEDDINGS}.items():
            run = partial(deduplicate, config, rows, shards, store, engine)
            figures[name] = repeated(name, run, rows, runs)
    figures["rows_by_reason"] = reasons(store, shards)
    embedded = read_embedded(store, shards)
    removed = np.zeros(len(embedded.values), bool)
    sem_dedup(embedded.values[:1000], SEMANTIC.eps, 1)  # imports its libraries

    def peer() -> None:
        removed[:] = sem_dedup(embedded.values, SEMANTIC.eps, engine.processes or 1)

    figures["faiss"] = repeated("faiss", peer, rows, runs)
    return {**figures, **compared(embedded, removed, SEMANTIC.eps)}


def repeated(name: str, run: Any, rows: int, runs: int) -> dict[str, Any]:
    """Measure a few runs; return the spread of their seconds, and the highest of other figures."""
    found = [measured(name, run, rows) for _ in range(runs)]
    most = ("driver_peak_mb", "worker_peak_mb", "exchanged_bytes", "shuffled_bytes")
    return {
        "runs": len(found),
        "seconds": spread([each["seconds"] for each in found]),
        "cpu_seconds": spread([each["cpu_seconds"] for each in found]),
        "cpu_microseconds_a_row": spread([each["cpu_microseconds_a_row"] for each in found]),
        **{key: max(each[key] for each in found) for key in most},
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def reasons(store: Storage, shards: int) -> dict[str, int]:
    """Count the rows of each reason; '' is that of kept rows."""
    found: dict[str, int] = {}
    for shard in range(shards):
        for reason in column(read_table(store, sidecar_path("duplicates", shard)), "reason"):
            found[reason] = found.get(reason, 0) + 1
    return dict(sorted(found.items()))


KINDS = {"hashes": by_hashes, "embeddings": by_embeddings}


def apart(kind: str, rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one size in a process of its own."""
    runs = 1 if rows * WEIGHTS[kind] > RUN_ONCE else options.runs
    settings = {"rows": rows, "runs": runs, "processes": options.processes}
    with tempfile.TemporaryDirectory(prefix="dedup-") as folder:
        command = [sys.executable, __file__, "--one", json.dumps([kind, folder, settings])]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])


def one(kind: str, folder: str, settings: dict[str, int]) -> dict[str, Any]:
    engine = Engine(processes=settings["processes"])
    return KINDS[kind](settings["rows"], settings["runs"], Storage(folder), engine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000, 8_300_000])
    parser.add_argument("--embeddings", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*json.loads(options.one))))
        return
    figures: dict[str, Any] = {"processes": options.processes, "hashes": [], "embeddings": []}
    sizes = {"hashes": options.rows, "embeddings": options.embeddings}
    jobs = [(kind, rows) for kind, some in sizes.items() for rows in some]
    for kind, rows in sorted(jobs, key=lambda job: job[1] * WEIGHTS[job[0]]):
        figures[kind].append(apart(kind, rows, options))
        report("dedup", figures)  # after each: the largest takes long


if __name__ == "__main__":
    main()
