"""Seconds of `what-if` on side-cars of 8.3 M rows: signals and scores, 1,660 shards.

    python tests/benchmarks/bench_what_if.py [--shards 1660] [--runs 3] [--folder FOLDER]

A few shards are generated, and each is copied many times: the bytes that are read are the same as
of as many other rows. The files lie in the page cache, as after a build. The part of dedup is not
measured. It is compared with the same query in plain DuckDB, if that is installed.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from measuring import report, spread
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


def lay_out(folder: Path, shards: int) -> int:
    """Write the corpus; return its rows."""
    store = Storage(str(folder))
    store.commit_bytes("recipe.yaml", yaml.safe_dump(RECIPE).encode())
    put_plan(store, shards)
    make = SyntheticShard(rows=DISTINCT * PER_SHARD, per_shard=PER_SHARD, store=store)
    rows = []
    for shard in range(min(DISTINCT, shards)):
        rows.append(make(shard))
        signals = read_table(store, sidecar_path("signals", shard))
        passes = np.asarray(column(signals, "short_side")) >= 384
        found = scores(column(signals, "key"), passes, np.random.default_rng(shard))
        put(store, "scores", shard, found)
    for shard in range(DISTINCT, shards):
        for name in ("signals", "scores"):
            of = folder / name / f"{shard_name(shard % DISTINCT)}.parquet"
            shutil.copyfile(of, folder / name / f"{shard_name(shard)}.parquet")
    return sum(rows[shard % DISTINCT] for shard in range(shards))


def seconds(folder: Path) -> float:
    """Run the command once; return its seconds, the start of Python included."""
    sets = [word for change in CHANGES for word in ("--set", change)]
    command = [sys.executable, "-m", "pipelines", "what-if", str(folder), *sets]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=1660)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the side-cars here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        rows = lay_out(folder, options.shards) if not (folder / "recipe.yaml").exists() else 0
        times = [seconds(folder) for _ in range(options.runs)]
        report("what-if", {"shards": options.shards, "rows": rows, "seconds": spread(times)})


if __name__ == "__main__":
    main()
