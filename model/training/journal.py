"""The log of a training: lines on the terminal, `steps.jsonl`, and TensorBoard."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from schemas.store.whole_file import publish

STEPS: Final = "steps.jsonl"
BOARD: Final = "tensorboard"


class Journal:
    """Writes figures and pictures of steps; removes entries after the step it resumes from.

    Args:
        out: folder of the training.
        step: steps already done.
    """

    def __init__(self, out: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = out / STEPS
        _remove_later(self._path, step)
        self._board = SummaryWriter(str(out / BOARD), purge_step=step + 1)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Write the figures of a step."""
        line = {"step": step, **{name: float(f"{of:.6g}") for name, of in figures.items()}}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)
        shown = "".join(
            f", {name} {figures[name]:{form}}" for name, form in _SHOWN.items() if name in figures
        )
        print(f"step {step:,}: loss {figures['loss']:.4f}{shown}", file=sys.stderr, flush=True)

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        """Show a picture on the board."""
        self._board.add_image(name, np.asarray(picture), step, dataformats="HWC")

    def close(self) -> None:
        """Write the buffered entries and close TensorBoard."""
        self._board.close()


_SHOWN: Final = {
    "loss/text": ".4f",
    "loss/image": ".4f",
    "speed/tokens a second": ",.0f",
    "speed/MFU": ".1%",
}


def read_steps(out: Path) -> list[dict[str, Any]]:
    """Return the figures written so far, one dict per step."""
    path = out / STEPS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _remove_later(path: Path, step: int) -> None:
    """Remove the lines after a step, and a line that was cut when the process died."""
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    publish(path, "".join(kept).encode())
