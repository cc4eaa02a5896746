"""From trained weights to what is shipped: a checkpoint, a picture, figures and a model card."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from model.tokenizer_training.evaluate import Figures, evaluate, reconstructions
from model.tokenizer_training.sizes import Trainee
from model.tokenizers.bsq_network import BsqConfig, wrapped_key
from model.tokenizers.checkpoint import read_checkpoint
from model.tokenizers.load import HIT_COUNTS, make_infinity_bsq, make_var_vqvae
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.prepare import cover_crop

CHECKPOINT: Final = "tokenizer.safetensors"
PICTURE: Final = "reconstructions.webp"
FIGURES: Final = "training.json"
CARD: Final = "README.md"
SHOWN: Final = 8  # images in the picture
SIDES: Final = (256, 128)  # px, at which held-out images are drawn again


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the card says of a run beside its figures."""

    data: str  # what it was trained on
    licence: str  # of the data
    command: str
    images: int  # for training
    held_out: int
    unreadable: Mapping[str, str]  # name -> why
    plan: str
    steps: int
    seconds: float  # of training alone
    curve: Sequence[Mapping[str, float]]  # now and then: step, loss, psnr of the batch


def export(
    trainee: Trainee,
    weights: Mapping[str, Tensor],
    held_out_BHW3: NDArray[np.uint8],
    facts: Facts,
    out: Path,
) -> list[Figures]:
    """Write the checkpoint, then judge it as it will be used, and write what was found.

    Args:
        trainee: what was trained.
        weights: a state dict of its network.
        held_out_BHW3: squares of 256 px that were not trained on.
        facts: for the card.
        out: folder, local.
    """
    out.mkdir(parents=True, exist_ok=True)
    _publish(out / CHECKPOINT, save(_published(trainee, weights)))
    tokenizer = _load(trainee, out / CHECKPOINT)
    figures = [
        evaluate(tokenizer.with_schedule(trainee.schedule(side)), _at_side(held_out_BHW3, side))
        for side in SIDES
    ]
    square = tokenizer.with_schedule(trainee.schedule(SIDES[0]))
    picture = reconstructions(square, list(held_out_BHW3[:SHOWN]))
    partial = out / f"{PICTURE}.part"
    picture.save(partial, "WEBP", quality=80, method=6)
    os.replace(partial, out / PICTURE)
    found = {"evaluation": [asdict(line) for line in figures], "curve": list(facts.curve)}
    _publish(out / FIGURES, json.dumps(found, indent=1).encode() + b"\n")
    size = (out / CHECKPOINT).stat().st_size
    parameters = sum(x.numel() for key, x in weights.items() if key != HIT_COUNTS)
    _publish(out / CARD, card(trainee, facts, figures, size, parameters).encode())
    return figures


def card(
    trainee: Trainee, facts: Facts, figures: Sequence[Figures], size: int, parameters: int
) -> str:
    """Write the model card."""
    what = {
        "infinity_bsq": "multi-scale BSQ tokenizer in the layout of Infinity's BSQ-VAE",
        "var_vqvae": "multi-scale VQ tokenizer in the layout of VAR's VQVAE",
    }[trainee.name]
    use = {
        "infinity_bsq": "mean entropy of a bit",
        "var_vqvae": "share of the codebook used",
    }[trainee.name]
    config = ", ".join(f"{name} {value}" for name, value in asdict(trainee.config).items())
    lines = [
        f"# A small {what}",
        "",
        f"{parameters:,} parameters, {size:,} bytes in float16, trained by `vargpt-corpus",
        "train-tokenizer`. Tokenizer class and keys are those of the published checkpoints. It is",
        "small, and knows what it was trained on: use a published checkpoint for other images, and",
        "for any model that shall be as good as published ones.",
        "",
        f"Sizes: {config}.",
        "",
        "| held-out images | size | PSNR, mean | PSNR, 5th percentile | SSIM, mean "
        f"| bits an image | {use} |",
        "|--:|--:|--:|--:|--:|--:|--:|",
        *(
            f"| {line.images} | {line.side} px | {line.psnr:.2f} dB | {line.psnr_p5:.2f} dB "
            f"| {line.ssim:.3f} | {line.bits_an_image:,} | {line.codes_used:.3f} |"
            for line in figures
        ),
        "",
        "Held-out images were drawn by the hash of their names and never trained on; near copies",
        "of them (variants of a drawing, skin tones of an emoji) were.",
        "",
        f"![held-out images, and below each its reconstruction]({PICTURE})",
        "",
        f"- Data: {facts.data}; {facts.images:,} images, {facts.held_out:,} held out, "
        f"{len(facts.unreadable)} that could not be decoded. Licence of the data: {facts.licence}.",
        f"- Training: {facts.plan}; {facts.steps:,} steps in {facts.seconds / 60:.0f} minutes of "
        f"one process, torch {torch.__version__}, {platform.machine()}, {_device()}.",
        f"- Command: `{facts.command}`",
        f"- [{FIGURES}]({FIGURES}) has the curve of the loss and the figures above.",
        "",
    ]
    return "\n".join(lines)


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, torch threads: {torch.get_num_threads()}"


def _published(trainee: Trainee, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the weights as a published checkpoint does, in float16."""
    halves = {key: x.half().contiguous() for key, x in weights.items() if key != HIT_COUNTS}
    if not isinstance(trainee.config, BsqConfig):
        return halves
    mask = 2 ** torch.arange(trainee.config.bits - 1, -1, -1)
    masks = {f"{name}.lfq.mask": mask.clone() for name in ("quantizer", "quantize")}
    return {wrapped_key(key): x for key, x in halves.items()} | masks


def _load(trainee: Trainee, path: Path) -> NetworkTokenizer:
    source = read_checkpoint(str(path))
    if isinstance(trainee.config, BsqConfig):
        return make_infinity_bsq(trainee.config, source)
    return make_var_vqvae(trainee.config, source)


def _at_side(images_BHW3: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Shrink squares to `side` px."""
    if images_BHW3.shape[1] == side:
        return images_BHW3
    return np.stack([cover_crop(Image.fromarray(image), side, side) for image in images_BHW3])


def _publish(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.part")
    partial.write_bytes(data)
    os.replace(partial, path)
