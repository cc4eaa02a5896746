import pytest
from PIL import Image

from filters.crop_loss import CropLoss
from filters.signal import Record


def loss(size: tuple[int, int], **settings: str) -> float:
    image = Image.new("RGB", size)
    record = Record(image=image, file_bytes=1, text="", title="", tags=())
    [value] = CropLoss(**settings).measure([record])["crop_loss"]
    return float(value)


@pytest.mark.parametrize(
    ("size", "expected"), [((512, 512), 0.0), ((640, 480), 0.25), ((300, 1200), 0.75)]
)
def test_a_square_cuts_away_the_longer_side(size: tuple[int, int], expected: float):
    assert loss(size) == pytest.approx(expected)


def test_a_bucket_cuts_away_what_lies_outside_the_nearest_shape():
    assert loss((640, 480), aspects="buckets") == pytest.approx(0, abs=1e-3)
    assert loss((4000, 1000), aspects="buckets") == pytest.approx(1 - 0.25 / 0.333)


def test_other_shapes_are_an_error():
    with pytest.raises(ValueError, match="aspects: expected square or buckets, got 'round'"):
        CropLoss(aspects="round")
