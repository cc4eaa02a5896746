"""`vargpt-corpus train`: a stage of VARGPT's training on built corpora."""

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from model.tokenizer_training.machine import describe_machine
from model.tokenizer_training.state import StateError
from model.training.checkpoint import FOLDER as CHECKPOINTS
from model.training.checkpoint import STATE, checkpoints, find, read_state
from model.training.loop import SAMPLES
from model.training.parallel import Processes, started
from model.training.recipe import Recipe, stage_recipe
from model.training.start import make_trainer
from pipelines.out_folder import mark_training, training_folder
from pipelines.training.device import device_of
from schemas.store.lock import build_lock
from schemas.store.storage import CorpusError

KIND = "train"
MOST_PROMPTS = 16
INHERITED = ("size", "choices", "text_tokenizer", "tokenizer_preset", "tokenizer_checkpoint")
"""Keys of a recipe that say what the model is; those of the training that it begins as hold."""


def run(options: argparse.Namespace) -> int:
    """Train, or go on with what was killed.

    Raises:
        UserError: an unknown stage or key; data, weights or a checkpoint that do not fit; or a loss
            that is NaN.
    """
    recipe = stage_recipe(options.stage, [*_inherited(options.init), *_overrides(options)])
    device = device_of(KIND, options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    # Samples that are skipped, by their keys; and how bits are flipped.
    logging.getLogger("model").setLevel(logging.INFO)
    with started(device) as processes, _locked(options, processes):
        return _train(options, recipe, processes)


def _inherited(init: str | None) -> list[str]:
    """Return what a model begins as that another training made, as overrides of a recipe."""
    if init is None:
        return []
    try:
        before = read_state(find(Path(init))).recipe
    except StateError as error:
        raise CorpusError(f"--init {init}: {error}") from error
    return [f"{key}={json.dumps(before[key])}" for key in INHERITED if key in before]


def _train(options: argparse.Namespace, recipe: Recipe, processes: Processes) -> int:
    out = Path(options.out)
    trainer = make_trainer(
        recipe,
        options.data,
        out,
        processes=processes,
        init=Path(options.init) if options.init else None,
    )
    _say_start(recipe, processes)
    trainer.run()
    if processes.is_first:
        print(checkpoints(out)[-1])
        for picture in sorted((out / SAMPLES).glob("*.png"))[-1:]:
            print(picture)
    return 0


def _say_start(recipe: Recipe, processes: Processes) -> None:
    if processes.is_first:
        print(
            f"stage {recipe.stage} of size {recipe.size}: {recipe.steps:,} steps of {recipe.batch} "
            f"samples, {processes.count} processes, each on {describe_machine(processes.device)}",
            file=sys.stderr,
        )


def _overrides(options: argparse.Namespace) -> list[str]:
    given = list(options.overrides)
    for name in ("size", "steps"):
        if (value := getattr(options, name)) is not None:
            given.append(f"{name}={value}")
    if options.prompts:
        given.append(f"prompts={json.dumps(_prompts(options.prompts))}")
    return given


def _prompts(path: str) -> list[str]:
    lines = [line.strip() for line in Path(path).read_text().splitlines()]
    found = [line for line in lines if line][:MOST_PROMPTS]
    if not found:
        raise CorpusError(f"--prompts {path}: expected a prompt a line, found none")
    return found


@contextlib.contextmanager
def _locked(options: argparse.Namespace, processes: Processes) -> Iterator[None]:
    if not processes.is_first:
        yield
        return
    store = training_folder(options.out, KIND, f"{CHECKPOINTS}/step-*/{STATE}")
    with build_lock(store, force_unlock=options.force_unlock):
        mark_training(store, KIND)
        store.sweep(["", "reference"])
        yield
