"""What says which image is better: CLIP's similarity, an aesthetic predictor, or any callable."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, Literal, Protocol

from fsspec.implementations.local import LocalFileSystem
from PIL.Image import Image

from model.preferences.clip_scorers import AestheticScorer, ClipScorer, ScorerError
from schemas.store.retries import open_fs

SCHEMES: Final = ("hf-hub:", "local-dir:")
"""Of open_clip's model names: these bring their weights."""


class Scorer(Protocol):
    """Scores images of prompts; higher is better."""

    def __call__(self, images: Sequence[Image], prompts: Sequence[str]) -> Sequence[float]:
        """Return a score for each image, given the prompt of the same number.

        Args:
            images: RGB, of any sizes.
            prompts: one an image.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorerPlan:
    """Which scorer, in plain values that travel to a worker.

    Raises:
        ScorerError: values that do not go together.
    """

    kind: Literal["clip", "aesthetic"] | str  # or MODULE:NAME of a callable
    clip_model: str = "ViT-L-14"  # as open_clip names it; hf-hub:NAME or local-dir:PATH too
    clip_weights: str = ""  # of a name without a scheme: a tag of open_clip's, or a file
    head: str = ""  # URL of the aesthetic predictor's weights
    weights_sha256: str = ""  # of the files above, once they were read; see `pinned`

    def __post_init__(self) -> None:
        if self.kind not in ("clip", "aesthetic"):
            if ":" not in self.kind:
                raise ScorerError(f"scorer {self.kind!r}: expected clip, aesthetic or MODULE:NAME")
            return
        if not self.clip_weights and not self.clip_model.startswith(SCHEMES):
            raise ScorerError(f"CLIP {self.clip_model}: name its weights too, a tag or a file")
        if (self.kind == "aesthetic") != bool(self.head):
            raise ScorerError(f"scorer {self.kind} with head {self.head!r}: one without the other")

    def load(self, device: str = "cpu") -> Scorer:
        """Load it.

        Raises:
            ScorerError: a model, file or callable that is not there or does not fit.
        """
        if self.kind == "clip":
            return ClipScorer(self.clip_model, self.clip_weights, device)
        if self.kind == "aesthetic":
            return AestheticScorer(self.clip_model, self.clip_weights, self.head, device)
        return imported_scorer(self.kind)

    @property
    def name(self) -> str:
        """What stands beside a score: `clip ViT-L-14 openai`, or MODULE:NAME."""
        if self.kind not in ("clip", "aesthetic"):
            return self.kind
        parts = (self.clip_model, self.clip_weights, self.head)
        return " ".join(
            [self.kind, *(part.rstrip("/").rsplit("/", 1)[-1] for part in parts if part)]
        )

    def identity(self) -> list[str]:
        """Return what decides the scores, wherever the files lie."""
        return [self.name, self.weights_sha256]

    def pinned(self) -> "ScorerPlan":
        """Return the plan with the hash of its local files, so that other weights are noticed.

        A tag of open_clip's and a name on the hub stand for themselves.

        Raises:
            ScorerError: a file that is not there.
            StoreError: a store that cannot be asked.
        """
        hashes = [sha256(_read(url)).hexdigest() for url in _files(self)]
        return replace(self, weights_sha256=" ".join(hashes))


def imported_scorer(place: str) -> Scorer:
    """Return a callable of the user's own.

    Raises:
        ScorerError: it cannot be imported, or is none.
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
    """Score images, and check that what comes back is a number each.

    Raises:
        ScorerError: it is not.
    """
    found = [float(score) for score in scorer(images, prompts)]
    if len(found) != len(images):
        raise ScorerError(f"{len(found)} scores of {len(images)} images, from {scorer!r}")
    return found


def _files(plan: ScorerPlan) -> list[str]:
    folder = plan.clip_model.removeprefix("local-dir:")
    listed = [plan.clip_weights, plan.head]
    if folder != plan.clip_model:
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
