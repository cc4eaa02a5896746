"""Peak memory of a worker at 500 and at 5,000 images: it must not grow with the corpus.

    python tests/benchmarks/bench_memory.py [--sizes 500 5000]

Images are generated, served locally and crawled; one process does all the work, so its peak is a
worker's. A shard holds 250 rows in both corpora.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from measuring import ROOT, peak_memory, report, run
from PIL import Image

sys.path.insert(0, str(ROOT / "tools"))

from serve import serve

SIDE = 288  # px


def generate(folder: Path, images: int) -> Path:
    """Write noise over a gradient, each image another, and the list of them."""
    generator = np.random.default_rng(0)
    ramp = np.linspace(0, 160, SIDE, dtype=np.float32)
    lines = []
    for number in range(images):
        noise = generator.uniform(0, 95, (SIDE, SIDE, 3)).astype(np.float32)
        coarse = generator.uniform(-60, 60, (9, 9, 3)).repeat(32, 0).repeat(32, 1)
        pixels = np.clip(ramp[:, None, None] + noise + coarse, 0, 255).astype(np.uint8)
        name = f"{number:05d}.jpg"
        Image.fromarray(pixels).save(folder / name, quality=90)
        lines.append(json.dumps({"url": name, "text": f"Generated picture number {number}"}))
    listed = folder / "list.jsonl"
    listed.write_text("\n".join(lines) + "\n")
    return listed


def peak_mb(images: int) -> float:
    """Build a corpus of generated images; return the peak of the process that did it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listed = generate(folder, images)
        recipe = folder / "recipe.yaml"
        recipe.write_text(
            f"name: memory\nsources: [{{name: made, kind: list, path: {listed}}}]\n"
            "rows_per_shard: 250\ncrawl: {allow_private_addresses: true}\n"
            "dedup: {phash_distance: null}\nshard: {samples: 250}\n"
        )
        with serve(folder=folder) as base_url, peak_memory() as peak:
            command = [sys.executable, "-m", "pipelines", "build", str(recipe), "--processes", "1"]
            command += ["--out", str(folder / "out"), "--set", f"sources.made.base_url={base_url}"]
            run(command)
        return peak.largest / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=[500, 5000])
    sizes = parser.parse_args().sizes
    peaks = [peak_mb(images) for images in sizes]
    growth = peaks[1] / peaks[0] - 1
    figures = {"images": sizes, "peak_mb": [round(peak) for peak in peaks]}
    report(
        "memory", {**figures, "growth": round(growth, 3), "flat_within_15_percent": growth <= 0.15}
    )


if __name__ == "__main__":
    main()
