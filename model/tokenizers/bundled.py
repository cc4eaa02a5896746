"""Where the trained checkpoints that ship with this package lie."""

from pathlib import Path
from typing import Final

BUNDLED: Final = "bundled"
"""The preset that comes with its own weights."""

_FOLDER: Final = Path(__file__).parents[1] / "bundled"


def bundled_checkpoint(name: str) -> str:
    """Return the path of the checkpoint of a tokenizer, `infinity_bsq` or `var_vqvae`."""
    return str(_FOLDER / name / "tokenizer.safetensors")
