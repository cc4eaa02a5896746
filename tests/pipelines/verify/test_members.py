"""Members of a sample against what the manifest and the recipe say of them."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from filters.colour_layout import colour_layout
from pipelines.verify.members import array_faults, image_faults
from schemas.recipe import ShardConfig

CODES: dict[str, Any] = {
    "member": "tokens256.npy",
    "kind": "codes",
    "schedules": {"1.0": "1x1 2x2", "2.0": "1x1 4x2"},
    "codes_dtype": "uint32",
    "codes_limit": 100,
    "code_words": 1,
    "views": 1,
}
FEATURES = {**CODES, "kind": "features", "dtype": "float16", "channels": 3}


def faults(made: dict[str, Any], array: np.ndarray, aspect: float = 1.0) -> list[str]:
    file = io.BytesIO()
    np.save(file, array)
    return list(array_faults(made, file.getvalue(), aspect))


@pytest.mark.parametrize(
    ("made", "array", "aspect"),
    [
        (CODES, np.zeros(5, np.uint32), 1.0),
        (CODES, np.full(9, 99, np.uint32), 2.0),
        (CODES | {"code_words": 2}, np.zeros((5, 2), np.uint32), 1.0),
        (CODES | {"views": 3}, np.zeros((3, 5), np.uint32), 1.0),
        (FEATURES, np.zeros((3, 2, 2), np.float16), 1.0),
        (FEATURES | {"views": 2}, np.zeros((2, 3, 4, 2), np.float16), 2.0),
    ],
)
def test_arrays_as_described_have_no_fault(made: dict, array: np.ndarray, aspect: float) -> None:
    assert faults(made, array, aspect) == []


@pytest.mark.parametrize(
    ("made", "array", "aspect", "message"),
    [
        (CODES, np.zeros(9, np.uint32), 1.0, "uint32 (9,), expected uint32 (5,)"),
        (CODES, np.zeros(5, np.uint16), 1.0, "uint16 (5,), expected uint32 (5,)"),
        (CODES, np.full(5, 100, np.uint32), 1.0, "code 100, the limit is 100"),
        (CODES, np.zeros(5, np.uint32), 0.5, "aspect 0.5 is not one of the manifest's"),
        (FEATURES, np.full((3, 2, 2), np.nan, np.float16), 1.0, "NaN or infinite features"),
        (FEATURES, np.zeros((2, 2, 2), np.float16), 1.0, "expected float16 (3, 2, 2)"),
    ],
)
def test_what_is_not_as_described_is_named(
    made: dict, array: np.ndarray, aspect: float, message: str
) -> None:
    (fault,) = faults(made, array, aspect)
    assert fault.startswith("tokens256.npy: ")
    assert message in fault


def test_a_file_that_is_no_array_or_would_run_code_is_a_fault() -> None:
    (fault,) = array_faults(CODES, b"no array", 1.0)
    assert fault.startswith("tokens256.npy: ")
    file = io.BytesIO()
    np.save(file, np.array([{}]), allow_pickle=True)
    (fault,) = array_faults(CODES, file.getvalue(), 1.0)
    assert "pickle" in fault.lower()


PICTURE = Image.radial_gradient("L").convert("RGB").resize((90, 64))


def jpeg(**options: Any) -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, "JPEG", **options)
    return file.getvalue()


def image_messages(jpg: bytes, measured: tuple[int, int] = (90, 64), **settings: Any) -> list[str]:
    """Check the image of a sample of 90 x 64 px whose fetched image was measured as given."""
    width, height = measured
    signals = {"width": width, "height": height, "colour_layout": colour_layout(PICTURE)}
    sample = {"width": 90, "height": 64, "signals": signals}
    return list(image_faults(jpg, sample, ShardConfig(short_side=64, **settings)))


def test_an_image_is_one_that_the_writer_encodes_or_keeps() -> None:
    for fine in (jpeg(quality=95), jpeg(quality=40), jpeg(progressive=True, optimize=True)):
        assert image_messages(fine) == []
    assert image_messages(jpeg(quality=95), reencode="always") == []
    assert image_messages(jpeg(quality=95), (180, 128)) == []


@pytest.mark.parametrize(
    ("jpg", "said"),
    [
        (jpeg(exif=b"Exif\0\0mine"), "jpg: holds more than pixels"),
        (jpeg(comment=b"mine"), "jpg: holds more than pixels"),
        (jpeg() + b"mine", "jpg: bytes after its end, or no mark of its end"),
        (jpeg(quality=40, comment=b"mine"), "jpg: not of quality 95"),
    ],
)
def test_an_image_that_is_neither_is_a_fault(jpg: bytes, said: str) -> None:
    assert said in image_messages(jpg)


def test_an_image_that_must_be_encoded_has_the_quality_of_the_recipe() -> None:
    said = ["jpg: not of quality 95"]
    assert image_messages(jpeg(quality=40), reencode="always") == said
    assert image_messages(jpeg(quality=40), (180, 128)) == said  # it was shrunk
