"""How many requests a build costs in an object store, counted at a proxy that fails nothing.

    python tests/benchmarks/bench_stores.py [--rows 60]

The demo's first rows are built into fake-gcs-server and moto's server twice, in shards of 30 and of
10 rows: the images are the same, so the difference is what a shard costs. Requests, not seconds:
both stores are on this machine.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
from measuring import ROOT, report

sys.path.insert(0, str(ROOT / "tests/corpus"))
sys.path.insert(0, str(ROOT / "tools"))

from corpus import DEMO_LIST, DEMO_RECIPE
from faulty_proxy import FaultyProxy, Seen, faulty_proxy
from object_stores import STORES
from serve import serve

from pipelines.build import build
from pipelines.engines.engine import Engine
from pipelines.sources.plan import read_plan
from pipelines.verify.job import verify
from schemas.recipe_file import load_recipe
from schemas.store.storage import Storage

ROWS_PER_SHARD = (30, 10)

Requests = dict[str, int]  # by kind


def kind(seen: Seen) -> str:
    """Name a request of either store: put, delete, list, get (bytes) or info (about a file)."""
    if seen.method in ("PUT", "POST"):
        return "put"
    if seen.method == "DELETE":
        return "delete"
    if "prefix=" in seen.path:
        return "list"
    return "info" if seen.method == "HEAD" or seen.path.startswith("/storage/v1/b/") else "get"


def requests_of(proxy: FaultyProxy, work: Callable[..., object], *arguments: object) -> Requests:
    before = len(proxy.seen)
    work(*arguments)
    return dict(sorted(Counter(map(kind, proxy.seen[before:])).items()))


def in_shards_of(rows: int, out: str, sets: list[str], proxy: FaultyProxy) -> dict[str, Any]:
    """Build, build again and verify; return the requests of each."""
    unscored = ("score.scorers=[]", "dedup.semantic=null")
    recipe = load_recipe(str(DEMO_RECIPE), [*sets, *unscored, f"rows_per_shard={rows}"])
    job = (build, recipe, out, Engine(processes=1))
    first, second = requests_of(proxy, *job), requests_of(proxy, *job)
    manifest = json.loads(Storage(out).read("manifest.json"))
    return {
        "shards": len(read_plan(Storage(out))),
        "samples": manifest["subsets"]["t2i"]["samples"],
        "build": first,
        "second build": second,
        "verify": requests_of(proxy, verify, Storage(out)),
    }


def in_store(protocol: str, sets: list[str]) -> dict[str, Any]:
    """Build with each size of shard; return the requests, and what a further shard takes."""
    with STORES[protocol]() as store, faulty_proxy(store.address) as proxy:
        fsspec.config.conf[protocol] = store.behind(proxy.address).fs_options
        few, many = (
            in_shards_of(rows, f"{store.make_bucket(f'rows-{rows}')}/corpus", sets, proxy)
            for rows in ROWS_PER_SHARD
        )
    further = many["shards"] - few["shards"]
    a_shard = {
        name: round((many["build"][name] - few["build"].get(name, 0)) / further, 1)
        for name in many["build"]
    }
    return {"few shards": few, "many shards": many, "a further shard": a_shard}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serve() as images:
        listed = Path(folder) / "rows.jsonl"
        listed.write_text("".join(DEMO_LIST.read_text().splitlines(True)[: options.rows]))
        sets = [f"sources.openclipart.{key}" for key in (f"path={listed}", f"base_url={images}")]
        figures = {protocol: in_store(protocol, sets) for protocol in STORES}
    report("stores", {"rows": options.rows, **figures})


if __name__ == "__main__":
    main()
