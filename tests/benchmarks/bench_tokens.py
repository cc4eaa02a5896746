"""Images a second of encode + quantise + pack, beside the published formulation in the same run.

    python tests/benchmarks/bench_tokens.py [--runs 3] [--images 4] [--only infinity_bsq-256]

Full-size networks with random weights (speed does not depend on them), real pixels. On a CPU the
reference has every core for its one image; ours is timed as the stage runs it, one process a core
with one thread each, and both again with a single core. With a CUDA device, also every precision
and size of pass. Costs for 8.3 M images follow from the medians and from the prices given.

Tried on an AVX2 CPU, and no help (2026-11-24, 128 channels at 256 px, one core):
- torch's own GroupNorm in channels-last: 23 ms instead of 46, but its error moves codes.
- statistics by `torch.var_mean` over a channels-last view: 111 ms.
- weights in channels-last beside activations in it: no faster than activations alone.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import ROOT, report, spread
from reference_tokenizers import Reference
from torch.utils.flop_counter import FlopCounterMode

from filters.decode import decode
from model.tokenizers.compute import Compute, keep_freed_memory
from model.tokenizers.load import load_tokenizer
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.prepare import cover_crop, to_model_input

CASES = {
    "infinity_bsq-256": ("infinity_bsq", "d32", 256),
    "infinity_bsq-512": ("infinity_bsq", "d32", 512),
    "var_vqvae-256": ("var_vqvae", "full", 256),
}
CORES = os.cpu_count() or 1
CORPUS_IMAGES = 8_300_000
# Dense peaks of NVIDIA's H100 SXM data sheet, in FLOP/s.
PEAKS = {"H100": {"fp32": 67e12, "tf32": 494e12, "bf16": 989e12}}
PASSES = (1, 8, 16, 32)
GPU_IMAGES = 64


def tokenizer_of(case: str, compute: Compute | None = None) -> NetworkTokenizer:
    """Load the full size of a case with random weights."""
    name, preset, resolution = CASES[case]
    return load_tokenizer(name, preset=preset, resolution=resolution, compute=compute)


def pixels(side: int, count: int) -> torch.Tensor:
    """Return real images, float32 [count, 3, side, side]: bundled ones, over again if need be."""
    files = sorted(Path(ROOT, "tests/corpus/openclipart").rglob("*.png"))
    chosen = [files[number * 7 % len(files)] for number in range(count)]
    images = [decode(file.read_bytes(), max_pixels=10**8) for file in chosen]
    return to_model_input(np.stack([cover_crop(image, side, side) for image in images]))


def timed(work: Callable[[], Any], images: int, runs: int) -> dict[str, float]:
    """Return images a second over some runs, after one that warms up."""
    work()
    speeds: list[float] = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        speeds.append(images / (time.perf_counter() - started))
    return spread(speeds)


def on_cpu(case: str, count: int, runs: int) -> dict[str, Any]:
    """Time a case on this machine's cores."""
    images = pixels(CASES[case][2], count)
    tokenizer = tokenizer_of(case)
    reference = Reference(tokenizer)

    def plain() -> list[np.ndarray]:
        return [reference.encode(image[None]) for image in images]

    def ours() -> Sequence[np.ndarray]:
        return tokenizer.encode(images).pack()

    units, differing = tokenizer.differing(np.stack(ours()), np.stack(plain()))
    figures: dict[str, Any] = {
        "images": count,
        "codes": {"compared": units, "differing": differing},
        "gflop_an_image": round(gflop(tokenizer, images[:1]), 1),
        "bytes_an_image": {
            "codes": ours()[0].nbytes,
            "float16_features": 2 * tokenizer.features(images[:1]).numel(),
        },
    }
    for name, cores in (("one_core", 1), ("every_core", CORES)):
        torch.set_num_threads(cores)
        figures[name] = {
            "reference": timed(plain, count, runs),
            "ours": _in_processes(cores, case, count, runs),
        }
    figures["speed_up"] = {
        cores: round(figures[cores]["ours"]["median"] / figures[cores]["reference"]["median"], 2)
        for cores in ("one_core", "every_core")
    }
    return figures


def _in_processes(processes: int, case: str, count: int, runs: int) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(processes, _load, (case, count)) as pool:
        return timed(lambda: pool.map(_encode, range(processes), 1), processes * count, runs)


_worker: list[Any] = []


def _load(case: str, count: int) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    _worker[:] = [tokenizer_of(case), pixels(CASES[case][2], count)]


def _encode(_: int) -> int:
    tokenizer, images = _worker
    return len(tokenizer.encode(images).pack())


def on_cuda(case: str, runs: int) -> dict[str, Any]:
    """Time a case on a CUDA device: the reference, then each precision and size of pass."""
    side = CASES[case][2]
    images = pixels(side, GPU_IMAGES).cuda()
    exact = tokenizer_of(case, Compute(device="cuda"))
    reference = Reference(exact)
    torch.backends.cudnn.allow_tf32 = False
    few = images[: max(8, GPU_IMAGES // 8)]

    def plain() -> np.ndarray:
        return np.stack([reference.encode(image[None]) for image in few])

    work = gflop(exact, images[:1])
    wanted = plain()
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "gflop_an_image": round(work, 1),
        "reference": timed(plain, len(few), runs),
    }
    peaks = next((p for name, p in PEAKS.items() if name in figures["device"]), {})
    for precision in ("fp32", "tf32", "bf16"):
        for size in PASSES:
            compute = Compute(device="cuda", precision=precision, pass_images=size)
            tokenizer = tokenizer_of(case, compute)
            codes = tokenizer.encode(few).values_BL
            units, differing = tokenizer.differing(codes, wanted)
            speed = timed(lambda t=tokenizer: t.encode(images).pack(), len(images), runs)
            figures[f"{precision}, {size} a pass"] = {
                "images_per_s": speed,
                "speed_up": round(speed["median"] / figures["reference"]["median"], 2),
                "differing_share": differing / units,
                "share_of_peak": (
                    round(speed["median"] * work * 1e9 / peaks[precision], 3) if peaks else None
                ),
                "halvings": tokenizer.passes.halvings,
            }
            del tokenizer
            torch.cuda.empty_cache()
    return figures


def gflop(tokenizer: NetworkTokenizer, image_13HW: torch.Tensor) -> float:
    """Count the multiplications and additions of one encoding, in 1e9."""
    with FlopCounterMode(display=False) as counter:
        tokenizer.features(image_13HW)
    return counter.get_total_flops() / 1e9


def cost(images_per_s: float, euro_per_hour: float) -> dict[str, float]:
    """Return hours and euros for the whole corpus."""
    hours = CORPUS_IMAGES / images_per_s / 3600
    return {"hours": round(hours, 1), "euros": round(hours * euro_per_hour)}


def main() -> None:
    """Run the cases and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--euro-per-machine-hour", type=float, default=0.08, help="of this CPU")
    parser.add_argument("--euro-per-gpu-hour", type=float, default=2.5)
    options = parser.parse_args()
    figures: dict[str, Any] = {
        "torch": torch.__version__,
        "cores": CORES,
    }
    for case in [options.only] if options.only else CASES:
        if torch.cuda.is_available():
            figures[case] = on_cuda(case, options.runs)
            rows = [f for f in figures[case].values() if isinstance(f, dict) and "speed_up" in f]
            best = max(f["images_per_s"]["median"] for f in rows)
            figures[case]["whole_corpus"] = cost(best, options.euro_per_gpu_hour)
        else:
            figures[case] = on_cpu(case, options.images, options.runs)
            speed = figures[case]["every_core"]["ours"]["median"]
            figures[case]["whole_corpus"] = cost(speed, options.euro_per_machine_hour)
    report("tokens-cuda" if torch.cuda.is_available() else "tokens", figures)


if __name__ == "__main__":
    main()
