"""Images a second of encode + quantise + pack, beside the published formulation in the same run.

    python tests/benchmarks/bench_tokens.py [--runs 3] [--images 4] [--only infinity_bsq-256]

Full-size networks with random weights (speed does not depend on them), real pixels. On a CPU the
reference has every core for its one image; ours is timed as the stage runs it, one process a core
with one thread each, and both again with a single core. There the reference is timed once more
with `keep_freed_memory`, which is ours, to tell what comes of that and what of the formulation.
With a CUDA device, instead, every precision and size of pass. Costs for 8.3 M images follow from
the medians and from the prices given. 15 minutes on 2 cores.

Convolutions are 93 % of a direct encoding and run at 95 GFLOP/s a core, next to its peak, so only
fewer multiplications help much: `model/tokenizers/winograd.py`. Tried, and no help or not worth its
code (one core, 128 channels at 256 px if not said; first on an AVX2 CPU, EPYC Milan, 2026-11-24):
- torch's own GroupNorm in channels-last: 23 ms instead of 46, but its error moves codes.
- statistics by `torch.var_mean` over a channels-last view: 111 ms.
- variance in parts that fit the cache: 11 ms a norm instead of 15, 1 % of an image.
- weights in channels-last beside activations in it, or packed before: no faster, packing an
  encoder's weights takes 0.1 s of 3.
- Winograd with torch's out-of-place padding of every strip: 149 ms a convolution instead of 136.
- Winograd in buffers made once: 138 ms instead of 144, and nothing from 256 channels on.
- Winograd with filters transformed once: 2 % of an image, for 290 MB more a process.
- Winograd with patches made by a matrix product, as tiles are: 26 ms instead of 11.
- Winograd below 128 channels or 32 x 32 positions: slower, 0.4 times at 32 channels.
- Winograd along rows only, 1.5 times fewer products: a 3 x 1 convolution alone takes 75 ms a third,
  so 149 and the transforms, no better than both ways even here.
That was with tiles of 2 x 2, F(2 x 2, 3 x 3). On a CPU with AVX-512 and 1 MB of L2, 2026-11-28:
- F(2 x 2) itself: 170 ms, where F(4 x 4) takes 115 and torch 171; at 160 channels 254, 157 and 275.
- the products by 1 x 1 convolutions of oneDNN, not `bmm`: 5 to 10 % of them, 3 % of an image.
- points 0, +-1, +-2 or 0, +-1/2, +-1: twice the error of 0, +-3/4, +-3/2.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import ROOT, report, spread
from reference_tokenizers import Reference
from torch.utils.flop_counter import FlopCounterMode

from filters.compute import Compute, Passes, Precision, keep_freed_memory
from filters.decode import decode
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
# Dense peaks of NVIDIA's H100 and H200 SXM data sheets, in FLOP/s.
HOPPER = {"fp32": 67e12, "tf32": 494e12, "bf16": 989e12}
PEAKS = {"H100": HOPPER, "H200": HOPPER}
PASSES = (8, 16, 32, 64)
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
    images = pixels(CASES[case][2], 2 * count)
    tokenizer = tokenizer_of(case)
    reference = Reference(tokenizer)
    first = images[:1]

    def plain() -> list[np.ndarray]:
        return [reference.encode(image[None]) for image in images[:count]]

    codes = tokenizer.encode(images)
    wanted = np.stack([reference.encode(image[None]) for image in images])
    units, differing = tokenizer.differing(codes.values_BL, wanted)
    figures: dict[str, Any] = {
        "images": count,
        "codes": {"images": len(images), "compared": units, "differing": differing},
        "error_against_float64": errors(reference, tokenizer, first),
        "gflop_an_image": {
            "reference": gflop(lambda: reference.features(first)),
            "ours": gflop(lambda: tokenizer.features(first)),
        },
        "bytes": sizes(codes.pack()[0].nbytes, 2 * tokenizer.features(first).numel()),
    }
    for name, cores in (("one_core", 1), ("every_core", CORES)):
        torch.set_num_threads(cores)
        figures[name] = {
            "reference": timed(plain, count, runs),
            "ours": _in_processes(_encode, cores, case, count, runs),
        }
    figures["one_core"]["reference_keeping_memory"] = _in_processes(
        _encode_reference, 1, case, count, runs
    )
    figures["speed_up"] = {
        "one_core": _ratio(figures["one_core"], "reference"),
        "every_core": _ratio(figures["every_core"], "reference"),
        "one_core_by_formulation": _ratio(figures["one_core"], "reference_keeping_memory"),
    }
    return figures


def _ratio(speeds: dict[str, dict[str, float]], peer: str) -> float:
    return round(speeds["ours"]["median"] / speeds[peer]["median"], 2)


def errors(
    reference: Reference, tokenizer: NetworkTokenizer, image_13HW: torch.Tensor
) -> dict[str, float]:
    """Return the error of either's features, root mean square, relative to features in float64."""
    exact = reference.in_float64().features(image_13HW.double())

    def error(features: torch.Tensor) -> float:
        relative = (features.double() - exact).square().mean() / exact.square().mean()
        return float(f"{relative.sqrt().item():.2g}")

    return {
        "reference": error(reference.features(image_13HW)),
        "ours": error(tokenizer.features(image_13HW)),
    }


def sizes(codes: int, features: int) -> dict[str, float]:
    """Return what is stored, by image in bytes and for the whole corpus in GB."""
    return {
        "codes_an_image": codes,
        "float16_features_an_image": features,
        "codes_of_the_corpus_gb": round(codes * CORPUS_IMAGES / 1e9, 1),
        "float16_features_of_the_corpus_gb": round(features * CORPUS_IMAGES / 1e9, 1),
    }


def _in_processes(
    work: Callable[[int], int], processes: int, case: str, count: int, runs: int
) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(processes, _load, (case, count)) as pool:
        return timed(lambda: pool.map(work, range(processes), 1), processes * count, runs)


_worker: list[Any] = []


def _load(case: str, count: int) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    tokenizer = tokenizer_of(case)
    _worker[:] = [tokenizer, Reference(tokenizer), pixels(CASES[case][2], count)]


def _encode(_: int) -> int:
    tokenizer, _, images = _worker
    return len(tokenizer.encode(images).pack())


def _encode_reference(_: int) -> int:
    _, reference, images = _worker
    return len([reference.encode(image[None]) for image in images])


def on_cuda(case: str, runs: int) -> dict[str, Any]:
    """Time a case on a CUDA device: the reference, then each precision and size of pass."""
    images = pixels(CASES[case][2], GPU_IMAGES).cuda()
    few = images[:8]
    reference = Reference(tokenizer_of(case, Compute(device="cuda")))
    torch.backends.cudnn.allow_tf32 = False  # torch allows it by default

    def plain() -> np.ndarray:
        return np.stack([reference.encode(image[None]) for image in few])

    wanted = plain()
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "images": len(images),
        "gflop_an_image": gflop(lambda: reference.features(few[:1])),
        "reference": timed(plain, len(few), runs),
    }
    for precision in ("fp32", "tf32", "bf16"):
        tokenizer = tokenizer_of(case, Compute(device="cuda", precision=precision))
        figures[precision] = {}
        for size in PASSES:
            tokenizer.passes = Passes(replace(tokenizer.compute, pass_images=size))
            units, differing = tokenizer.differing(tokenizer.encode(few).values_BL, wanted)
            # What packs is on the CPU: a run ends when the device is done.
            speed = timed(lambda t=tokenizer: t.encode(images).pack(), len(images), runs)
            figures[precision][f"{size} a pass"] = {
                "images_per_s": speed,
                "speed_up": round(speed["median"] / figures["reference"]["median"], 2),
                "differing_share": differing / units,
                "share_of_peak": share_of_peak(
                    speed["median"] * figures["gflop_an_image"], figures["device"], precision
                ),
                "halvings": tokenizer.passes.halvings,  # of the pass, for want of memory
            }
            torch.cuda.empty_cache()
    return figures


def share_of_peak(gflop_per_s: float, device: str, precision: Precision) -> float | None:
    """Return how much of its data sheet's speed a device reaches; None for an unknown device."""
    for name, peaks in PEAKS.items():
        if name in device:
            return round(gflop_per_s * 1e9 / peaks[precision], 3)
    return None


def gflop(encode: Callable[[], Any]) -> float:
    """Count the multiplications and additions of convolutions and matrix products, in 1e9."""
    with FlopCounterMode(display=False) as counter:
        encode()
    return round(counter.get_total_flops() / 1e9, 1)


def cost(images_per_s: float, units: int, euro_per_hour: float) -> dict[str, float]:
    """Return the hours of all units, cores or GPUs, and their euros, for the whole corpus."""
    hours = units * CORPUS_IMAGES / images_per_s / 3600
    return {"hours": round(hours, 1), "euros": round(hours * euro_per_hour)}


def main() -> None:
    """Run the cases and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--euro-per-core-hour", type=float, default=0.04)
    parser.add_argument("--euro-per-gpu-hour", type=float, default=2.5)
    options = parser.parse_args()
    figures: dict[str, Any] = {
        "torch": torch.__version__,
        "runs": options.runs,
        "euro_per_core_hour": options.euro_per_core_hour,
        "euro_per_gpu_hour": options.euro_per_gpu_hour,
    }
    for case in [options.only] if options.only else CASES:
        if torch.cuda.is_available():
            figures[case] = on_cuda(case, options.runs)
            figures[case]["whole_corpus"] = {
                precision: cost(
                    max(row["images_per_s"]["median"] for row in figures[case][precision].values()),
                    1,
                    options.euro_per_gpu_hour,
                )
                for precision in ("fp32", "tf32", "bf16")
            }
        else:
            # Half as many of the images that take four times as long.
            count = max(1, options.images * 256 // CASES[case][2])
            figures[case] = on_cpu(case, count, options.runs)
            figures[case]["whole_corpus"] = {
                name: cost(
                    figures[case]["every_core"][name]["median"], CORES, options.euro_per_core_hour
                )
                for name in ("reference", "ours")
            }
    parts = ["tokens", *["cuda"] * torch.cuda.is_available(), *[options.only] * bool(options.only)]
    report("-".join(parts), figures)


if __name__ == "__main__":
    main()
