"""Labels that a reader gave to images and to pairs of images; see tests/labels/README.md."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "tests/labels"
IMAGES = FOLDER / "openclipart_images.csv"
PAIRS = FOLDER / "openclipart_pairs.csv"
RECIPE = FOLDER / "judged.yaml"  # of the build that is compared with them
PNG = "root/usr/share/openclipart/png/"  # what paths are relative to

FINE = "fine"  # no other label holds
IMAGE_LABELS = (
    "blank",
    "almost_empty",
    "boilerplate_title",
    "boilerplate_description",
    "same",
    "variant",
    "text_heavy",
    "unsafe_crop",
    "unsafe",
    FINE,
)
PAIR_LABELS = ("same", "variant", "different")

# Code points of an emoji that only say how the same thing looks.
SKIN_TONES = range(0x1F3FB, 0x1F400)
GENDER_SIGNS = (0x2640, 0x2642)
JOINER, VARIATION_SELECTOR = 0x200D, 0xFE0F
LOOKS = frozenset({*SKIN_TONES, *GENDER_SIGNS, JOINER, VARIATION_SELECTOR})
# Men and women, boys and girls, and old people, by the code point without a gender.
WITHOUT_GENDER = {
    **dict.fromkeys((0x1F468, 0x1F469), 0x1F9D1),
    **dict.fromkeys((0x1F466, 0x1F467), 0x1F9D2),
    **dict.fromkeys((0x1F474, 0x1F475), 0x1F9D3),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """An image or a pair, its labels, and how many of the corpus it stands for."""

    paths: tuple[str, ...]  # one, or two of a pair, relative to PNG
    labels: frozenset[str]
    stratum: str
    stratum_size: int  # images or pairs of the stratum in the corpus
    weight: float  # stratum_size / labelled ones of the stratum


def read_images() -> list[Labelled]:
    """Read the labelled images of openclipart."""
    return _read(IMAGES, ("path",), "stratum_rows", "labels", IMAGE_LABELS)


def read_pairs() -> list[Labelled]:
    """Read the labelled pairs of openclipart."""
    return _read(PAIRS, ("a", "b"), "stratum_pairs", "label", PAIR_LABELS)


def _read(
    file: Path, paths: Sequence[str], size: str, labels: str, known: Sequence[str]
) -> list[Labelled]:
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    drawn = Counter(row["stratum"] for row in rows)
    for number, row in enumerate(rows, start=2):
        if foreign := {*row[labels].split()} - {*known}:
            raise ValueError(f"{file}:{number}: expected {', '.join(known)}, got {min(foreign)}")
    return [
        Labelled(
            paths=tuple(row[path] for path in paths),
            labels=frozenset(row[labels].split()),
            stratum=row["stratum"],
            stratum_size=int(row[size]),
            weight=int(row[size]) / drawn[row["stratum"]],
        )
        for row in rows
    ]


def emoji_family(name: str) -> tuple[int, ...]:
    """Return what is equal for emoji that differ only in skin tone or gender: code points.

    Args:
        name: code points in hex, joined by hyphens, as files of Fluent Emoji are named.

    >>> emoji_family("1f468-1f3fd-200d-1f680") == emoji_family("1f469-200d-1f680")
    True
    >>> emoji_family("31-fe0f-20e3") == emoji_family("0031-fe0f-20e3") != emoji_family("1f3fd")
    True
    """
    codes = [int(code, 16) for code in name.split("-")]
    family = [WITHOUT_GENDER.get(code, code) for code in codes if code not in LOOKS]
    return tuple(family or codes)  # a lone skin tone is an emoji of its own
