"""Captions with the places of what they name: one JSON form, read from the forms of models."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from filters.captions.json_answers import AnswerError, json_in, written
from filters.captions.unwrapping import after_thought
from filters.cleaning import is_visible, without_controls
from schemas.markers import marker_in

MOST_REGIONS: Final = 200
MOST_LABEL_CHARS: Final = 300
FLORENCE_BINS: Final = 1000  # a box's sides are counted in them
_DIGITS: Final = 4  # of a share that is stored: 0.1 px of 1,000
_PLACE = re.compile(r"<loc_(\d{1,4})>")
_RUN = re.compile(r"(?:<loc_\d{1,4}>)+")

Box = tuple[float, float, float, float]
"""Left, top, right, bottom: shares of the image's width and height, 0 to 1."""

REGIONS_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "caption": {"type": "string"},
        "regions": {
            "type": "array",
            "maxItems": MOST_REGIONS,
            "items": {
                "type": "object",
                "properties": {
                    "label": {"type": "string"},
                    "box": {
                        "type": "array",
                        "items": {"type": "number", "minimum": 0, "maximum": 1},
                        "minItems": 4,
                        "maxItems": 4,
                    },
                },
                "required": ["label", "box"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["caption", "regions"],
    "additionalProperties": False,
}
"""JSON schema of the one form; a server that decodes by schemas can be given it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A thing in an image."""

    label: str
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """A caption and its regions; the caption is '' where a model writes none."""

    caption: str
    regions: tuple[Region, ...]

    def json(self) -> str:
        """Return the one form, as it is stored: boxes as shares with four digits."""
        listed = [{"label": each.label, "box": [*each.box]} for each in self.regions]
        return written({"caption": self.caption, "regions": listed})

    def words(self) -> str:
        """Return the caption and each label once, a line each."""
        return "\n".join(dict.fromkeys([self.caption, *(each.label for each in self.regions)]))


def read_regions(answer: str, size: tuple[int, int] | None = None) -> Regions:
    """Read an answer in the form of REGIONS_SCHEMA, of Qwen-VL, or of Florence-2.

    Qwen2.5-VL writes `[{"bbox_2d": [x0, y0, x1, y1], "label": "..."}]` in pixels of the image that
    it saw; Qwen2-VL and Qwen3-VL count in thousandths, so their `size` is (1000, 1000). Florence-2
    writes `label<loc_x0><loc_y0><loc_x1><loc_y1>`, counted in thousandths, with the mean of a bin
    as its place. A region that stands twice is one.

    Args:
        answer: as the model wrote it.
        size: width and height that `bbox_2d` counts in; None if there may be no `bbox_2d`.

    Raises:
        AnswerError: there is no region, too many, or one without a label, outside the image, or
            with no area.
    """
    text = after_thought(answer)
    caption, found = _of_florence(text) if _PLACE.search(text) else _of_json(text, size)
    regions = tuple(dict.fromkeys(found))
    if not 0 < len(regions) <= MOST_REGIONS:
        raise AnswerError(f"expected 1 to {MOST_REGIONS} regions, found {len(regions)}")
    return Regions(caption=_words(caption), regions=regions)


def _of_json(text: str, size: tuple[int, int] | None) -> tuple[str, list[Region]]:
    found = json_in(text)
    if isinstance(found, list):
        return "", [_region(each, size) for each in cast(list[Any], found)]
    caption, regions = found.get("caption", ""), found.get("regions")
    if not isinstance(caption, str) or not isinstance(regions, list):
        raise AnswerError(f"expected a caption and a list of regions, found {found!r:.80}")
    return caption, [_region(each, size) for each in cast(list[Any], regions)]


def _region(value: Any, size: tuple[int, int] | None) -> Region:
    if not isinstance(value, dict):
        raise AnswerError(f"expected a region, found {value!r:.80}")
    entry = cast(dict[str, Any], value)
    if "box" in entry:
        return _made(entry.get("label"), entry["box"], (1, 1))
    if "bbox_2d" in entry and size:
        return _made(entry.get("label"), entry["bbox_2d"], size)
    raise AnswerError(f"expected a box of shares, found {entry!r:.80}")


def _of_florence(text: str) -> tuple[str, Iterator[Region]]:
    plain = text.replace("</s>", "").replace("<s>", "").replace("<pad>", "")
    return "", _florence_regions(plain)


def _florence_regions(text: str) -> Iterator[Region]:
    """Yield a region for every four places; what stands before them is the label."""
    end = 0
    for run in _RUN.finditer(text):
        label, end = text[end : run.start()], run.end()
        places = [(int(n) + 0.5) / FLORENCE_BINS for n in _PLACE.findall(run[0])]
        if len(places) % 4:
            raise AnswerError(
                f"expected four places a box, found {len(places)} after {label!r:.80}"
            )
        for n in range(0, len(places), 4):
            yield _made(label, places[n : n + 4], (1, 1))
    if text[end:].strip():
        raise AnswerError(f"expected places after {text[end:]!r:.80}")


def _made(label: Any, box: Any, size: tuple[int, int]) -> Region:
    sides = cast(list[Any], box) if isinstance(box, list) else []
    if len(sides) != 4 or any(type(side) not in (int, float) for side in sides):
        raise AnswerError(f"expected four numbers as a box, found {box!r:.80}")
    if not isinstance(label, str) or not is_visible(label) or len(label) > MOST_LABEL_CHARS:
        raise AnswerError(f"expected a label for a box, found {label!r:.80}")
    # Compared before they are divided: an integer of JSON can be too large for a float.
    if any(not 0 <= side <= size[n % 2] for n, side in enumerate(sides)):
        raise AnswerError(f"the box {sides!r:.80} is outside of {size[0]} x {size[1]}")
    left, top, right, bottom = (round(side / size[n % 2], _DIGITS) for n, side in enumerate(sides))
    if left >= right or top >= bottom:
        raise AnswerError(f"the box {sides!r:.80} has no area")
    return Region(label=_words(label), box=(left, top, right, bottom))


def _words(text: str) -> str:
    if marker := marker_in(text):
        raise AnswerError(f"a label or caption holds {marker}")
    return " ".join(without_controls(text).split())
