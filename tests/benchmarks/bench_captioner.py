"""Images a second through the engine `transformers`, in passes of several images and of one.

    python tests/benchmarks/bench_captioner.py [--images 32] [--batch-size 8]

The model is the tiny Qwen2-VL of the tests, with random weights: it shows what passes save, and
nothing about the rate of a real model. The ways take turns in one process, and must answer alike.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from bench_captions import pictures
from measuring import ROOT, report, spread

from filters.captioner import Answer, Asked
from filters.captions.transformers_engine import TransformersCaptioner
from schemas.caption_config import TransformersEngine

sys.path.append(str(ROOT / "tests/corpus"))
from tiny_captioners import qwen2_vl

ROUNDS = 3
NEW_TOKENS = 16


def captioner(folder: Path, batch_size: int) -> TransformersCaptioner:
    return TransformersCaptioner(
        TransformersEngine(
            engine="transformers", name="vlm", model=str(folder), batch_size=batch_size
        )
    )


def texts(engine: TransformersCaptioner, requests: list[Asked]) -> dict[str, str]:
    found = [*engine.answers(requests)]
    assert all(isinstance(each, Answer) for each in found)
    return {each.digest: each.text for each in found if isinstance(each, Answer)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    requests = pictures(options.images, max_new_tokens=NEW_TOKENS)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        model = qwen2_vl(Path(folder) / "model")
        engines = {size: captioner(model, size) for size in (1, options.batch_size)}
        expected = texts(engines[1], requests[:1])  # loads the model, which both share
        rates: dict[int, list[float]] = {size: [] for size in engines}
        for _ in range(ROUNDS):
            for size, engine in engines.items():
                began = time.monotonic()
                found = texts(engine, requests)
                rates[size].append(len(requests) / (time.monotonic() - began))
                expected = {**found, **expected}
                assert found == expected, "passes of another size wrote other words"
    report(
        "captioner",
        {
            "model": "tiny Qwen2-VL of random weights, fp32",
            "images": options.images,
            "new_tokens": NEW_TOKENS,
            "load": round(load, 2),
            "rounds": ROUNDS,
            "images_per_s": {f"passes of {size}": spread(each) for size, each in rates.items()},
        },
    )


if __name__ == "__main__":
    main()
