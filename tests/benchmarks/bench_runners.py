"""The demo corpus on every engine that is set up here: the same bytes, and what each costs.

    make spark-jar flink-jar prism build/engines/pyspark
    python tests/benchmarks/bench_runners.py [--runs 3]

The seconds are of the whole command, set-up of the runner included: a build is five jobs, and
a runner's overhead for each is most of what a corpus this small shows.
"""

import argparse
import hashlib
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from measuring import ROOT, report, run, spread

from pipelines.engines.profile import engine_names, load_profile
from pipelines.engines.spark.cluster import running_cluster

sys.path.insert(0, str(ROOT / "tools"))
from serve import running_server

SPARK = ROOT / "build/engines/pyspark/pyspark"
RUN_BY_JAVA = ("flink", "spark")


def versions() -> dict[str, str]:
    """Return what each engine is, by the files that it is made from."""
    pom = {name: (ROOT / f"pipelines/engines/{name}/pom.xml").read_text() for name in RUN_BY_JAVA}
    java = {name: re.findall(r"<beam.version>(.*?)<", text)[0] for name, text in pom.items()}
    beam = version("apache-beam")
    return {
        "local": f"Beam {beam}",
        "prism": f"Prism {beam}",
        "flink": f"Flink 1.19, Beam {java['flink']}",
        "spark": f"Spark {re.findall(r'<spark.version>(.*?)<', pom['spark'])[0]}, "
        f"Beam {java['spark']}",
    }


def engines() -> Iterator[tuple[str, str, list[str]]]:
    """Yield (name, engine, further options) of what is set up here; the cluster runs meanwhile."""
    for name in engine_names():
        profile = load_profile(name)
        if missing := profile.missing(profile.arguments(processes=2)):
            print(f"{name} is left out: {'; '.join(missing)}", file=sys.stderr)
        else:
            yield name, name, []
    if SPARK.exists():
        with tempfile.TemporaryDirectory() as logs, running_cluster(SPARK, Path(logs)) as options:
            yield "spark cluster, 2 workers", "spark", ["--", *options]


@contextmanager
def fresh_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "corpus"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    figures: dict[str, object] = {"runs": options.runs, "recipe": "demo"}
    with running_server() as server:
        place = f"sources.openclipart.base_url={server.base_url}"
        build = [sys.executable, "-m", "pipelines", "build", "pipelines/recipes/demo.yaml"]
        for name, engine, further in engines():
            seconds, manifests = [], set()
            for _ in range(options.runs):
                with fresh_folder() as out:
                    where = ["--set", place, "--out", str(out), "--engine", engine]
                    seconds.append(run([*build, *where, *further]))
                    manifest = (out / "manifest.json").read_bytes()
                    manifests.add(hashlib.sha256(manifest).hexdigest())
            figures[name] = {
                "version": versions()[engine],
                "seconds": spread(seconds),
                "manifest_sha256": sorted(manifests),
            }
    report("runners", figures)


if __name__ == "__main__":
    main()
