"""How far two images differ: levels, share of the pixels, and a measure of each type of edit.

All measures are taken at most `SIDE` px wide and high, so that they cost little and depend little
on the resolution. Levels are whole numbers, whose sums as float64 are exact in any order: a verdict
is the same on every processor.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE: Final = 256  # px
VISIBLE: Final = 8  # levels of 255; a pixel that differs by more in a channel has changed
_COLOURED: Final = 24  # levels of chroma

Levels: TypeAlias = NDArray[np.float32]
Level = TypeVar("Level", np.uint8, np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A source and its target."""

    source: Image.Image  # RGB
    target: Image.Image
    before: Levels  # (height, width, 3), 0..255, at most `SIDE` px
    after: Levels  # the target's in the same shape

    @property
    def differences(self) -> Levels:
        """The differences of the channel that differs most, (height, width)."""
        return largest(np.abs(self.after - self.before))


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A measure of the difference between two images, and what it has to reach."""

    meaning: str  # with the unit
    least: float  # of its size, without the sign
    of: Callable[[Compared], float]
    least_share: float = 0.02  # of the pixels that have changed
    least_difference: float = 12  # levels; mean of the changed pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """How far a target differs from its source."""

    meaning: str  # of `value`, with the unit
    value: float  # by the measure of the type of edit; signed where it has a direction
    least: float  # size that the type asks for
    difference: float  # mean over the changed pixels of their largest channel, 0..255 levels
    share: float  # of the pixels, 0..1, that differ by more than `VISIBLE` levels in a channel
    least_share: float
    least_difference: float  # levels

    def is_enough(self, sign: int = 0) -> bool:
        """Return whether the target differs as the type asks, in the direction of `sign`."""
        size = self.value * sign if sign else abs(self.value)
        seen = self.share >= self.least_share and self.difference >= self.least_difference
        return seen and size >= self.least


def change(measure: Measure, source: Image.Image, target: Image.Image) -> Change:
    """Measure how far a target differs from its source, both RGB.

    Where they have other sizes, the target is stretched to the shape of the source.
    """
    before, after = levels(source, target)
    compared = Compared(source=source, target=target, before=before, after=after)
    differences = compared.differences
    changed = differences > VISIBLE
    return Change(
        meaning=measure.meaning,
        value=round(measure.of(compared), 3),
        least=measure.least,
        difference=round(mean(differences[changed]), 3),
        share=round(float(changed.mean()), 5),
        least_share=measure.least_share,
        least_difference=measure.least_difference,
    )


def levels(*images: Image.Image) -> list[Levels]:
    """Return the levels of RGB images at the shape of the first: (height, width, 3), 0..255."""
    width, height = small_size(images[0])
    window = Image.Resampling.BOX
    return [np.asarray(i.resize((width, height), window), np.float32) for i in images]


def small_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an image, scaled down to `SIDE` px."""
    scale = min(1.0, SIDE / max(image.size))
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def grey(rgb: Levels) -> Levels:
    """Return the luminance, 0..255, in whole levels."""
    return np.rint(0.299 * rgb[..., 0] + 0.587 * rgb[..., 1] + 0.114 * rgb[..., 2])


def mean(values: Levels) -> float:
    """Return the mean; 0 for no value."""
    return float(values.sum(dtype=np.float64)) / max(1, values.size)


def deviation(values: Levels) -> float:
    """Return the standard deviation of whole numbers; 0 for no value."""
    squares = mean(np.square(values))
    return math.sqrt(max(0.0, squares - mean(values) ** 2))


def largest(rgb: NDArray[Level]) -> NDArray[Level]:
    """Return the largest channel of each pixel; much faster than `max` over three values."""
    return np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])


def smallest(rgb: NDArray[Level]) -> NDArray[Level]:
    """Return the smallest channel of each pixel."""
    return np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])


def chroma(rgb: Levels) -> Levels:
    """Return the largest channel minus the smallest, 0..255."""
    return largest(rgb) - smallest(rgb)


def mean_difference(pair: Compared) -> float:
    """Return the mean absolute difference of the changed pixels, in levels."""
    differences = pair.differences
    changed = differences > VISIBLE
    return mean(differences[changed])


def changed_percent(pair: Compared) -> float:
    """Return the share of the pixels that changed, in percent."""
    return 100 * float((pair.differences > VISIBLE).mean())


def hue_degrees(pair: Compared) -> float:
    """Return by how many degrees the hues turned, -180..180, weighted by chroma."""
    before, after = _hue_vectors(pair.before), _hue_vectors(pair.after)
    return math.degrees(float(np.angle(np.vdot(before, after))))


def chroma_percent(pair: Compared) -> float:
    """Return the change of the mean chroma in percent of the source's."""
    before, after = mean(chroma(pair.before)), mean(chroma(pair.after))
    return 100 * (after / before - 1) if before else 0.0


def brightness_levels(pair: Compared) -> float:
    """Return the mean change of the luminance of the changed pixels, in levels."""
    changed = pair.differences > VISIBLE
    change_of_grey = grey(pair.after) - grey(pair.before)
    return mean(change_of_grey[changed])


def contrast_percent(pair: Compared) -> float:
    """Return the change of the luminance's standard deviation in percent of the source's."""
    before, after = deviation(grey(pair.before)), deviation(grey(pair.after))
    return 100 * (after / before - 1) if before else 0.0


def sharpness_octaves(pair: Compared) -> float:
    """Return the base-2 logarithm of the ratio of both variances of the Laplacian."""
    before, after = (_laplacian_variance(grey(rgb)) for rgb in (pair.before, pair.after))
    return math.log2(after / before) if before and after else 0.0


def unlike_percent(pair: Compared) -> float:
    """Return 100 less the correlation of all levels in percent: 0 for equal images.

    A flip of a figure that is nearly symmetric has a few percent, though its pHash may be far.
    """
    together = mean(pair.before * pair.after) - mean(pair.before) * mean(pair.after)
    spread = deviation(pair.before) * deviation(pair.after)
    return 100 * (1 - together / spread) if spread else 0.0


def area_percent(pair: Compared) -> float:
    """Return the share of the source's area that a smaller target lacks, in percent."""
    target, source = pair.target, pair.source
    return 100 * (1 - target.width * target.height / (source.width * source.height))


def is_colourful(image: Image.Image) -> bool:
    """Return whether at least one pixel in fifty has a colour."""
    return float((chroma(levels(image)[0]) > _COLOURED).mean()) >= 0.02


def detail(rgb: Levels) -> Levels:
    """Return the size of the luminance's gradient, (height, width)."""
    down, across = np.gradient(grey(rgb))
    return np.sqrt(down**2 + across**2)


def _hue_vectors(rgb: Levels) -> NDArray[np.complex64]:
    red, green, blue = (rgb[..., n] for n in range(3))
    return ((red - (green + blue) / 2) + 1j * (math.sqrt(3) / 2) * (green - blue)).astype(
        np.complex64
    )


def _laplacian_variance(level: Levels) -> float:
    if min(level.shape) < 3:
        return 0.0
    beside = level[1:-1, :-2] + level[1:-1, 2:] + level[:-2, 1:-1] + level[2:, 1:-1]
    return deviation((4 * level[1:-1, 1:-1] - beside).astype(np.float32)) ** 2
