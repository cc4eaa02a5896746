import hashlib
from pathlib import Path

import pytest

from filters.scorer import ScorerError
from filters.scores.pin import pinned
from schemas.score_config import (
    AestheticScore,
    ClipModel,
    ClipScore,
    LaionNsfw,
    LanguageScore,
    NsfwScore,
    OpenNsfw,
    WatermarkScore,
)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Files that hold their own names, and a folder as open_clip saves one."""
    names = ("head.pth", "clip.pt", "clip/open_clip_config.json", "clip/model.safetensors")
    (tmp_path / "clip").mkdir()
    for name in names:
        (tmp_path / name).write_text(name)
    return {name: tmp_path / name for name in (*names, "clip")}


def sha256(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def test_every_file_of_a_scorer_gets_its_sha256(files: dict[str, Path]) -> None:
    head, clip = str(files["head.pth"]), ClipModel(weights=str(files["clip.pt"]))
    found = pinned(AestheticScore(score="aesthetic", head=head, clip=clip))
    assert (found.head_sha256, found.clip.weights_sha256) == (sha256("head.pth"), sha256("clip.pt"))
    found = pinned(WatermarkScore(score="watermark", weights=head))
    assert found.weights_sha256 == sha256("head.pth")
    voters = (OpenNsfw(), LaionNsfw(voter="laion", head=head, clip=clip))
    [yahoo, laion] = pinned(NsfwScore(score="nsfw", voters=voters)).voters
    assert yahoo == OpenNsfw()
    assert laion.head_sha256 == sha256("head.pth")
    assert laion.clip.weights_sha256 == sha256("clip.pt")


def test_what_has_no_files_stays_as_it_is() -> None:
    for scorer in (ClipScore(), LanguageScore(score="language"), NsfwScore(score="nsfw")):
        assert pinned(scorer) == scorer


def test_a_folder_is_known_by_what_decides_its_embeddings(files: dict[str, Path]) -> None:
    def folder_sha256() -> str:
        clip = ClipModel(model=f"local-dir:{files['clip']}", weights="")
        return pinned(ClipScore(clip=clip)).clip.weights_sha256

    before = folder_sha256()
    (files["clip"] / "README.md").write_text("a card")
    assert folder_sha256() == before
    files["clip/model.safetensors"].write_text("other weights")
    assert folder_sha256() != before


def test_a_file_that_is_missing_or_another_than_the_recipe_says_is_named(
    files: dict[str, Path],
) -> None:
    with pytest.raises(ScorerError, match=r"gone\.pth: no such file"):
        pinned(WatermarkScore(score="watermark", weights=str(files["head.pth"]) + "/gone.pth"))
    with pytest.raises(ScorerError, match=r"gone\.pth: no such file"):
        pinned(WatermarkScore(score="watermark", weights=str(files["clip"] / "gone.pth")))
    wrong = WatermarkScore(
        score="watermark", weights=str(files["head.pth"]), weights_sha256="0" * 64
    )
    with pytest.raises(
        ScorerError, match=rf"head\.pth: sha256 is {sha256('head.pth')}, expected 0"
    ):
        pinned(wrong)
    with pytest.raises(ScorerError, match="expected a local folder"):
        pinned(ClipScore(clip=ClipModel(model="local-dir:gs://bucket/clip", weights="")))


def test_a_sha256_is_not_for_published_weights() -> None:
    clip = ClipModel(weights="openai", weights_sha256="0" * 64)
    with pytest.raises(ScorerError, match="only files have a sha256"):
        pinned(ClipScore(clip=clip))
