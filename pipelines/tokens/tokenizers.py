"""The recipe's tokenizers, loaded once a worker process however many threads it runs."""

import posixpath
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.tokenizers.protocol import Schedule, schedule_text
from model.tokenizers.schedules import ASPECTS
from model.tokenizers.sizes import BUNDLED, PRESETS, BsqConfig, VarConfig, schedule_of
from schemas.recipe import BsqTokenizer, VarTokenizer, VqTokensConfig, members_of
from schemas.store.storage import CorpusError

if TYPE_CHECKING:
    from model.tokenizers.network_tokenizer import NetworkTokenizer

TokenizerRecipe = BsqTokenizer | VarTokenizer

device_lock = threading.Lock()
"""Held while a tokenizer computes: threads of one worker take turns on its device."""

_loaded: dict[str, "NetworkTokenizer"] = {}
_loading = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One tokenizer at one resolution: what one forward pass gives."""

    tokenizer: TokenizerRecipe
    resolution: int  # px, of the square image of the pixel budget

    @property
    def members(self) -> list[str]:
        """Members of the sample that it writes: codes, then features where asked."""
        return members_of(self.tokenizer, self.resolution)


def targets(recipe: VqTokensConfig) -> list[Target]:
    """List what a recipe asks for."""
    return [
        Target(tokenizer=tokenizer, resolution=resolution)
        for tokenizer in recipe.tokenizers
        for resolution in tokenizer.resolutions
    ]


def target_tokenizer(
    target: Target, recipe: VqTokensConfig, aspect: float = 1.0
) -> "NetworkTokenizer":
    """Return the loaded tokenizer of a target, with the schedule of an aspect.

    Raises:
        CorpusError: as `loaded_tokenizer` does.
    """
    tokenizer = loaded_tokenizer(target.tokenizer, recipe.precision)
    return tokenizer.with_schedule(target_schedule(target, aspect))


def target_schedule(target: Target, aspect: float = 1.0) -> Schedule:
    """Return the schedule of a target and an aspect; nothing is loaded."""
    return schedule_of(_config(target), target.resolution, aspect)


def loaded_tokenizer(recipe: TokenizerRecipe, precision: str) -> "NetworkTokenizer":
    """Load a tokenizer on the best device there is, unless this process has it.

    Raises:
        CorpusError: a checkpoint that cannot be read, does not fit or is not the one that was
            pinned, or a precision that the device does not have.
    """
    key = recipe.model_dump_json(exclude={"name", "resolutions", "features"}) + precision
    with _loading:
        if key not in _loaded:
            _loaded[key] = _load(recipe, precision)
        return _loaded[key]


def _load(recipe: TokenizerRecipe, precision: str) -> "NetworkTokenizer":
    import torch

    from model.tokenizers.checkpoint import CheckpointError
    from model.tokenizers.compute import best_compute, keep_freed_memory
    from model.tokenizers.load import load_tokenizer

    # The cores are shared out among processes, and sums split otherwise would round otherwise.
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        tokenizer = load_tokenizer(
            recipe.tokenizer,
            preset=recipe.preset,
            checkpoint=recipe.checkpoint,
            seed=recipe.seed,
            compute=best_compute(precision),  # type: ignore[arg-type]
        )
    except (CheckpointError, ValueError) as error:
        raise CorpusError(f"vq_tokens.tokenizers.{recipe.name}: {error}") from error
    found = tokenizer.describe()["checkpoint_sha256"]
    if recipe.checkpoint_sha256 and found != recipe.checkpoint_sha256:
        raise CorpusError(
            f"vq_tokens.tokenizers.{recipe.name}: {tokenizer.describe()['checkpoint']} has sha256 "
            f"{found}, the recipe says {recipe.checkpoint_sha256}"
        )
    return tokenizer


def describe_tokens(recipe: VqTokensConfig) -> list[dict[str, object]]:
    """Return what the manifest says of each member that tokenizers write.

    Enough to read it without this package: the schedule of every aspect, sizes, types, and how
    pixels were cut. All of it follows from the recipe; no weight is read.
    """
    aspects = ASPECTS if recipe.aspects == "buckets" else (1.0,)
    described: list[dict[str, object]] = []
    for target in targets(recipe):
        schedules = {aspect: target_schedule(target, aspect) for aspect in aspects}
        config = _config(target)
        common: dict[str, object] = {
            "resolution": target.resolution,
            "views": recipe.views,
            "crop": CROP if recipe.views == 1 else f"{CROP}, then drawn",
            "aspects": recipe.aspects,
            "image_sizes": {str(a): _size(of, config.stride) for a, of in schedules.items()},
            "schedules": {str(a): schedule_text(of) for a, of in schedules.items()},
            "name": target.tokenizer.tokenizer,
            **_weights(target.tokenizer),
            **config.stored,
            "precision": recipe.precision,
            **config.meaning,
        }
        codes, *features = target.members
        described.append({"member": codes, "kind": "codes", **common})
        described += [
            {
                "member": member,
                "kind": "features",
                "of": codes,
                "dtype": "float16",
                "channels": config.channels,
                **common,
            }
            for member in features
        ]
    return described


CROP = "cover, centre"


def _config(target: Target) -> BsqConfig | VarConfig:
    return PRESETS[target.tokenizer.tokenizer][target.tokenizer.preset]


def _size(schedule: Schedule, stride: int) -> str:
    height, width = schedule[-1]
    return f"{height * stride}x{width * stride}"


def _weights(recipe: TokenizerRecipe) -> dict[str, str]:
    """Say where the weights are from, in the words of `model.tokenizers.load`."""
    if recipe.checkpoint:
        name = posixpath.basename(recipe.checkpoint)
    elif recipe.preset == BUNDLED:
        name = f"bundled {recipe.tokenizer}"
    else:
        name = f"random weights, seed {recipe.seed}"
    return {"checkpoint": name, "checkpoint_sha256": recipe.checkpoint_sha256}
