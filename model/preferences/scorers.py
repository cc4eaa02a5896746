"""Scorers of images that a model drew: the scorers of corpora, called with images and prompts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from PIL import Image as images
from PIL.Image import Image
from pydantic import ValidationError

from filters.scorer import Device, ScorerError, Subject
from filters.scores.pin import pinned
from filters.scores.registry import make_scorer
from filters.scores.score_images import score_images
from schemas import score_config as settings


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
    """The settings of a scorer, as plain values that can be pickled for a worker."""

    name: str  # stored with a score: `clip ViT-L-14 openai`, or MODULE:NAME
    config: settings.Scorer

    def load(self, device: str = "cpu") -> Scorer:
        """Return the scorer, loaded.

        Raises:
            ScorerError: a model or callable is missing or does not fit.
            CheckpointError: a head cannot be read.
        """
        place = Device(name=device)
        scorer = make_scorer(self.config, place)
        column = scorer.columns[0].name

        def score(images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
            subjects = [
                Subject(key=str(number), image=image, text=prompt)
                for number, (image, prompt) in enumerate(zip(images, prompts, strict=True))
            ]
            return [float(each) for each in score_images(scorer, subjects, place)[column]]

        if isinstance(self.config, settings.CustomScore):
            from filters.scores.custom import imported

            imported(self.config.callable, "scorer")
        else:
            score([images.new("RGB", (8, 8))], [""])
        return score

    def identity(self) -> list[Any]:
        """Return the name, and what decides the scores, without the location of files."""
        return [self.name, make_scorer(self.config, Device()).identity()]

    def pinned(self) -> "ScorerPlan":
        """Return the plan with the hash of its files, so that changed weights are noticed.

        An open_clip tag or a hub name identifies its weights without a hash.

        Raises:
            ScorerError: a file is missing.
            StoreError: the store cannot be reached.
        """
        return replace(self, config=pinned(self.config))


def scorer_plan(
    kind: str, *, clip_model: str = "ViT-L-14", clip_weights: str = "", head: str = ""
) -> ScorerPlan:
    """Return the plan of a scorer.

    Args:
        kind: `clip`, `aesthetic`, or MODULE:NAME of a callable of images and prompts.
        clip_model: open_clip's name, hf-hub:NAME, local-dir:PATH, or bundled.
        clip_weights: for a name without a prefix: an open_clip tag, or a file.
        head: URL of the aesthetic predictor's weights.

    Raises:
        ScorerError: values contradict each other.
    """
    if kind not in ("clip", "aesthetic"):
        return ScorerPlan(name=kind, config=_custom(kind))
    if bool(clip_weights) == settings.has_weights(clip_model):
        expected = "no weights, it has its own" if clip_weights else "weights, a tag or a file"
        raise ScorerError(f"CLIP {clip_model}: expected {expected}")
    if (kind == "aesthetic") != bool(head):
        raise ScorerError(f"scorer {kind} with head {head!r}: expected a head with aesthetic only")
    clip = settings.ClipModel(model=clip_model, weights=clip_weights)
    config = (
        settings.AestheticScore(score="aesthetic", clip=clip, head=head)
        if kind == "aesthetic"
        else settings.ClipScore(clip=clip)
    )
    parts = (part.rstrip("/").rsplit("/", 1)[-1] for part in (clip_model, clip_weights, head))
    return ScorerPlan(name=" ".join([kind, *filter(None, parts)]), config=config)


def _custom(place: str) -> settings.CustomScore:
    try:
        return settings.CustomScore(score="custom", name="score", callable=place)
    except ValidationError as error:
        raise ScorerError(f"scorer {place!r}: expected clip, aesthetic or MODULE:NAME") from error
