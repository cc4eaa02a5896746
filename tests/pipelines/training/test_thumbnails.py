import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.training.images import ImageFile
from pipelines.training.thumbnails import INDEX, PIXELS, listed_images, thumbnails
from schemas.store.storage import CorpusError

ROW = {"path": "a/1.png", "title": "a", "text": "", "tags": [], "author": ""}


def png(size: tuple[int, int], colour: tuple[int, ...], mode: str = "RGB") -> bytes:
    written = BytesIO()
    Image.new(mode, size, colour).save(written, "PNG")
    return written.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., list[ImageFile]]:
    def write(*bodies: bytes) -> list[ImageFile]:
        for number, body in enumerate(bodies):
            (tmp_path / str(number)).write_bytes(body)
        numbers = range(len(bodies))
        return [ImageFile(name=f"list/{n}", url=str(tmp_path / str(n))) for n in numbers]

    return write


def test_images_are_whole_on_a_white_square(
    files: Callable[..., list[ImageFile]], tmp_path: Path
) -> None:
    bodies = [png((200, 100), (255, 0, 0)), png((4, 8), (0, 0, 255)), png((9, 9), (0,) * 4, "RGBA")]
    squares, unreadable = thumbnails(files(*bodies), 16, tmp_path)
    assert (squares.shape, squares.dtype, unreadable) == ((3, 16, 16, 3), np.uint8, {})
    wide, tall, clear = squares
    assert (wide[4:12] == (255, 0, 0)).all()
    assert (wide[:4] == 255).all()
    assert (wide[12:] == 255).all()
    assert (tall[:, 4:12] == (0, 0, 255)).all()
    assert (tall[:, :4] == 255).all()
    assert (clear == 255).all()


def test_what_cannot_be_decoded_is_white_and_named(
    files: Callable[..., list[ImageFile]], tmp_path: Path
) -> None:
    found = files(b"no image", png((200, 2), (0, 0, 0)), png((9, 9), (0, 0, 0)))
    found.append(ImageFile(name="list/gone", url=str(tmp_path / "gone")))
    squares, unreadable = thumbnails(found, 16, tmp_path)
    assert [*unreadable] == ["list/0", "list/1", "list/gone"]
    assert unreadable["list/0"].startswith("not_an_image")
    assert "over 8 times as long as wide" in unreadable["list/1"]
    assert [int(square.min()) for square in squares] == [255, 255, 0, 255]


def test_images_are_decoded_once(files: Callable[..., list[ImageFile]], tmp_path: Path) -> None:
    found = files(png((9, 9), (0, 0, 0)), b"no image")
    first, unreadable = thumbnails(found, 16, tmp_path)
    for file in found:
        Path(file.url).unlink()
    again, said = thumbnails(found, 16, tmp_path)
    assert np.array_equal(first, again)
    assert said == unreadable
    assert isinstance(again, np.memmap)
    assert {file.name for file in tmp_path.iterdir()} == {PIXELS, INDEX}


def test_where_no_image_can_be_read_it_is_said_until_one_is_mended(
    files: Callable[..., list[ImageFile]], tmp_path: Path
) -> None:
    found = files(png((9, 9), (0, 0, 0)), b"no image")
    before, _ = thumbnails(found, 16, tmp_path)
    Path(found[0].url).write_bytes(b"no image either")
    message = "none of 2 images can be read, such as list/0: not_an_image"
    for side in (8, 8, 12):
        with pytest.raises(CorpusError, match=message):
            thumbnails(found, side, tmp_path)
    Path(found[0].url).write_bytes(png((9, 9), (0, 0, 0)))
    after, unreadable = thumbnails(found, 16, tmp_path)
    assert [*unreadable] == ["list/1"]
    assert np.array_equal(before, after)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        json.dumps(ROW | {"title": None}),
        json.dumps(ROW | {"tags": [1]}),
        '{"path": "a"}',
        "[" * 100_000,
    ],
    ids=str.split("cut list no_title number_as_tag path_alone deep"),
)
def test_a_line_that_is_no_row_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text(f"{json.dumps(ROW)}\n{line}\n")
    with pytest.raises(CorpusError, match=r"list\.jsonl: line 2: .*expected a JSON object"):
        listed_images(str(tmp_path / "list.jsonl"))


def test_paths_are_relative_to_the_list(tmp_path: Path) -> None:
    (tmp_path / "birds.jsonl").write_text(f"{json.dumps(ROW)}\n")
    (image,) = listed_images(str(tmp_path / "birds.jsonl"))
    assert image.file.name == "birds/a/1.png"
    assert image.file.url.removeprefix("file://") == str(tmp_path / "a/1.png")
    with pytest.raises(CorpusError, match=r"--list .*gone\.jsonl"):
        listed_images(str(tmp_path / "gone.jsonl"))
