"""The metadata of a corpus through dedup, select, caption, pair, shard assignment and report.

    python tests/benchmarks/bench_scale.py [--rows 100000 1000000 8300000] [--processes 2]

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
from collections.abc import Callable, Sequence
from dataclasses import asdict
from math import ceil
from typing import Any

from measuring import ROOT, cpu_seconds, peak_memory, report
from shuffles import counted_shuffles
from synthetic_corpus import SOURCE, SyntheticShard, SyntheticTokens, put_plan

import pipelines.shard
from pipelines.build import Job
from pipelines.engine import Engine
from pipelines.local_pool import run_each
from pipelines.sidecar import Counts, Origin, make_origin, read_origins
from pipelines.stages import stages_after_dedup
from pipelines.storage import Storage
from pipelines.write_shard import Reference, WriteShard
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe, parse_recipe
from schemas.tables import SHARD_INDEX

RULES = load_recipe(str(ROOT / "pipelines/recipes/vargpt-v1.1.yaml")).select


class AssignShard(WriteShard):
    """Writes an output shard up to where pixels would be read."""

    def _write(self, name: str, refs: Sequence[Reference], wanted: str) -> Origin:
        size = sum(len(ref["json"]) for ref in refs)
        counts = Counts(rows_in=len(refs), kept=len(refs))
        tar = {"bytes": size, "sha256": wanted}
        return make_origin("shard", wanted, SHARD_INDEX.empty_table(), counts, tar)


def recipe() -> Recipe:
    """Return a recipe of default settings and the rules of VARGPT-v1.1's."""
    rules = {name: rule.model_dump(mode="json") for name, rule in RULES.items()}
    source = {"name": SOURCE, "kind": "list", "path": "a.csv"}
    return parse_recipe({"name": "scale", "sources": [source], "select": rules})


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
    made = recipe()
    store, engine = Storage(folder), Engine(processes=processes)
    shards = ceil(rows / made.rows_per_shard)
    put_plan(store, shards)
    job = Job(recipe=made, store=store, engine=engine, shards=shards)
    figures: dict[str, Any] = {"rows": rows, "shards": shards}
    with engine.started(store):
        write = SyntheticShard(rows=rows, per_shard=made.rows_per_shard, store=store)
        list(run_each(write, range(shards)))
        for folder_ in ("sources", "raw", "signals"):
            job._count(folder_, folder_)
        figures["dedup"] = measured("dedup", job.dedup, rows)
        for stage in stages_after_dedup(made, {})[:3]:
            figures[stage.name] = measured(stage.name, lambda stage=stage: job.map(stage), rows)
        list(run_each(SyntheticTokens(store=store), range(shards)))
        job._count("vq_tokens", "tokens")
        samples = sum(o.counts.kept for o in read_origins(store, "tokens", range(shards)))
        pipelines.shard.WriteShard = AssignShard
        figures["shard"] = measured("shard", job.shard, samples)
        figures["report"] = measured("report", job.report, rows)
    figures["samples"] = samples
    figures["dropped"] = {name: dict(counts.dropped) for name, counts in job.funnel}
    figures["seconds"] = round(
        sum(f["seconds"] for f in figures.values() if type(f) is dict and "seconds" in f), 1
    )
    return figures


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
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 8_300_000])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one_size(options.rows[0], options.processes, options.one)))
        return
    sizes = [apart(rows, options.processes) for rows in options.rows]
    report("scale", {"processes": options.processes, "sizes": sizes})


if __name__ == "__main__":
    main()
