"""Export of a training's state: a checkpoint, a picture, figures and a model card."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from filters.compute import Compute
from model.tokenizer_training.card import Facts, Made, card
from model.tokenizer_training.evaluate import Figures, evaluate, reconstructions
from model.tokenizer_training.state import read_state
from model.tokenizer_training.trainee import Trainee
from model.tokenizers.bsq_network import wrapped_key
from model.tokenizers.load import HIT_COUNTS, make_infinity_bsq, make_var_vqvae
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.prepare import cover_crop
from model.tokenizers.sizes import BsqConfig
from schemas.store.checkpoint import read_checkpoint
from schemas.store.whole_file import publish

CHECKPOINT: Final = "tokenizer.safetensors"
PICTURE: Final = "reconstructions.webp"  # a tenth of the PNG's size
FIGURES: Final = "training.json"
CARD: Final = "README.md"
SHOWN: Final = 8  # images in the picture
SIDES: Final = (256, 128)  # px, sizes of the evaluation


def export(
    state: Path,
    trainee: Trainee,
    held_out_BHW3: NDArray[np.uint8],
    facts: Facts,
    out: Path,
    *,
    compute: Compute | None = None,
) -> list[Figures]:
    """Write the checkpoint, evaluate the written file, and write figures and card.

    Each file is replaced atomically, the card last. The state of an unfinished training is exported
    too.

    Args:
        state: file that a `Trainer` saved, with any fingerprint.
        trainee: the tokenizer that was trained.
        held_out_BHW3: squares of 256 px that were not trained on; the first are shown.
        facts: for the card.
        out: folder, local.
        compute: where the figures are computed; None for fp32 on the CPU.

    Raises:
        StateError: the file is no state.
        CheckpointError: the state is of another tokenizer than `trainee`.
    """
    trained = read_state(state)
    out.mkdir(parents=True, exist_ok=True)
    publish(out / CHECKPOINT, save(published(trainee, trained.averaged)))
    tokenizer = load(trainee, out / CHECKPOINT, compute or Compute())
    figures = [
        evaluate(tokenizer.with_schedule(trainee.schedule(side)), _at_side(held_out_BHW3, side))
        for side in SIDES
    ]
    square = tokenizer.with_schedule(trainee.schedule(SIDES[0]))
    publish(out / PICTURE, _webp(reconstructions(square, list(held_out_BHW3[:SHOWN]))))
    numbers = {
        "evaluation": [asdict(line) for line in figures],
        "unreadable": dict(facts.unreadable),
        "curve": trained.curve,
    }
    publish(out / FIGURES, json.dumps(numbers, indent=1).encode() + b"\n")
    made = Made(
        parameters=sum(x.numel() for key, x in trained.averaged.items() if key != HIT_COUNTS),
        size=(out / CHECKPOINT).stat().st_size,
        steps=trained.step,
        seconds=trained.seconds,
        figures=figures,
    )
    text = card(trainee, facts, made, picture=PICTURE, numbers=FIGURES)
    publish(out / CARD, text.encode())
    return figures


def published(trainee: Trainee, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with the names of a published checkpoint, in float16 on the CPU.

    VAR's hit counts are left out: only training needs them, and the loader fills them in.
    Infinity's masks, which are constants, are added.
    """
    halves = {key: x.cpu().half().contiguous() for key, x in weights.items() if key != HIT_COUNTS}
    if not isinstance(trainee.config, BsqConfig):
        return halves
    mask = 2 ** torch.arange(trainee.config.bits - 1, -1, -1)
    masks = {f"{name}.lfq.mask": mask.clone() for name in ("quantizer", "quantize")}
    return {wrapped_key(key): x for key, x in halves.items()} | masks


def load(trainee: Trainee, path: Path, compute: Compute) -> NetworkTokenizer:
    """Load an exported checkpoint in the same way as a user."""
    source = read_checkpoint(str(path))
    if isinstance(trainee.config, BsqConfig):
        return make_infinity_bsq(trainee.config, source, compute=compute)
    return make_var_vqvae(trainee.config, source, compute=compute)


def _at_side(images_BHW3: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Shrink squares to `side` px."""
    if images_BHW3.shape[1] == side:
        return images_BHW3
    return np.stack([cover_crop(Image.fromarray(image), side, side) for image in images_BHW3])


def _webp(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=80, method=6)
    return file.getvalue()
