"""What is read of a manifest, and what is refused."""

import json
from pathlib import Path

import pytest

from filters.aspects import ASPECTS
from model.data.manifest import (
    DataError,
    Source,
    content_of,
    parse_schedule,
    read_manifest,
    subset_of,
    token_members,
)
from model.tokenizers.protocol import schedule_text
from model.tokenizers.schedules import bsq_schedule


@pytest.mark.parametrize("aspect", ASPECTS)
def test_schedules_come_back_from_text(aspect: float) -> None:
    schedule = bsq_schedule(aspect, 1024)
    assert parse_schedule(schedule_text(schedule)) == schedule


@pytest.mark.parametrize("wrong", ["", "1x1 2", "1x1 axb", "4x4 2x2", "0x0"])
def test_a_text_that_is_no_schedule_is_refused(wrong: str) -> None:
    with pytest.raises(DataError, match=f"schedule '{wrong}'"):
        parse_schedule(wrong)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest\.json; expected the folder of a built"):
        read_manifest(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "Field required"), ("[", "Invalid JSON"), ('{"contract": 1}', "tokens")],
)
def test_what_is_no_manifest_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_manifest(str(tmp_path))


def test_a_manifest_of_another_contract_is_refused(square: Path, tmp_path: Path) -> None:
    manifest = json.loads((square / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"contract": 1}))
    with pytest.raises(DataError, match="shards of contract 1, expected 5"):
        read_manifest(str(tmp_path))


def test_subsets_and_members_that_are_not_there_are_refused_with_those_that_are(
    square: Path,
) -> None:
    manifest, source = read_manifest(str(square)), Source(url=str(square), subset="edit")
    with pytest.raises(DataError, match="no samples of 'edit'; it has: t2i"):
        subset_of(source, manifest)
    with pytest.raises(DataError, match=r"no codes 'tokens512\.npy', only: tokens256\.npy"):
        token_members(source, manifest, "tokens512.npy")


def test_features_belong_to_their_codes(square: Path, shapes: Path) -> None:
    for corpus, expected in ((square, None), (shapes, "features256.npy")):
        source = Source(url=str(corpus))
        _, features = token_members(source, read_manifest(str(corpus)), "tokens256.npy")
        assert (features and features.member) == expected


def test_the_hash_of_the_shards_hangs_on_their_content_not_on_their_place(square: Path) -> None:
    subset = read_manifest(str(square)).subsets["t2i"]
    first, *rest = subset.shards
    moved = subset.model_copy(update={"shards": (first.model_copy(update={"path": "x"}), *rest)})
    other = subset.model_copy(update={"shards": (*rest, first)})
    assert content_of(moved) == content_of(subset) != content_of(other)
