"""Images a second and core: `measure` and `shard`, beside plain decoders on the same files.

    python tests/benchmarks/bench_pixels.py [--photos 2000] [--runs 3] [--before CHECKOUT]

Half of the generated photos have 0.3 megapixels (640 x 480, within the `short_side` of a shard) and
half 4 (2309 x 1732). If `make corpus-openclipart` has fetched openclipart, its PNGs come third,
without those over 20 megapixels. The stages read them from a raw shard, as in a build: with hashes
checked, time limits and all default signals. `shard_always` encodes every image.

Every figure comes from a worker process of its own, in its CPU seconds: what else the machine does
counts little. `pillow_load` decodes to the file's own mode, `pillow_rgb` to RGB on white, which
signals are measured on. OpenCV (`opencv-python-headless<5`, not among our requirements) and
torchvision decode to RGB by one thread. `--before` times the stages of another checkout too.
20 minutes on 2 cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from measuring import ROOT, report, spread
from photos import photos
from PIL import Image

SIZES = {"photos of 0.3 Mpx": (640, 480), "photos of 4 Mpx": (2309, 1732)}
OPENCLIPART, OPENCLIPART_FILES, MAX_PIXELS = "openclipart", 1_000, 20_000_000
STAGES = ("measure", "shard", "shard_always")
PNG_DECODERS = ("pillow_load", "pillow_rgb")
JPEG_DECODERS = (*PNG_DECODERS, "pillow_half", "opencv", "torchvision")
COMPARED = 20  # images whose colours are compared


def openclipart() -> Iterator[bytes]:
    """Yield PNGs, the same each time."""
    found = sorted(Path(ROOT, "build/openclipart/root").rglob("*.png"))
    files = [file for file in found if not file.is_symlink()]
    Image.MAX_IMAGE_PIXELS = None
    for file in Random(0).sample(files, min(OPENCLIPART_FILES, len(files))):
        with Image.open(file) as image:
            if image.width * image.height <= MAX_PIXELS:
                yield file.read_bytes()


def data_sets(count: int) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Yield names and files of all data sets."""
    for name, (width, height) in SIZES.items():
        yield name, photos(width, height, count // 2)
    if Path(ROOT, "build/openclipart/root").is_dir():
        yield OPENCLIPART, openclipart()


def in_worker(name: str, folder: str, runs: int, root: Path = ROOT) -> tuple[int, list[float]]:
    """Time one decoder or stage in a process that does nothing else, by the code of a checkout."""
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--only",
        name,
        "--runs",
        str(runs),
        folder,
    ]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return tuple(json.loads(done.stdout.splitlines()[-1]))  # type: ignore[return-value]


def one(name: str, folder: str, runs: int) -> None:
    """Print the figures of one decoder or stage, timed in a worker of the local pool."""
    from pixel_work import timed

    from pipelines.engines.local_pool import local_pool, run_each

    with local_pool(2):
        [found] = run_each(timed, [(name, folder, runs)])
    print(json.dumps(found))


def figures_of(name: str, files: Iterable[bytes], runs: int, before: Path | None) -> dict[str, Any]:
    """Time everything on one data set."""
    from pixel_work import colour_distances, put_images

    from schemas.store.storage import Storage

    with tempfile.TemporaryDirectory() as folder:
        put_images(Storage(folder), files)
        is_png = name == OPENCLIPART
        jobs = [(work, ROOT) for work in (*(PNG_DECODERS if is_png else JPEG_DECODERS), *STAGES)]
        jobs += [(work, before) for work in STAGES[:2] if before]
        speeds: dict[str, Any] = {}
        for work, root in jobs:
            images, seconds = in_worker(work, folder, runs, root)
            label = work if root == ROOT else f"{work}, before"
            speeds[label] = spread([images / each for each in seconds])
            print(name, label, speeds[label], file=sys.stderr)
        size = sum(file.stat().st_size for file in Path(folder, "raw").glob("*.tar"))
        figures = {"images": images, "mb": round(size / 1e6, 1), "images_a_second": speeds}
        if not is_png:
            figures["levels_from_pillow"] = colour_distances(folder, COMPARED)
    return figures | {"shares": shares(speeds)}


def shares(speeds: dict[str, Any]) -> dict[str, float]:
    """Return the speed of `measure` relative to decoders, and what keeping bytes gains."""
    medians = {name: found["median"] for name, found in speeds.items()}
    ratios = {f"measure / {name}": medians["measure"] / medians[name] for name in PNG_DECODERS}
    ratios["shard / shard_always"] = medians["shard"] / medians["shard_always"]
    for stage in STAGES[:2]:
        if f"{stage}, before" in medians:
            ratios[f"{stage} / {stage}, before"] = medians[stage] / medians[f"{stage}, before"]
    if "measure, before" in medians:
        ratios["measure, before / pillow_rgb"] = medians["measure, before"] / medians["pillow_rgb"]
    return {name: round(ratio, 2) for name, ratio in ratios.items()}


def main() -> None:
    """Run everything and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--only")
    parser.add_argument("folder", nargs="?")
    options = parser.parse_args()
    if options.only:
        one(options.only, options.folder, options.runs)
        return
    figures = {
        name: figures_of(name, files, options.runs, options.before)
        for name, files in data_sets(options.photos)
    }
    report("pixels", {"runs": options.runs, "load_average": os.getloadavg()[1], **figures})


if __name__ == "__main__":
    main()
