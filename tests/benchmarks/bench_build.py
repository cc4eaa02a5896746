"""Images a second of every stage and of the whole build, with one process and with one a core.

    python tests/benchmarks/bench_build.py [--runs 3]

The demo corpus is crawled from a local server, which shares the machine.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from measuring import ROOT, peak_memory, report, run, spread

sys.path.insert(0, str(ROOT / "tools"))

from serve import serve

from pipelines.report.build_log import stage_times
from schemas.store.storage import Storage


def build(out: Path, base_url: str, processes: int) -> tuple[float, dict[str, float], int]:
    """Build from nothing; return seconds, seconds a stage, and bytes of the largest process."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "pipelines", "build", "pipelines/recipes/demo.yaml"]
    command += ["--out", str(out), "--processes", str(processes)]
    command += ["--set", f"sources.openclipart.base_url={base_url}"]
    with peak_memory() as peak:
        seconds = run(command)
    times = stage_times(Storage(str(out)))
    return seconds, {stage: time.seconds for stage, time in times.items()}, peak.largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    figures: dict[str, object] = {"images": 327, "runs": options.runs}
    with serve() as base_url, tempfile.TemporaryDirectory() as folder:
        for processes in (1, os.cpu_count() or 1):
            runs = [build(Path(folder) / "out", base_url, processes) for _ in range(options.runs)]
            figures[f"processes_{processes}"] = {
                "seconds": spread([seconds for seconds, _, _ in runs]),
                "images_per_s": spread([327 / seconds for seconds, _, _ in runs]),
                "stage_seconds": {
                    stage: spread([stages[stage] for _, stages, _ in runs]) for stage in runs[0][1]
                },
                "largest_process_mb": spread([largest / 1e6 for _, _, largest in runs]),
            }
    report("build", figures)


if __name__ == "__main__":
    main()
