"""Seconds of `what-if` on side-cars of 8.3 M rows: signals and scores, 1,660 shards.

    python tests/benchmarks/bench_what_if.py [--shards 1660] [--runs 3] [--folder FOLDER]

A few shards are generated, and each is copied many times: the bytes that are read are the same as
of as many other rows. The files lie in the page cache, as after a build. The part of dedup is not
measured. The peer is one query of DuckDB, if it is installed: counts by reason of the changed
recipe alone, in one process that has it imported.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from measuring import ROOT, report, spread
from synthetic_corpus import SOURCE, SyntheticShard, put, put_plan

from filters.scores.registry import columns_of
from pipelines.runtime.sidecar import column, read_table, sidecar_path
from schemas.keys import shard_name
from schemas.recipe import Recipe
from schemas.store.storage import Storage
from schemas.tables import SCORES

DISTINCT = 10  # shards that are generated
PER_SHARD = 5000
RECIPE: dict[str, Any] = {
    "name": "what-if",
    "sources": [{"name": SOURCE, "kind": "list", "path": "list.parquet"}],
    "score": {
        "scorers": [
            {"score": "clip"},
            {"score": "aesthetic", "head": "head.pth"},
            {"score": "nsfw"},
            {"score": "watermark", "weights": "watermark.pt"},
        ]
    },
    "select": {
        "short_side": {"min": 384},
        "aspect": {"min": 0.33, "max": 3},
        "blank_fraction": {"max": 0.95},
        "text_words": {"min": 3},
        "text_url": {"forbid": True},
        "aesthetic": {"min": 4.75},
        "watermark": {"max": 0.5},
    },
}
CHANGES = ("select.aesthetic.min=5.25", "select.short_side.min=512")


def scores(keys: list[str], passes: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """Return scores of the rows that pass, null for the others."""
    recipe = Recipe.model_validate(RECIPE)
    made = {
        each.name: pa.array(rng.normal(5, 0.7, len(keys)), each.type, mask=~passes)
        if each.name == "aesthetic"
        else pa.array(rng.random(len(keys)), each.type, mask=~passes)
        for each in columns_of(recipe.score.scorers)
    }
    told = {
        "key": keys,
        "image_sha256": [key * 2 if ok else "" for key, ok in zip(keys, passes, strict=True)],
        "text_digest": [key if ok else "" for key, ok in zip(keys, passes, strict=True)],
    }
    fields = [pa.field(name, array.type) for name, array in made.items()]
    return pa.table({**told, **made}, schema=pa.schema([*SCORES, *fields]))


def lay_out(folder: Path, shards: int) -> None:
    """Write the corpus."""
    store = Storage(str(folder))
    store.commit_bytes("recipe.yaml", yaml.safe_dump(RECIPE).encode())
    put_plan(store, shards)
    make = SyntheticShard(rows=DISTINCT * PER_SHARD, per_shard=PER_SHARD, store=store)
    for shard in range(min(DISTINCT, shards)):
        make(shard)
        signals = read_table(store, sidecar_path("signals", shard))
        passes = np.asarray(column(signals, "short_side")) >= 384
        found = scores(column(signals, "key"), passes, np.random.default_rng(shard))
        put(store, "scores", shard, found)
    for shard in range(DISTINCT, shards):
        for name in ("signals", "scores"):
            of = folder / name / f"{shard_name(shard % DISTINCT)}.parquet"
            shutil.copyfile(of, folder / name / f"{shard_name(shard)}.parquet")


def timed(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds and CPU seconds, the start of Python included."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.monotonic() - started, cpu


def of_duckdb(folder: Path) -> float:
    """Return the seconds of the query of the peer."""
    import duckdb

    query = f"""
        select reason, count(*) from (select case
            when short_side < 512 then 'short_side_min' when aspect < 0.33 then 'aspect_min'
            when aspect > 3 then 'aspect_max' when blank_fraction > 0.95 then 'blank_fraction_max'
            when text_words < 3 then 'text_words_min' when text_url then 'text_url'
            when aesthetic is null then 'to score' when aesthetic < 5.25 then 'aesthetic_min'
            when watermark > 0.5 then 'watermark_max' else '' end as reason
        from read_parquet('{folder}/signals/*.parquet')
        positional join read_parquet('{folder}/scores/*.parquet')) group by reason"""
    started = time.monotonic()
    duckdb.sql(query).fetchall()
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=1660)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the side-cars here")
    options = parser.parse_args()
    sets = [word for change in CHANGES for word in ("--set", change)]
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        if not (folder / "recipe.yaml").exists():
            lay_out(folder, options.shards)
        files = sorted((folder / "signals").glob("*.parquet"))
        command = [sys.executable, "-m", "pipelines", "what-if", str(folder), *sets]
        runs = [timed(command) for _ in range(options.runs)]
        figures = {
            "shards": len(files),
            "rows": sum(pq.read_metadata(file).num_rows for file in files),
            "seconds": spread([wall for wall, _ in runs]),
            "cpu_seconds": spread([cpu for _, cpu in runs]),
            "load": os.getloadavg()[0],
        }
        if find_spec("duckdb"):
            figures["duckdb_seconds"] = spread([of_duckdb(folder) for _ in runs])
        report("what-if", figures)


if __name__ == "__main__":
    main()
