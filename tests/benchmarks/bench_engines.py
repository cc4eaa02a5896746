"""Why the local engine is what it is: one Beam job over the same shards in each local mode.

    python tests/benchmarks/bench_engines.py CORPUS [--runs 3]

CORPUS is a built corpus, whose measure stage is run again. Two jobs are timed in each mode, since
a build is ten: the second shows what stays warm.
"""

import argparse
import os
import shutil
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from measuring import report, spread

from pipelines.engines.engine import Engine, shard_numbers
from pipelines.engines.local_pool import local_pool
from pipelines.runtime.map_shards import MapShards
from pipelines.sources.plan import read_plan
from pipelines.stages.measure import Measure
from schemas.recipe_file import load_recipe
from schemas.store.storage import Storage

CORES = os.cpu_count() or 1


def modes() -> dict[str, Engine]:
    """Return the local modes; all run Beam's in-process runner."""
    workers = f"--direct_num_workers={CORES}"
    beam = {
        "one thread (in_memory)": (),
        "Beam multi_threading": ("--direct_running_mode=multi_threading", workers),
        "Beam multi_processing": ("--direct_running_mode=multi_processing", workers),
    }
    engines = {
        name: Engine(beam_options=("--runner=FnApiRunner", *options))
        for name, options in beam.items()
    }
    return {**engines, "our pool": Engine(processes=CORES)}


def two_jobs(engine: Engine, corpus: str) -> tuple[float, float]:
    """Measure every shard twice; return the seconds of both jobs."""
    recipe = load_recipe(f"{corpus}/recipe.yaml")
    store = Storage(corpus)
    stage = Measure(config=recipe.measure, decode=recipe.decode)
    numbers = range(len(read_plan(store)))
    seconds = []
    with local_pool(engine.processes) if engine.processes else nullcontext():
        for _ in range(2):
            shutil.rmtree(f"{corpus}/signals")
            started = time.monotonic()
            engine.run(
                lambda root: shard_numbers(root, numbers) | MapShards([stage], store), name="b"
            )
            seconds.append(time.monotonic() - started)
    return seconds[0], seconds[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    figures: dict[str, object] = {"runs": options.runs, "stage": "measure"}
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        shutil.copytree(options.corpus, corpus)
        figures["shards"] = len(read_plan(Storage(str(corpus))))
        for name, engine in modes().items():
            jobs = [two_jobs(engine, str(corpus)) for _ in range(options.runs)]
            figures[name] = {
                "first_job_s": spread([first for first, _ in jobs]),
                "second_job_s": spread([second for _, second in jobs]),
            }
    report("engines", figures)


if __name__ == "__main__":
    main()
