"""The metadata of a corpus through select, dedup, caption, pair, shard assignment and report.

    python tests/benchmarks/bench_scale.py [--rows 100000 1000000 8300000] [--processes 2]
    python tests/benchmarks/bench_scale.py --rows   # what an object store is asked, no more

Side-cars of images that never were are written first, in shards of the recipe's default size, and
not timed. Then the build's own jobs run on the local engine. Of `shard`, all runs but the last
step of its last task: what an output shard needs is read, sorted and hashed, and neither images
nor tokens, of which there are none, are read. Each size has a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
from counted_store import PROTOCOL, counted_operations
from measuring import ROOT, cpu_seconds, peak_memory, report, spread
from shuffles import counted_shuffles
from synthetic_corpus import (
    SOURCE,
    Images,
    SyntheticShard,
    SyntheticTokens,
    put_plan,
    scrambled,
)

import pipelines.stages.shard
from filters.rules import measured_first
from filters.scores.registry import columns_of
from pipelines.build import Build
from pipelines.dedup.near_duplicates import band_masks, near_hashes
from pipelines.dedup.rows import first_of_equal
from pipelines.engines.engine import Engine
from pipelines.engines.local_pool import run_each
from pipelines.own_names import open_claims
from pipelines.runtime.sidecar import Counts, Origin, make_origin
from pipelines.shards.write_shard import Reference, WriteShard
from pipelines.stage_table import make_stages
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe, parse_recipe
from schemas.store.storage import Storage
from schemas.tables import SHARD_INDEX

OPERATIONS_ROWS = (6_000, 20_000)
PEER_ROWS = 50_000
DISTANCE = 4  # bits
PAPER = load_recipe(str(ROOT / "pipelines/recipes/vargpt-v1.1.yaml"))


class AssignShard(WriteShard):
    """Writes an output shard up to where pixels would be read."""

    def _write(self, number: int, name: str, refs: Sequence[Reference], wanted: str) -> Origin:
        size = sum(len(ref["json"]) for ref in refs)
        counts = Counts(rows_in=len(refs), kept=len(refs))
        tar = {"bytes": size, "sha256": wanted}
        return make_origin("shard", wanted, SHARD_INDEX.empty_table(), counts, tar=tar)


def recipe() -> Recipe:
    """Return a recipe with the section dedup and the rules on signals of VARGPT-v1.1's."""
    scored = [column.name for column in columns_of(PAPER.score.scorers)]
    rules = {
        name: rule.model_dump(mode="json")
        for name, rule in measured_first(PAPER.select, scored)[0].items()
    }
    source = {"name": SOURCE, "kind": "list", "path": "a.csv"}
    dedup = PAPER.dedup.model_dump(mode="json")
    return parse_recipe({"name": "scale", "sources": [source], "select": rules, "dedup": dedup})


def measured(name: str, run: Callable[[], Any], rows: int) -> dict[str, Any]:
    """Run one stage; return what it took."""
    with counted_shuffles() as carried, peak_memory() as peak:
        started, cpu = time.monotonic(), cpu_seconds()
        run()
        seconds, cpu = time.monotonic() - started, cpu_seconds() - cpu
    shuffles = {label: asdict(found) for label, found in carried.items()}
    figures = {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "cpu_microseconds_a_row": round(1e6 * cpu / rows, 1),
        "driver_peak_mb": round(peak.own / 1e6),
        "worker_peak_mb": round(peak.largest / 1e6),
        "shuffled_elements": sum(found["elements"] for found in shuffles.values()),
        "shuffled_bytes": sum(found["bytes"] for found in shuffles.values()),
        "exchanged_bytes": sum(found["exchanged_bytes"] for found in shuffles.values()),
        "shuffles": shuffles,
    }
    print(
        name, {key: value for key, value in figures.items() if key != "shuffles"}, file=sys.stderr
    )
    return figures


def one_size(rows: int, processes: int, folder: str) -> dict[str, Any]:
    """Run every stage once over a corpus of so many rows."""
    figures: dict[str, Any] = {"rows": rows}
    with corpus(rows, Storage(folder), Engine(processes=processes)) as job:
        figures["shards"] = job.shards
        for name, run, of in stages(job, rows):
            figures[name] = measured(name, run, of)
        figures["funnel"] = {name: asdict(counts) for name, counts in job.funnel}
    return figures


def operations(rows: int) -> dict[str, Any]:
    """Count what each stage asks of an object store, by one process."""
    figures: dict[str, Any] = {"rows": rows}
    with corpus(rows, Storage(f"{PROTOCOL}://corpus"), Engine(processes=1)) as job:
        figures["shards"] = job.shards
        for name, run, _ in stages(job, rows):
            with counted_operations() as asked:
                run()
            figures[name] = dict(sorted(asked.items()))
    return figures


@contextmanager
def corpus(rows: int, store: Storage, engine: Engine) -> Iterator[Build]:
    """Write what comes before the stages that are timed; no model scores anything."""
    made = recipe()
    shards = ceil(rows / made.rows_per_shard)
    put_plan(store, shards)
    claims = open_claims(store)
    job = Build(recipe=made, store=store, engine=engine, shards=shards, claims=claims)
    with engine.started(store):
        write = SyntheticShard(rows=rows, per_shard=made.rows_per_shard, store=store)
        list(run_each(write, range(shards)))
        for folder in ("sources", "raw", "signals"):
            job._count(folder, folder)
        [score] = (stage for stage in make_stages(made) if stage.name == "score")
        job.chain([score])
        yield job


def stages(job: Build, rows: int) -> Iterator[tuple[str, Callable[[], Any], int]]:
    """Yield each stage, what runs it, and the rows it is for; tokens are written between."""
    made = {stage.name: stage for stage in make_stages(job.recipe)}
    yield "select", partial(job.chain, [made["select"]]), rows
    yield "dedup", partial(job.dedup, made["dedup"]), rows
    for name in ("caption", "pair"):
        yield name, partial(job.chain, [made[name]]), rows
    list(run_each(SyntheticTokens(store=job.store), range(job.shards)))
    job._count("vq_tokens", "tokens")
    pipelines.stages.shard.WriteShard = AssignShard
    yield "shard", partial(job.shard, made["shard"]), dict(job.funnel)["vq_tokens"].kept
    yield "report", partial(job.report, made["report"]), rows


def peers(rows: int) -> dict[str, Any]:
    """Time the search for near hashes against comparing all, and equal bytes against Arrow's."""
    images = Images(np.random.default_rng(0), np.arange(rows, dtype=np.uint64), rows // 20)
    hashes, masks = np.unique(images.phash), len(band_masks(DISTANCE))
    bands = np.repeat(np.arange(masks, dtype=np.uint8), len(hashes))
    sha256 = [scrambled(images.file, salt) for salt in range(4)]
    table = pa.table(dict(zip("abcd", sha256, strict=True)))
    here = np.arange(rows)
    timed = {
        "near_hashes": lambda: len(near_hashes(np.tile(hashes, masks), bands, DISTANCE)),
        "all_pairs": lambda: _all_pairs(hashes),
        "first_of_equal": lambda: len(np.unique(first_of_equal(sha256, [here]))),
        "arrow_group_by": lambda: (
            table.group_by(list("abcd"), use_threads=False).aggregate([([], "count_all")]).num_rows
        ),
    }
    found: dict[str, Any] = {"rows": rows, "distinct_hashes": len(hashes)}
    for name, run in timed.items():
        seconds = []
        for _ in range(3):
            started = time.process_time()
            result = run()
            seconds.append(time.process_time() - started)
        found[name] = {"found": result, "cpu_seconds": spread(seconds)}
    return found


def _all_pairs(hashes: np.ndarray) -> int:
    return sum(
        int((np.bitwise_count(hashes[place + 1 :] ^ hash_) <= DISTANCE).sum())
        for place, hash_ in enumerate(hashes)
    )


def apart(rows: int, processes: int) -> dict[str, Any]:
    """Measure one size in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        command = [sys.executable, __file__, "--one", folder, "--rows", str(rows)]
        done = subprocess.run(
            [*command, "--processes", str(processes)], stdout=subprocess.PIPE, check=True, text=True
        )
        return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000, 8_300_000])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one_size(options.rows[0], options.processes, options.one)))
        return
    asked = [operations(rows) for rows in OPERATIONS_ROWS]
    if not options.rows:
        report("scale-operations", {"operations": asked})
        return
    figures: dict[str, Any] = {"processes": options.processes, "sizes": [], "operations": asked}
    figures["peers"] = peers(PEER_ROWS)
    for rows in options.rows:
        figures["sizes"].append(apart(rows, options.processes))
        report("scale", figures)  # after each: the largest takes long


if __name__ == "__main__":
    main()
