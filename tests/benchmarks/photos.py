"""Generated photos: JPEGs with as many bits a pixel as real ones, and no two alike."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

FIELDS = 6  # drawn for each size; photos are these, shifted around, with other light
FALL = 0.7  # of the amplitude from one octave to the next
NOISE = 3.0  # of the sensor, levels
# At quality 90, 2.1 bits a pixel at 640 x 480: those of six photos of scikit-image are 1.4 to 2.6.
QUALITY = 90


def photos(width: int, height: int, count: int) -> Iterator[bytes]:
    """Yield JPEG files, the same for the same arguments."""
    fields = [_field(seed, width, height) for seed in range(FIELDS)]
    rng = np.random.default_rng(count)
    for number in range(count):
        shift = (int(rng.integers(height)), int(rng.integers(width)))
        field = np.roll(fields[number % FIELDS], shift, (0, 1))
        levels = field * np.float32(rng.uniform(0.8, 1.2)) + np.float32(rng.uniform(-20, 20))
        file = io.BytesIO()
        pixels = levels.clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
        yield file.getvalue()


def _field(seed: int, width: int, height: int) -> np.ndarray:
    """Return octaves of noise as float32 [H, W, 3], mostly grey, as the colours of nature are."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    side, amplitude = 4, 50.0
    while side <= max(width, height):
        rows, columns = (max(2, side * length // max(width, height)) for length in (height, width))
        small = rng.normal(size=(rows, columns, 3)).astype(np.float32)
        small = 1.2 * small.mean(2, keepdims=True) + 0.3 * small
        total += np.float32(amplitude) * _resized(small, width, height)
        side, amplitude = 2 * side, amplitude * FALL
    return total + np.float32(110) + rng.normal(0, NOISE, total.shape).astype(np.float32)


def _resized(small: np.ndarray, width: int, height: int) -> np.ndarray:
    bands = [
        Image.fromarray(np.ascontiguousarray(small[..., band])).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for band in range(3)
    ]
    return np.stack([np.asarray(band) for band in bands], -1)
