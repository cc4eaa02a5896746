"""Make each type of edit on real drawings: a table of measures, and a sheet of pictures a type.

    python tools/draw_edits.py docs/assets/edits --count 200 > edits-table.md

Half of the images are drawings of the bundled corpus, half Fluent emoji, which `make corpus-emoji`
fetches. The table is written as Markdown to the standard output. Ten minutes on 2 cores.
"""

import argparse
import json
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from filters.edits.cutouts import WHITE, on_colour
from filters.edits.edit_type import NotFitting
from filters.edits.registry import EDITS, MadeEdit, make_edit
from schemas.keys import rank, sample_key

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "tests/corpus/demo.jsonl"
EMOJI = ROOT / "build/fluent-emoji/fluent-emoji.jsonl"
SIDE = 512  # px, of the images that are edited
ALL = 10_000
SHOWN = 20  # edits on a sheet
COLUMNS = 4
THUMB, GAP, LINE = 116, 6, 12  # px
WORDS = 44  # characters a line
LINES = 8

Titled = tuple[Image.Image, str]


def load(file: Path) -> Image.Image:
    """Decode an image: RGBA where it has alpha, else RGB, at most `SIDE` px wide and high."""
    image = Image.open(file)
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image.thumbnail((SIDE, SIDE))
    return image


def images(rows_of: Path, column: str, count: int) -> list[Titled]:
    """Load images of a list, drawn by their names; not those that are damaged on purpose."""
    rows = [json.loads(line) for line in rows_of.read_text().splitlines()]
    clean = [row for row in rows if row.get(column, "").startswith(("openclipart/", "root/"))]
    files = {rows_of.parent / row[column]: row["title"] for row in clean}
    drawn = sorted(
        (file for file in files if file.is_file()), key=lambda file: rank(file.name, "edits")
    )[:count]
    return [(load(file), files[file]) for file in drawn]


def is_picture(image: Image.Image) -> bool:
    """Return whether an image has no transparent pixel."""
    return image.mode == "RGB" or bool(np.asarray(image.getchannel("A")).min() == 255)


def edits_of(
    name: str, given: Sequence[Titled], pictures: Sequence[Titled]
) -> tuple[list[MadeEdit], Counter[str], list[float]]:
    """Make one edit of each image; return them, the reasons of the others, and the CPU seconds."""
    made: list[MadeEdit] = []
    reasons: Counter[str] = Counter()
    seconds: list[float] = []
    for number, (image, title) in enumerate(given):
        others = [given[(number + step) % len(given)] for step in (31, 67, 101, 149)]
        others.append(pictures[number % len(pictures)])
        started = time.process_time()
        try:
            key = sample_key("edits", f"{name} {number}")
            made.append(make_edit(name, image, key, others=others, source_words=title))
        except NotFitting as error:
            reasons[str(error)] += 1
        seconds.append(time.process_time() - started)
    return made, reasons, seconds


def row(name: str, made: Sequence[MadeEdit], count: int, seconds: Sequence[float]) -> str:
    """Write one row of the table."""
    sizes = [abs(edit.change.value) for edit in made]
    low, middle = np.percentile(sizes, [5, 50])
    share = np.median([edit.change.share for edit in made])
    difference = np.median([edit.change.difference for edit in made])
    inverse = sum(bool(edit.inverse) for edit in made)
    return (
        f"| `{name}` | {len(made)} of {count} | {inverse} | {made[0].change.meaning} "
        f"| {made[0].change.least:g} | {low:.3g} | {middle:.3g} | {100 * share:.0f} % "
        f"| {difference:.0f} | {1000 * np.median(seconds):.0f} |"
    )


def sheet(made: Sequence[MadeEdit]) -> Image.Image:
    """Draw edits in a grid: source, target, and the words for both ways."""
    width, height = 2 * THUMB + 3 * GAP, THUMB + 3 * GAP + LINES * LINE
    rows = -(-len(made) // COLUMNS)
    drawn = Image.new("RGB", (COLUMNS * width, rows * height), (236, 238, 242))
    canvas, font = ImageDraw.Draw(drawn), ImageFont.load_default(10)
    for number, edit in enumerate(made):
        left, top = number % COLUMNS * width, number // COLUMNS * height
        for side, image in enumerate((edit.source, edit.image)):
            small = ImageOps.contain(on_colour(image, WHITE), (THUMB, THUMB))
            drawn.paste(small, (left + GAP + side * (THUMB + GAP), top + GAP))
        lines = [
            *textwrap.wrap(f"> {edit.instruction}", WORDS),
            *textwrap.wrap(f"< {edit.inverse or '(no way back)'}", WORDS),
        ]
        for line, text in enumerate(lines[:LINES]):
            place = (left + GAP, top + THUMB + 2 * GAP + line * LINE)
            canvas.text(place, text, fill=(20, 20, 40), font=font)
    return drawn


def main() -> None:
    """Write the sheets and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the sheets")
    parser.add_argument("--count", type=int, default=200, help="images")
    parser.add_argument("--types", nargs="*", default=[*EDITS])
    options = parser.parse_args()
    half = options.count // 2
    given = images(CORPUS, "url", half) + images(EMOJI, "path", options.count - half)
    pictures = [each for each in images(CORPUS, "url", ALL) if is_picture(each[0])]
    given.sort(key=lambda each: rank(each[1], "order"))
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.types:
        made, reasons, seconds = edits_of(name, given, pictures)
        print(row(name, made, len(given), seconds), flush=True)
        for reason, times in reasons.most_common(3):
            print(f"<!-- {times} x {reason} -->")
        sheet(made[:SHOWN]).save(options.out / f"{name}.webp", "WEBP", quality=60, method=6)


if __name__ == "__main__":
    main()
