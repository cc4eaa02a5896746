from collections import Counter
from pathlib import Path

import pytest

from filters.decode import DecodeError, decode

FOLDER = Path(__file__).parents[2] / "build" / "pillow-images"
REASONS = {
    "not_an_image",
    "unsupported_image",
    "too_many_pixels",
    "truncated_image",
    "corrupt_image",
    "out_of_memory",
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:::PIL"),  # pytest undoes the filter of decode.py
    pytest.mark.skipif(
        not FOLDER.is_dir(),
        reason="build/pillow-images is absent: unpack Tests/images of Pillow's source distribution",
    ),
]


def outcome(path: Path) -> str:
    try:
        image = decode(path.read_bytes(), max_pixels=50_000_000)
    except DecodeError as error:
        assert " at 0x" not in error.detail  # an address would differ in every run
        return error.reason
    assert image.mode == "RGB"
    assert not image.info
    return "decoded"


def test_each_of_pillows_hostile_images_is_decoded_or_refused_with_a_reason() -> None:
    files = sorted(path for path in FOLDER.rglob("*") if path.is_file())
    outcomes = {path.name: outcome(path) for path in files}
    assert set(outcomes.values()) <= REASONS | {"decoded"}
    counts = Counter(outcomes.values())
    assert counts["decoded"] > len(files) / 2
    assert outcomes["truncated_jpeg.jpg"] == "truncated_image"
    assert outcomes["decompression_bomb.gif"] == "too_many_pixels"
    assert outcomes["hopper_gray.jpg"] == "decoded"
