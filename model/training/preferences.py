"""What a stage that learns from pairs compares with: the model it began as, asked once."""

from pathlib import Path

import torch

from model.data.loader import Loader
from model.preferences.dpo import Dpo, DpoConfig
from model.preferences.reference import CachedReference, MadeOf, labels_of, precompute
from model.training.parallel import Processes
from model.training.recipe import Recipe
from model.vargpt.vargpt import Vargpt

FOLDER = "reference"


def make_dpo(recipe: Recipe, reference: CachedReference) -> Dpo:
    """Return the objective of a recipe."""
    config = DpoConfig(beta=recipe.beta, label_smoothing=recipe.label_smoothing, sft=recipe.sft)
    return Dpo(reference, config)


def reference_made_of(model: str, pairs: Loader) -> MadeOf:
    """Return what the values of a loader's pairs hold for, of a reference known by `model`."""
    return MadeOf(
        model=model,
        labels=labels_of(pairs.plan, pairs.self_correction),
        pairs=" ".join(pairs.contents),
    )


def compute_reference(
    model: Vargpt, pairs: Loader, made_of: MadeOf, out: Path, processes: Processes, precision: str
) -> CachedReference:
    """Ask the reference for the likelihoods of all pairs, each process of its own, and share them.

    Killed, the next run asks for those that were not written; a later one for none.

    Args:
        model: the reference, on the device.
        pairs: one epoch of this process's part.
        made_of: what the values hold for.
        out: folder of the training, which all processes share.
        processes: this one among those that train.
        precision: of the training, that the policy is computed in too.
    """
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{rank:05}-of-{processes.count:05}.parquet" for rank in range(processes.count)]
    device_type = torch.device(processes.device).type
    with torch.autocast(device_type, torch.bfloat16, enabled=precision == "bf16"):
        precompute(model.eval(), pairs, made_of, folder / names[processes.rank])
    processes.wait()
    return CachedReference(made_of).load([folder / name for name in names])
