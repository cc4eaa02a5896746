"""Pinning of weights: a scorer's settings, with the sha256 of its files."""

from typing import Any

from filters.scorer import ScorerError
from filters.scores.bundled_clip import bundled_clip
from filters.scores.clip_identity import is_tag
from filters.scores.weights_hash import checked, file_sha256, folder_sha256
from schemas.score_config import (
    BUNDLED,
    LOCAL_DIR,
    AestheticScore,
    ClipModel,
    LaionNsfw,
    NsfwScore,
    Scorer,
    WatermarkScore,
)


def pinned(scorer: Scorer) -> Scorer:
    """Return the settings with the sha256 of each file, so that changed weights are noticed.

    Published weights of open_clip or of a hub are known by their name, without a hash.

    Raises:
        ScorerError: a file is missing, or has another sha256 than the settings say.
        StoreError: a store cannot be reached.
    """
    changes: dict[str, Any] = {}
    if clip := getattr(scorer, "clip", None):
        changes["clip"] = pinned_clip(clip)
    if isinstance(scorer, AestheticScore):
        changes["head_sha256"] = _file(scorer.head, scorer.head_sha256)
    if isinstance(scorer, WatermarkScore):
        changes["weights_sha256"] = _file(scorer.weights, scorer.weights_sha256)
    if isinstance(scorer, NsfwScore):
        changes["voters"] = tuple(
            _laion(voter) if isinstance(voter, LaionNsfw) else voter for voter in scorer.voters
        )
    return scorer.model_copy(update=changes)


def pinned_clip(clip: ClipModel) -> ClipModel:
    """Return a CLIP's settings with the sha256 of its file, or of its folder's files.

    Raises:
        ScorerError: as `pinned`.
    """
    name, found = f"CLIP {clip.model} {clip.weights}", _clip_sha256(clip)
    if found:
        update = {"weights_sha256": checked(name, found, clip.weights_sha256)}
        return clip.model_copy(update=update)
    if clip.weights_sha256:
        raise ScorerError(f"{name}: only files have a sha256; give the path of a file as weights")
    return clip


def _clip_sha256(clip: ClipModel) -> str:
    model = bundled_clip() if clip.model == BUNDLED else clip.model
    if model.startswith(LOCAL_DIR):
        return folder_sha256(model.removeprefix(LOCAL_DIR))
    if ":" in model or not clip.weights or is_tag(clip.weights):
        return ""
    return file_sha256(clip.weights)


def _laion(voter: LaionNsfw) -> LaionNsfw:
    return voter.model_copy(
        update={
            "clip": pinned_clip(voter.clip),
            "head_sha256": _file(voter.head, voter.head_sha256),
        }
    )


def _file(url: str, expected: str) -> str:
    return checked(url, file_sha256(url), expected)
