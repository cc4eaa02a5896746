import json
from pathlib import Path

import emoji_likeness
import pytest
from emoji_likeness import likeness
from PIL import Image

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(autouse=True)
def emoji(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An emoji that is red in its left half, and transparent in its right one."""
    picture = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    picture.paste(RED, (0, 0, 128, 256))
    picture.save(tmp_path / "half.webp", lossless=True)
    row = {"title": "red half", "path": "half.webp"}
    (tmp_path / "fluent-emoji.jsonl").write_text(f"{json.dumps(row)}\n")
    monkeypatch.setattr(emoji_likeness, "UNPACKED", tmp_path)
    emoji_likeness._paths.cache_clear()
    emoji_likeness._real.cache_clear()


def half(left: tuple[int, int, int], right: tuple[int, int, int]) -> Image.Image:
    picture = Image.new("RGB", (128, 128), right)
    picture.paste(left, (0, 0, 64, 128))
    return picture


def test_what_is_transparent_is_white() -> None:
    assert likeness([half(RED, (255, 255, 255))], ["red half"]) == [1.0]


def test_wrong_colours_cost_their_share() -> None:
    images = [half(BLUE, (255, 255, 255)), half(BLUE, (0, 0, 0))]
    assert likeness(images, ["red half"] * 2) == pytest.approx([1 - 1 / 3, 1 - (1 / 3 + 1 / 2)])


def test_a_prompt_that_names_no_emoji_is_an_error() -> None:
    with pytest.raises(KeyError, match="green half"):
        likeness([half(RED, RED)], ["green half"])
