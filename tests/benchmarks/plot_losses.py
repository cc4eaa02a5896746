"""Draw the losses of a training, smoothed, as an SVG.

python tests/benchmarks/plot_losses.py build/proof-5000/steps.jsonl losses.svg
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

SMOOTHED = 10  # lines of the journal


def draw(lines: Sequence[dict[str, float]], out: Path) -> None:
    """Draw the loss of text, and that of the image scale by scale, over the steps."""
    steps = [line["step"] for line in lines]
    scales = sorted(name for name in lines[0] if name.startswith("loss/scale"))
    plt.rcParams.update({"svg.hashsalt": "losses", "font.size": 8})
    figure, (text, image) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    text.plot(steps[SMOOTHED - 1 :], smoothed([line["loss/text"] for line in lines]))
    text.set(title="text", ylabel="nats a token", xlabel="step")
    for name in scales:
        label = name.removeprefix("loss/")
        image.plot(steps[SMOOTHED - 1 :], smoothed([line[name] for line in lines]), label=label)
    image.axhline(np.log(2), color="grey", linestyle=":", label="a guess")
    image.set(title="image", ylabel="nats a bit", xlabel="step")
    image.legend(ncols=2)
    figure.savefig(out, metadata={"Date": None})


def smoothed(values: Sequence[float]) -> np.ndarray:
    """Return means of `SMOOTHED` values on end."""
    return np.convolve(values, np.ones(SMOOTHED) / SMOOTHED, mode="valid")


def main() -> None:
    """Draw what a journal holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("journal", type=Path, metavar="STEPS.jsonl")
    parser.add_argument("out", type=Path, metavar="OUT.svg")
    given = parser.parse_args()
    draw([json.loads(line) for line in given.journal.read_text().splitlines()], given.out)


if __name__ == "__main__":
    main()
