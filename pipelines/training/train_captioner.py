"""`vargpt-corpus train-captioner`: a small captioner with a model card, from lists of images."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from filters.scores.clip_encoder import ClipEncoder
from model.captioner_training.captions import caption_of
from model.captioner_training.clip import embed_images, identity, load
from model.captioner_training.evaluate import WORD_F1
from model.captioner_training.export import HeldOut, Learnt, export
from model.captioner_training.held_out import KNOWN_WORDS, NEW_WORDS, Parts, parts
from model.captioner_training.network import CaptionerSizes
from model.captioner_training.objective import CaptionerPlan
from model.captioner_training.training import Training
from model.image_text.facts import Facts
from model.tokenizer_training.machine import describe_machine
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
        tests = {name: split.shown(data.pairs, name) for name in (NEW_WORDS, KNOWN_WORDS)}
        if not split.train or not all(tests.values()):
            raise CorpusError(
                f"{len(data.pairs)} images: too few to hold {options.held_out:.0%} out"
            )
        print(f"{len(split.train):,} images to train on", file=sys.stderr)
        return _train(options, data, split, tests)


def _train(
    options: argparse.Namespace,
    data: TitledImages,
    split: Parts,
    tests: Mapping[str, Sequence[int]],
) -> int:
    out, clip = Path(options.out), load(options.clip)
    training = Training(
        sizes=CaptionerSizes(),
        plan=CaptionerPlan(
            steps=options.steps, batch=options.batch, lr=options.lr, seed=options.seed
        ),
        pairs=data.pairs_of(split.train),
        images=data.images_of(split.train),
        clip_NC=embed_images(clip, data.images_of(split.train)),
        clip=identity(options.clip),
        folder=out,
    )
    trained = training.run(_report)
    lines = export(
        trained,
        training.sizes,
        Learnt(captions=[caption_of(pair) for pair in training.pairs], clip_NC=training.clip_NC),
        {name: _test(data, split, numbers, clip) for name, numbers in tests.items()},
        clip,
        _facts(options, data, training),
        out,
        {
            name: [pair.name for pair in data.pairs_of(numbers)]
            for name, numbers in split.held.items()
        },
    )
    for name, found in lines.items():
        for line in found:
            if line.measure == WORD_F1:
                print(f"{name}: {line.method}: {line.measure} {line.score.mean:.3f}")
    print(f"{out}/README.md")
    return 0


def _test(data: TitledImages, split: Parts, numbers: Sequence[int], clip: ClipEncoder) -> HeldOut:
    images = data.images_of(numbers)
    return HeldOut(
        pairs=data.pairs_of(numbers),
        images=images,
        groups=[split.groups[number] for number in numbers],
        clip_NC=embed_images(clip, images),
    )


def _facts(options: argparse.Namespace, data: TitledImages, training: Training) -> Facts:
    plan = training.plan
    return Facts(
        data=options.describe_data or ", ".join(options.lists),
        licence=options.licence,
        command=shlex.join(["vargpt-corpus", *options.given]),
        images=len(training.pairs),
        subjects=len({pair.subject for pair in training.pairs}),
        held_out=options.held_out,
        unreadable=data.unreadable,
        plan=f"{plan.steps:,} steps of {plan.batch} images, learning rate {plan.lr}",
        teacher=f"the {options.clip} CLIP",
        machine=describe_machine("cpu"),
    )


def _report(losses: dict[str, float], seconds: float) -> None:
    said = ", ".join(f"{name} {value:.3f}" for name, value in losses.items() if name != "step")
    print(f"step {losses['step']:,}: {said}, {seconds:,.0f} s", file=sys.stderr, flush=True)
