"""The recipe's tokenizers, loaded once per worker process and shared by its threads."""

import posixpath
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filters.aspects import ASPECTS
from model.tokenizers.protocol import Schedule, schedule_text
from model.tokenizers.sizes import BUNDLED, PRESETS, BsqConfig, VarConfig, schedule_of
from schemas.recipe import BsqTokenizer, VarTokenizer, VqTokensConfig, members_of
from schemas.store.storage import CorpusError

if TYPE_CHECKING:
    from model.tokenizers.network_tokenizer import NetworkTokenizer

TokenizerRecipe = BsqTokenizer | VarTokenizer

_loaded: dict[str, "NetworkTokenizer"] = {}
_loading = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One tokenizer at one resolution: the result of one forward pass."""

    tokenizer: TokenizerRecipe
    resolution: int  # px, side of the square image with the pixel budget

    @property
    def members(self) -> list[str]:
        """The members of a sample that it writes: codes, then features if requested."""
        return members_of(self.tokenizer, self.resolution)


def targets(recipe: VqTokensConfig) -> list[Target]:
    """Return the targets of a recipe."""
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
        CorpusError: as `loaded_tokenizer`.
    """
    tokenizer = loaded_tokenizer(target.tokenizer, recipe.precision)
    return tokenizer.with_schedule(target_schedule(target, aspect))


def target_schedule(target: Target, aspect: float = 1.0) -> Schedule:
    """Return the schedule of a target and an aspect, without loading the tokenizer."""
    return schedule_of(_config(target), target.resolution, aspect)


def loaded_tokenizer(recipe: TokenizerRecipe, precision: str) -> "NetworkTokenizer":
    """Return a tokenizer on the best device; load it if this process has not done so.

    Raises:
        CorpusError: the checkpoint cannot be read, does not fit or has another sha256, or the
            device does not have the precision.
    """
    key = recipe.model_dump_json(exclude={"name", "resolutions", "features"}) + precision
    with _loading:
        if key not in _loaded:
            _loaded[key] = _load(recipe, precision)
        return _loaded[key]


def _load(recipe: TokenizerRecipe, precision: str) -> "NetworkTokenizer":
    import torch

    from filters.compute import best_compute, keep_freed_memory
    from model.tokenizers.load import load_tokenizer
    from schemas.store.checkpoint import CheckpointError

    # The processes share the cores; and other numbers of threads would round differently.
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
    """Return the manifest's entry of each member that tokenizers write.

    It is enough to read the member without this package: the schedule of every aspect, sizes, types
    and crops. It follows from the recipe alone; no weights are read.
    """
    aspects = ASPECTS if recipe.aspects == "buckets" else (1.0,)
    described: list[dict[str, object]] = []
    for target in targets(recipe):
        schedules = {aspect: target_schedule(target, aspect) for aspect in aspects}
        config = _config(target)
        common: dict[str, object] = {
            "resolution": target.resolution,
            "views": recipe.views,
            "crop": crop_of(recipe),
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


def crop_of(recipe: VqTokensConfig) -> str:
    """Say how images are fitted into their shape."""
    if recipe.fit == "contain":
        return "contain, centre, on the background"
    return CROP if recipe.views == 1 else f"{CROP}, then drawn"


def _config(target: Target) -> BsqConfig | VarConfig:
    return PRESETS[target.tokenizer.tokenizer][target.tokenizer.preset]


def _size(schedule: Schedule, stride: int) -> str:
    height, width = schedule[-1]
    return f"{height * stride}x{width * stride}"


def _weights(recipe: TokenizerRecipe) -> dict[str, str]:
    """Return the origin of the weights, in the same words as `model.tokenizers.load`."""
    if recipe.checkpoint:
        name = posixpath.basename(recipe.checkpoint)
    elif recipe.preset == BUNDLED:
        name = f"bundled {recipe.tokenizer}"
    else:
        name = f"random weights, seed {recipe.seed}"
    return {"checkpoint": name, "checkpoint_sha256": recipe.checkpoint_sha256}
