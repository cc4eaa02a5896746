"""`vargpt-corpus train-tokenizer`: a tokenizer with a model card, from folders and shards."""

import argparse
import importlib
import itertools
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from filters.compute import compute_on
from model.tokenizer_training.card import Facts
from model.tokenizer_training.export import SIDES, export
from model.tokenizer_training.loop import Trainer
from model.tokenizer_training.machine import describe_machine
from model.tokenizer_training.objectives import LossWeights, Perceptual
from model.tokenizer_training.plan import Phase, Plan
from model.tokenizer_training.state import STATE
from model.tokenizer_training.trainee import Trainee
from pipelines.out_folder import mark_training, training_folder
from pipelines.training.device import device_of
from pipelines.training.images import ImageFile, TrainingImages, find_images, held_out
from schemas.fingerprint import fingerprint
from schemas.keys import rank
from schemas.store.errors import SettingsError
from schemas.store.lock import build_lock
from schemas.store.storage import CorpusError

KIND = "train-tokenizer"
DEFAULT_PHASES = ("128x4:4000", "256x1:600")
MOST_HELD_OUT = 256  # images for the figures


def run(options: argparse.Namespace) -> int:
    """Train, or resume a killed training; write the checkpoint and its card.

    Raises:
        UserError: no images, a wrong phase, a state of another run, or a loss that is not finite.
    """
    store = training_folder(options.out, KIND, STATE)
    device = device_of(KIND, options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    images = find_images(options.data)
    train, rest = held_out(images, options.held_out)
    if not train or not rest:
        raise CorpusError(f"{len(images)} images: too few to hold {options.held_out:.0%} out")
    print(f"{len(train):,} images to train on, {len(rest):,} held out", file=sys.stderr)
    with build_lock(store, force_unlock=options.force_unlock):
        mark_training(store, KIND)
        store.sweep([""])
        return _train(options, train, rest, device)


def _train(
    options: argparse.Namespace,
    train: Sequence[ImageFile],
    rest: Sequence[ImageFile],
    device: str,
) -> int:
    out = Path(options.out)
    weights = LossWeights()
    data = TrainingImages(images=train, side=max(SIDES))
    plan = _plan(options, weights)
    trainee = Trainee.of_preset(options.kind, options.preset)
    schedules = {phase.crop: trainee.schedule(phase.crop) for phase in plan.phases}
    trainer = Trainer(
        trainee.objective(weights, plan.seed),
        plan,
        data.batches,
        schedules.__getitem__,
        folder=out,
        fingerprint=_identity(trainee, plan, train, options.perceptual),
        device=device,
        perceptual=_imported(options.perceptual),
        report=_report,
        unreadable=data.unreadable,
    )
    squares, unreadable = _shown(rest)  # before the training, so that errors show at once
    trainer.run()
    facts = Facts(
        data=options.describe_data or ", ".join(options.data),
        licence=options.licence,
        command=shlex.join(["vargpt-corpus", *options.given]),
        images=len(train),
        held_out=options.held_out,
        unreadable=data.unreadable | unreadable,
        plan=", then ".join(options.phases or DEFAULT_PHASES) + f", learning rate {plan.lr}",
        machine=describe_machine(device),
        perceptual=options.perceptual,
    )
    for line in export(out / STATE, trainee, squares, facts, out, compute=compute_on(device)):
        print(
            f"{line.side} px: PSNR {line.psnr:.2f} dB, SSIM {line.ssim:.3f}, {line.images} images"
        )
    print(f"{out}/README.md")
    return 0


def _shown(rest: Sequence[ImageFile]) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """Return squares of held-out images, in an order drawn by name, and the unreadable ones."""
    shuffled = sorted(rest, key=lambda image: rank(image.name, "shown"))
    data = TrainingImages(images=shuffled, side=max(SIDES), cache_bytes=0)
    squares = list(itertools.islice(data.squares(), MOST_HELD_OUT))
    if not squares:
        raise CorpusError(f"none of {len(rest)} held-out images can be decoded")
    return np.stack(squares), data.unreadable


def _plan(options: argparse.Namespace, weights: LossWeights) -> Plan:
    phases = tuple(_phase(text) for text in options.phases or DEFAULT_PHASES)
    return Plan(phases=phases, lr=options.lr, seed=options.seed, weights=weights)


def _phase(text: str) -> Phase:
    size, _, steps = text.partition(":")
    crop, _, batch = size.partition("x")
    if not (crop.isdigit() and batch.isdigit() and steps.isdigit()):
        raise SettingsError(f"phase {text!r}: expected SIDExBATCH:STEPS, e.g. 128x4:4000")
    if int(crop) > max(SIDES):
        raise SettingsError(f"phase {text!r}: expected crops of up to {max(SIDES)} px")
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


def _imported(place: str | None) -> Perceptual | None:
    if place is None:
        return None
    module, _, name = place.partition(":")
    try:
        distance: Perceptual = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CorpusError(f"--perceptual {place}: {error}; expected MODULE:NAME") from error

    def checked(drawn_B3HW: Tensor, images_B3HW: Tensor) -> Tensor:
        found = distance(drawn_B3HW, images_B3HW)
        if not isinstance(found, Tensor) or found.ndim:
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise CorpusError(f"--perceptual {place}: expected a scalar tensor, got {shape}")
        return found

    return checked


def _report(figures: dict[str, float], seconds: float) -> None:
    print(
        f"step {figures['step']:,}: loss {figures['loss']:.4f}, "
        f"PSNR of the batch {figures['psnr']:.1f} dB, {seconds:,.0f} s",
        file=sys.stderr,
        flush=True,
    )
