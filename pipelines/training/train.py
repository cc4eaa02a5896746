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
"""Recipe keys of the model, taken from the training that gives the initial weights."""


def run(options: argparse.Namespace) -> int:
    """Train, or resume a killed training.

    Raises:
        UserError: a stage or key is unknown; data, weights or a checkpoint do not fit; or the loss
            is not finite.
    """
    recipe = stage_recipe(options.stage, [*_inherited(options.init), *_overrides(options)])
    device = device_of(KIND, options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    # Log the keys of skipped samples, and the kind of self-correction.
    logging.getLogger("model").setLevel(logging.INFO)
    with started(device) as processes, _locked(options, processes):
        return _train(options, recipe, processes)


def _inherited(init: str | None) -> list[str]:
    """Return the recipe keys of the training with the initial weights, as overrides."""
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
    _report_start(recipe, processes)
    trainer.run()
    if processes.is_first:
        print(checkpoints(out)[-1])
        for picture in sorted((out / SAMPLES).glob("*.png"))[-1:]:
            print(picture)
    return 0


def _report_start(recipe: Recipe, processes: Processes) -> None:
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
        raise CorpusError(f"--prompts {path}: expected one prompt per line, found none")
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
