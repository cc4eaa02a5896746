"""Scorers of images: CLIP's similarity, an aesthetic predictor, or any callable."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, Literal, Protocol

from fsspec.implementations.local import LocalFileSystem
from PIL.Image import Image

from model.bundled_clip import BUNDLED, bundled_clip_files
from model.preferences.clip_scorers import AestheticScorer, ClipScorer, ScorerError
from schemas.store.retries import open_fs

SCHEMES: Final = ("hf-hub:", "local-dir:")
"""Prefixes of open_clip's model names that include the weights."""


class Scorer(Protocol):
    """Scores images for prompts; higher is better."""

    def __call__(self, images: Sequence[Image], prompts: Sequence[str]) -> Sequence[float]:
        """Return a score for each image, given the prompt of the same number.

        Args:
            images: RGB, of any sizes.
            prompts: one per image.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorerPlan:
    """The settings of a scorer, as plain values that can be pickled for a worker.

    Raises:
        ScorerError: values contradict each other.
    """

    kind: Literal["clip", "aesthetic"] | str  # or MODULE:NAME of a callable
    clip_model: str = "ViT-L-14"  # open_clip's name, hf-hub:NAME, local-dir:PATH or bundled
    clip_weights: str = ""  # for a name without a prefix: an open_clip tag, or a file
    head: str = ""  # URL of the aesthetic predictor's weights
    weights_sha256: str = ""  # of the files above; set by `pinned`

    def __post_init__(self) -> None:
        if self.kind not in ("clip", "aesthetic"):
            if ":" not in self.kind:
                raise ScorerError(f"scorer {self.kind!r}: expected clip, aesthetic or MODULE:NAME")
            return
        has_weights = self.clip_model == BUNDLED or self.clip_model.startswith(SCHEMES)
        if not self.clip_weights and not has_weights:
            raise ScorerError(f"CLIP {self.clip_model}: expected weights, a tag or a file")
        if (self.kind == "aesthetic") != bool(self.head):
            raise ScorerError(
                f"scorer {self.kind} with head {self.head!r}: expected a head with aesthetic only"
            )

    def load(self, device: str = "cpu") -> Scorer:
        """Load the scorer.

        Raises:
            ScorerError: a model, file or callable is missing or does not fit.
        """
        if self.kind == "clip":
            return ClipScorer(self.clip_model, self.clip_weights, device)
        if self.kind == "aesthetic":
            return AestheticScorer(self.clip_model, self.clip_weights, self.head, device)
        return imported_scorer(self.kind)

    @property
    def name(self) -> str:
        """The name to store with a score: `clip ViT-L-14 openai`, or MODULE:NAME."""
        if self.kind not in ("clip", "aesthetic"):
            return self.kind
        parts = (self.clip_model, self.clip_weights, self.head)
        return " ".join(
            [self.kind, *(part.rstrip("/").rsplit("/", 1)[-1] for part in parts if part)]
        )

    def identity(self) -> list[str]:
        """Return the values that decide the scores, without the location of files."""
        return [self.name, self.weights_sha256]

    def pinned(self) -> "ScorerPlan":
        """Return the plan with the hash of its files, so that changed weights are noticed.

        An open_clip tag or a hub name identifies its weights without a hash.

        Raises:
            ScorerError: a file is missing.
            StoreError: the store cannot be reached.
        """
        hashes = [sha256(_read(url)).hexdigest() for url in _files(self)]
        return replace(self, weights_sha256=" ".join(hashes))


def imported_scorer(place: str) -> Scorer:
    """Import a user's callable.

    Raises:
        ScorerError: it cannot be imported, or is no callable.
    """
    module, _, name = place.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ScorerError(f"scorer {place}: {error}; expected MODULE:NAME") from error
    if not callable(found):
        raise ScorerError(f"scorer {place}: {type(found).__name__}, expected a callable")
    return found


def scored(scorer: Scorer, images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
    """Score images, and check that each has one score.

    Raises:
        ScorerError: the scorer returned another number of scores.
    """
    found = [float(score) for score in scorer(images, prompts)]
    if len(found) != len(images):
        raise ScorerError(f"{scorer!r} returned {len(found)} scores, expected {len(images)}")
    return found


def _files(plan: ScorerPlan) -> list[str]:
    folder = plan.clip_model.removeprefix("local-dir:")
    listed = [plan.clip_weights, plan.head]
    if plan.clip_model == BUNDLED:
        listed += map(str, bundled_clip_files())
    elif folder != plan.clip_model:
        fs, path = open_fs(folder)
        listed += sorted(fs.ls(path, detail=False)) if fs.exists(path) else []
    return [url for url in listed if url and _is_file(url)]


def _is_file(url: str) -> bool:
    fs, path = open_fs(url)
    return not isinstance(fs, LocalFileSystem) or fs.isfile(path)


def _read(url: str) -> bytes:
    fs, path = open_fs(url)
    try:
        return fs.cat_file(path)
    except FileNotFoundError as error:
        raise ScorerError(f"scorer: {url}: no such file") from error
