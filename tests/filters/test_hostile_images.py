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


def outcome(path: Path) -> tuple[str, str]:
    """Return the reason and the detail of a refusal, or how the image came out."""
    try:
        image = decode(path.read_bytes(), max_pixels=50_000_000)
    except DecodeError as error:
        return error.reason, error.detail
    return "decoded", f"{image.mode} {image.info}"


def test_each_of_pillows_hostile_images_is_decoded_or_refused_with_a_reason() -> None:
    outcomes = {path.name: outcome(path) for path in FOLDER.rglob("*") if path.is_file()}
    counts = Counter(reason for reason, _ in outcomes.values())
    assert set(counts) <= REASONS | {"decoded"}
    assert counts["decoded"] > len(outcomes) / 2
    assert {detail for reason, detail in outcomes.values() if reason == "decoded"} == {"RGB {}"}
    # An address in a message would make every run's dead letters differ.
    assert not [detail for _, detail in outcomes.values() if " at 0x" in detail]
    assert outcomes["truncated_jpeg.jpg"][0] == "truncated_image"
    assert outcomes["decompression_bomb.gif"][0] == "too_many_pixels"
    assert outcomes["hopper_gray.jpg"][0] == "decoded"
