"""train-tokenizer: from folders and shards of images to a tokenizer with its model card."""

import argparse
import importlib
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.tokenizer_training.export import SIDES, Facts, export
from model.tokenizer_training.loop import Phase, Plan, Trainer
from model.tokenizer_training.objectives import LossWeights
from model.tokenizer_training.sizes import Trainee
from pipelines.storage import CorpusError
from pipelines.training_images import ImageFile, TrainingImages, find_images, held_out
from schemas.fingerprint import fingerprint
from schemas.keys import rank

DEFAULT_PHASES = ("128x4:4000", "256x1:600")
MOST_HELD_OUT = 256  # images that figures are taken of


def run(options: argparse.Namespace) -> int:
    """Train, or go on with what was killed; write the checkpoint and its card.

    Raises:
        CorpusError: no images, a wrong phase, or a state of another run.
    """
    out = Path(options.out)
    if options.threads:
        torch.set_num_threads(options.threads)
    images = find_images(options.data)
    train, rest = held_out(images, options.held_out)
    if not train or not rest:
        raise CorpusError(f"{len(images)} images: too few to hold {options.held_out:.0%} out")
    weights = LossWeights()
    data = TrainingImages(images=train, side=max(SIDES))
    try:
        plan = _plan(options, weights)
        trainee = Trainee.of_preset(options.kind, options.preset)
        schedules = {phase.crop: trainee.schedule(phase.crop) for phase in plan.phases}
        trainer = Trainer(
            trainee.objective(weights, plan.seed),
            plan,
            data.batches,
            schedules.__getitem__,
            folder=_made(out),
            fingerprint=_identity(trainee, plan, train, options.perceptual),
            device=options.device or ("cuda" if torch.cuda.is_available() else "cpu"),
            perceptual=_imported(options.perceptual),
            report=_report,
        )
        trained = trainer.run()
    except (ValueError, FloatingPointError) as error:
        raise CorpusError(str(error)) from error
    shuffled = sorted(rest, key=lambda image: rank(image.name, "shown"))
    shown = TrainingImages(images=shuffled, side=max(SIDES))
    squares = [square for _, square in shown.squares()][:MOST_HELD_OUT]
    facts = Facts(
        data=options.describe_data or ", ".join(options.data),
        licence=options.licence,
        command=shlex.join(["vargpt-corpus", *options.given]),
        images=len(train),
        held_out=len(squares),
        unreadable=data.unreadable | shown.unreadable,
        plan=", then ".join(options.phases or DEFAULT_PHASES) + f", learning rate {plan.lr}",
        steps=trainer.step,
        seconds=trainer.seconds,
        curve=trainer.curve,
    )
    state = {key: x.cpu() for key, x in trained.items()}
    for line in export(trainee, state, np.stack(squares), facts, out):
        print(
            f"{line.side} px: PSNR {line.psnr:.2f} dB, SSIM {line.ssim:.3f}, {line.images} images"
        )
    print(f"{out}/README.md")
    return 0


def _plan(options: argparse.Namespace, weights: LossWeights) -> Plan:
    phases = tuple(_phase(text) for text in options.phases or DEFAULT_PHASES)
    return Plan(phases=phases, lr=options.lr, seed=options.seed, weights=weights)


def _phase(text: str) -> Phase:
    size, _, steps = text.partition(":")
    crop, _, batch = size.partition("x")
    if not (crop.isdigit() and batch.isdigit() and steps.isdigit()):
        raise ValueError(f"phase {text!r}: expected SIDExBATCH:STEPS, e.g. 128x4:4000")
    if int(crop) > max(SIDES):
        raise ValueError(f"phase {text!r}: crops are of up to {max(SIDES)} px")
    return Phase(crop=int(crop), batch=int(batch), steps=int(steps))


def _identity(
    trainee: Trainee, plan: Plan, images: Sequence[ImageFile], perceptual: str | None
) -> str:
    return fingerprint(
        trainee.name,
        repr(trainee.config),
        repr(plan),
        [image.name for image in images],
        perceptual or "",
    )


def _imported(place: str | None) -> Callable[..., Any] | None:
    if place is None:
        return None
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CorpusError(f"--perceptual {place}: {error}; expected MODULE:NAME") from error


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _report(figures: dict[str, float], seconds: float) -> None:
    print(
        f"step {figures['step']:,}: loss {figures['loss']:.4f}, "
        f"PSNR of the batch {figures['psnr']:.1f} dB, {seconds:,.0f} s",
        file=sys.stderr,
        flush=True,
    )
