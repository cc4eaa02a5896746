"""Images for training: found, parted, decoded once and cropped the same in every run."""

import io
import shutil
import tarfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pytest

from pipelines.training.images import TrainingImages, find_images, held_out
from schemas.store.storage import CorpusError


@pytest.fixture
def folder(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    root = tmp_path / "images"
    (root / "deeper").mkdir(parents=True)
    for number in range(6):
        (root / f"{number}.png").write_bytes(picture(number, (40 + number, 30)))
    (root / "deeper" / "7.webp").write_bytes(picture(7, (30, 60)))
    (root / "notes.txt").write_text("found none")
    with tarfile.open(root / "shard.tar", "w") as tar:
        for number in range(3):
            body = picture(10 + number, (50, 50))
            info = tarfile.TarInfo(f"k{number}.jpg")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
            text = tarfile.TarInfo(f"k{number}.json")
            tar.addfile(text, io.BytesIO())
    return root


def test_folders_are_listed_to_any_depth_with_the_tars_in_them(folder: Path) -> None:
    names = [image.name for image in find_images([str(folder)])]
    assert names == sorted(
        [*(f"{n}.png" for n in range(6)), "deeper/7.webp", "k0.jpg", "k1.jpg", "k2.jpg"]
    )


def test_tars_are_read_by_a_pattern(folder: Path) -> None:
    images = find_images([str(folder / "*.tar")])
    assert [image.name for image in images] == ["k0.jpg", "k1.jpg", "k2.jpg"]
    squares = TrainingImages(images=images, side=16).squares()
    assert [square.shape for square in squares] == [(16, 16, 3)] * 3


@pytest.mark.parametrize(
    ("place", "names"),
    [("?.png", []), ("*.png", [f"{n}.png" for n in range(6)]), ("2.png", ["2.png"]),
     ("d*/*.webp", ["deeper/7.webp"]), ("deeper/", ["7.webp"])],
)  # fmt: skip
def test_names_do_not_say_where_the_data_lie(folder: Path, place: str, names: list[str]) -> None:
    if not names:
        with pytest.raises(CorpusError, match="found none"):
            find_images([str(folder / place)])
        return
    found = find_images([f"{folder}/{place}"])
    assert [image.name for image in found] == names


def test_any_file_system_serves(folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/training", recursive=True)
    try:
        found = find_images(["memory://training"])
        assert [image.name for image in found] == [i.name for i in find_images([str(folder)])]
        assert len(list(TrainingImages(images=found, side=16).squares())) == 10
    finally:
        memory.rm("/training", recursive=True)


def test_an_image_that_is_named_twice_is_listed_once(folder: Path) -> None:
    twice = find_images([str(folder), str(folder), str(folder / "*.tar")])
    assert twice == find_images([str(folder)])


def test_images_of_one_name_in_two_places_are_two(
    folder: Path, tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "0.png").write_bytes(b"torn")
    (other / "1.png").write_bytes(picture(50))
    images = find_images([str(folder), str(other)])
    source = TrainingImages(images=images, side=16)
    assert len(list(source.squares())) == 11  # the torn one alone is left out
    first = [image for image in images if image.name == "1.png"]
    assert (
        len({square.tobytes() for square in TrainingImages(images=first, side=16).squares()}) == 2
    )


def test_of_a_built_corpus_the_shards_are_read_and_not_what_they_are_made_of(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    for name in ("raw", "shards"):
        shutil.copytree(folder, tmp_path / "out" / name)
    (tmp_path / "out/manifest.json").write_text("{}")
    found = find_images([str(tmp_path / "out")])
    assert len(found) == len(find_images([str(folder)]))
    assert all("/out/shards/" in image.url for image in found)


def test_a_place_without_images_and_a_broken_tar_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="found none"):
        find_images([str(tmp_path)])
    (tmp_path / "bad.tar").write_bytes(b"x" * 2000)
    with pytest.raises(CorpusError, match=r"bad\.tar: not a readable tar"):
        find_images([str(tmp_path)])


def test_images_are_held_out_by_name_wherever_they_lie(folder: Path) -> None:
    images = find_images([str(folder)])
    train, rest = held_out(images, 0.5)
    assert sorted([*train, *rest], key=images.index) == images
    assert 0 < len(rest) < len(images)
    assert {image.name for image in held_out(images[2:], 0.5)[1]} <= {i.name for i in rest}


def test_batches_are_the_same_in_every_run_and_from_any_start(folder: Path) -> None:
    images = find_images([str(folder)])
    first = list(islice(TrainingImages(images=images, side=32).batches(16, 3), 8))
    again = list(islice(TrainingImages(images=images, side=32, cache_bytes=0).batches(16, 3, 5), 3))
    for a, b in zip(first[5:], again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len({batch.tobytes() for batch in first}) == len(first)


def test_every_image_comes_once_an_epoch(folder: Path) -> None:
    images = find_images([str(folder)])
    source = TrainingImages(images=images, side=16)
    squares = {square.tobytes() for square in source.squares()}
    batches = list(islice(source.batches(16, 5), 2))
    crops = [crop for batch in batches for crop in batch]
    mirrored = [{crop.tobytes(), crop[:, ::-1].tobytes()} for crop in crops]
    assert all(any(square in pair for pair in mirrored) for square in squares)


def test_what_cannot_be_decoded_is_left_out_and_named(folder: Path) -> None:
    (folder / "3.png").write_bytes(b"not an image")
    source = TrainingImages(images=find_images([str(folder)]), side=16)
    assert len(list(source.squares())) == 9
    assert list(source.unreadable) == ["3.png"]
    assert "not_an_image" in source.unreadable["3.png"]
    assert next(source.batches(16, 20)).shape == (20, 16, 16, 3)


def test_what_is_left_out_does_not_move_the_other_batches(folder: Path, tmp_path: Path) -> None:
    (folder / "3.png").write_bytes(b"not an image")
    (folder / "4.png").write_bytes(b"neither")
    other = tmp_path / "other"
    other.mkdir()
    for number in range(6):  # of the same names as images that can be read
        (other / f"{number}.png").write_bytes(b"torn")
    images = find_images([str(folder), str(other)])
    whole = list(islice(TrainingImages(images=images, side=32).batches(16, 4), 9))
    for start in range(9):
        resumed = next(TrainingImages(images=images, side=32).batches(16, 4, start))
        np.testing.assert_array_equal(resumed, whole[start])


@pytest.mark.parametrize(
    ("size", "why"), [((160, 20), None), ((161, 20), "too_long"), ((20, 161), "too_long")]
)
def test_images_over_8_times_as_long_as_wide_are_left_out(
    size: tuple[int, int], why: str | None, tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    (tmp_path / "a.png").write_bytes(picture(0, size))
    source = TrainingImages(images=find_images([str(tmp_path)]), side=16)
    assert len(list(source.squares())) == (why is None)
    assert [reason.split(":")[0] for reason in source.unreadable.values()] == [why] * bool(why)


def test_nothing_but_unreadable_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(CorpusError, match="none of 1 images can be decoded"):
        next(TrainingImages(images=find_images([str(tmp_path)]), side=16).batches(16, 2))
