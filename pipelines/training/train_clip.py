"""`vargpt-corpus train-clip`: a small CLIP with a model card, from lists of images."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.clip_training.both_towers import ClipPlan
from model.clip_training.card import Facts
from model.clip_training.export import export
from model.clip_training.network import ClipSizes, write_folder
from model.clip_training.pairs import Pair, pairs_of
from model.clip_training.parts import Training
from model.clip_training.split import shown, split
from model.clip_training.text_tower import TextPlan
from model.tokenizer_training.machine import describe_machine
from model.tokenizer_training.state import STATE
from pipelines.out_folder import mark_training, training_folder
from pipelines.training.images import ImageFile
from pipelines.training.thumbnails import listed_images, thumbnails
from schemas.store.lock import build_lock
from schemas.store.storage import CorpusError

KIND = "train-clip"
THUMBNAIL = 72  # px; training sees parts of it, enlarged or shrunk to the network's size


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """Pairs and their images, of which some are held out."""

    pairs: Sequence[Pair]
    images: Sequence[NDArray[np.uint8]]  # [THUMBNAIL, THUMBNAIL, 3], mapped into memory
    train: Sequence[int]  # of the pairs
    held: Sequence[int]
    unreadable: dict[str, str]

    def images_of(self, pairs: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Return the images of some pairs."""
        return [self.images[pair] for pair in pairs]


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
        data = _data(options)
        print(
            f"{len(data.train):,} images to train on, {len(data.held):,} held out", file=sys.stderr
        )
        return _train(options, data)


def _require_open_clip() -> None:
    try:
        import open_clip  # noqa: F401
    except ModuleNotFoundError as error:
        raise CorpusError(f"{error}; pip install 'vargpt-corpus[clip,train]'") from error


def _data(options: argparse.Namespace) -> TrainingData:
    pairs, files = _pairs(options.lists)
    images_N, unreadable = thumbnails(
        [files[pair.name] for pair in pairs], THUMBNAIL, Path(options.out)
    )
    usable = [number for number, pair in enumerate(pairs) if pair.name not in unreadable]
    pairs, images = [pairs[n] for n in usable], [images_N[n] for n in usable]
    train, held = split(pairs, images, options.held_out)
    if not train or not shown(pairs, held):
        raise CorpusError(f"{len(pairs)} images: too few to hold {options.held_out:.0%} out")
    return TrainingData(pairs=pairs, images=images, train=train, held=held, unreadable=unreadable)


def _pairs(urls: Sequence[str]) -> tuple[list[Pair], dict[str, ImageFile]]:
    pairs: list[Pair] = []
    files: dict[str, ImageFile] = {}
    for url in urls:
        listed = listed_images(url)
        found = {image.file.name: image.file for image in listed}
        if len(found) < len(listed) or found.keys() & files.keys():
            raise CorpusError(f"--list {url}: an image is listed twice, or two lists have one name")
        files |= found
        pairs += pairs_of([image.row for image in listed], [*found])
    if not pairs:
        raise CorpusError(f"{', '.join(urls)}: no image has a title or a tag")
    return pairs, files


def _train(options: argparse.Namespace, data: TrainingData) -> int:
    out, sizes = Path(options.out), ClipSizes()
    write_folder(out, sizes)
    training = Training(
        sizes=sizes,
        first=ClipPlan(steps=options.steps, batch=options.batch, lr=options.lr, seed=options.seed),
        second=TextPlan(steps=options.text_steps, seed=options.seed + 1),
        pairs=[data.pairs[number] for number in data.train],
        images=data.images_of(data.train),
        teacher=options.teacher,
        folder=out,
    )
    trained = training.run(_report)
    facts = Facts(
        data=options.describe_data or ", ".join(options.lists),
        licence=options.licence,
        command=shlex.join(["vargpt-corpus", *options.given]),
        images=len(data.train),
        subjects=len({data.pairs[number].subject for number in data.train}),
        held_out=options.held_out,
        held_out_images=[data.pairs[number].name for number in data.held],
        unreadable=data.unreadable,
        teacher=options.describe_teacher or options.teacher,
        plan=training.plan,
        machine=describe_machine("cpu"),
    )
    held = shown(data.pairs, data.held)
    found = export(trained, sizes, [data.pairs[n] for n in held], data.images_of(held), facts, out)
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
