"""`vargpt-corpus train-captioner`: a small captioner with a model card, from lists of images."""

import argparse
import sys
from pathlib import Path

import torch

from model.captioner_training.clip import embed_images, identity
from model.captioner_training.held_out import Parts, parts
from model.captioner_training.network import CaptionerSizes
from model.captioner_training.objective import CaptionerPlan
from model.captioner_training.training import Trained, Training
from model.tokenizer_training.state import STATE
from pipelines.out_folder import mark_training, training_folder
from pipelines.training.titled_images import TitledImages, titled_images
from schemas.store.lock import build_lock
from schemas.store.storage import CorpusError

KIND = "train-captioner"


def run(options: argparse.Namespace) -> int:
    """Train, or resume a killed training; write the folder of the model and its card.

    Raises:
        UserError: no images, no CLIP, a state of another run, or a loss that is not finite.
    """
    store = training_folder(options.out, KIND, STATE)
    if options.threads:
        torch.set_num_threads(options.threads)
    with build_lock(store, force_unlock=options.force_unlock):
        mark_training(store, KIND)
        store.sweep([""])
        data = titled_images(options.lists, Path(options.out))
        split = parts(data.pairs, data.images, options.held_out)
        tests = split.tests(data.pairs)
        if not split.train or not all(tests.values()):
            raise CorpusError(
                f"{len(data.pairs)} images: too few to hold {options.held_out:.0%} out"
            )
        print(f"{len(split.train):,} images to train on", file=sys.stderr)
        trained = _trained(options, data, split)
        return 0


def _trained(options: argparse.Namespace, data: TitledImages, split: Parts) -> Trained:
    images = data.images_of(split.train)
    return Training(
        sizes=CaptionerSizes(),
        plan=CaptionerPlan(
            steps=options.steps, batch=options.batch, lr=options.lr, seed=options.seed
        ),
        pairs=data.pairs_of(split.train),
        images=images,
        clip_NC=torch.from_numpy(embed_images(options.clip, images)),
        clip=identity(options.clip),
        folder=Path(options.out),
    ).run(_report)


def _report(losses: dict[str, float], seconds: float) -> None:
    said = ", ".join(f"{name} {value:.3f}" for name, value in losses.items() if name != "step")
    print(f"step {losses['step']:,}: {said}, {seconds:,.0f} s", file=sys.stderr, flush=True)
