"""Infinity's 15 shapes of images."""

from typing import Final

_TALL: Final = (1.0, 1.25, 1.333, 1.5, 1.75, 2.0, 2.5, 3.0)


def _swapped(aspect: float) -> float:
    """Return the name of a shape with height and width swapped, cut to three digits as Infinity's.

    The square is its own swapped shape.
    """
    return int(1000 / aspect) / 1000


ASPECTS: Final = tuple(dict.fromkeys(name for tall in _TALL for name in (tall, _swapped(tall))))
"""Height / width of each shape, from 0.333 to 3.0; on a tie the first one is chosen."""


def nearest_aspect(height: int, width: int) -> float:
    """Return the aspect that Infinity uses for an image of this size.

    Infinity's rule is the least |height / width - aspect|, the first of `ASPECTS` on a tie
    (get_h_div_w_template2indices in dynamic_resolution.py). The rule is not symmetric: a rotated
    image may get an aspect that is not the swapped one. VARGPT trains on squares only.

    Raises:
        ValueError: a side is not positive.

    >>> nearest_aspect(1080, 1920)
    0.571
    """
    if height < 1 or width < 1:
        raise ValueError(f"expected positive sides, got height {height}, width {width}")
    return min(ASPECTS, key=lambda aspect: abs(height / width - aspect))
