"""`vargpt-corpus train-clip`: a small CLIP with a model card, from lists of images."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from model.clip_training.both_towers import ClipPlan
from model.clip_training.export import export
from model.clip_training.network import ClipSizes, write_folder
from model.clip_training.parts import Training
from model.clip_training.text_tower import TextPlan
from model.image_text.facts import Facts
from model.image_text.split import shown, split
from model.tokenizer_training.machine import describe_machine
from model.tokenizer_training.state import STATE
from pipelines.out_folder import mark_training, training_folder
from pipelines.training.titled_images import TitledImages, titled_images
from schemas.store.lock import build_lock
from schemas.store.storage import CorpusError

KIND = "train-clip"


def run(options: argparse.Namespace) -> int:
    """Train, or resume a killed training; write the folder of the model and its card.

    Raises:
        UserError: no images, a state of another run, or a loss that is not finite.
    """
    _require_open_clip()
    store = training_folder(options.out, KIND, STATE)
    if options.threads:
        torch.set_num_threads(options.threads)
    with build_lock(store, force_unlock=options.force_unlock):
        mark_training(store, KIND)
        store.sweep([""])
        data = titled_images(options.lists, Path(options.out))
        train, held = split(data.pairs, data.images, options.held_out)
        if not train or not shown(data.pairs, held):
            raise CorpusError(
                f"{len(data.pairs)} images: too few to hold {options.held_out:.0%} out"
            )
        print(f"{len(train):,} images to train on, {len(held):,} held out", file=sys.stderr)
        return _train(options, data, train, held)


def _require_open_clip() -> None:
    try:
        import open_clip  # noqa: F401
    except ModuleNotFoundError as error:
        raise CorpusError(f"{error}; pip install 'vargpt-corpus[clip,train]'") from error


def _train(
    options: argparse.Namespace, data: TitledImages, train: Sequence[int], held: Sequence[int]
) -> int:
    out, sizes = Path(options.out), ClipSizes()
    write_folder(out, sizes)
    training = Training(
        sizes=sizes,
        first=ClipPlan(steps=options.steps, batch=options.batch, lr=options.lr, seed=options.seed),
        second=TextPlan(steps=options.text_steps, seed=options.seed + 1),
        pairs=data.pairs_of(train),
        images=data.images_of(train),
        teacher=options.teacher,
        folder=out,
    )
    trained = training.run(_report)
    facts = Facts(
        data=options.describe_data or ", ".join(options.lists),
        licence=options.licence,
        command=shlex.join(["vargpt-corpus", *options.given]),
        images=len(train),
        subjects=len({data.pairs[number].subject for number in train}),
        held_out=options.held_out,
        unreadable=data.unreadable,
        teacher=options.describe_teacher or options.teacher,
        plan=training.plan,
        machine=describe_machine("cpu"),
    )
    compared = shown(data.pairs, held)
    found = export(
        trained,
        sizes,
        data.pairs_of(compared),
        data.images_of(compared),
        facts,
        out,
        held_out=[pair.name for pair in data.pairs_of(held)],
    )
    for name, line in found.items():
        print(
            f"{name}: image to text R@10 {line.image_to_text.r10:.1%}, "
            f"text to image R@10 {line.text_to_image.r10:.1%}, AUC {line.auc:.3f}"
        )
    print(f"{out}/README.md")
    return 0


def _report(part: str, losses: dict[str, float], seconds: float) -> None:
    said = ", ".join(f"{name} {value:.3f}" for name, value in losses.items() if name != "step")
    print(f"{part}: step {losses['step']:,}: {said}, {seconds:,.0f} s", file=sys.stderr, flush=True)
