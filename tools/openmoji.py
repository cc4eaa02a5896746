"""Fetch OpenMoji, draw its SVGs as PNGs, and list them with their titles and tags.

    python tools/openmoji.py fetch [DIR]   # download and unpack, with npm
    python tools/openmoji.py draw [DIR]    # draw DIR/png/*.png, 256 px, with transparency
    python tools/openmoji.py list [DIR]    # write DIR/openmoji.jsonl

OpenMoji 17 has 4,495 colour SVGs under CC BY-SA 4.0. The names of its files are code points, as
those of Fluent Emoji are, so the same emoji of both can be found.
"""

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from clips import Row
from fluent_emoji import download, require_npm
from openclipart import write_file, write_jsonl

UNPACKED = Path("build/openmoji")
PACKAGE = "openmoji@17.0.0"
SIDE = 256  # px
DRAWN_AT_ONCE = 64  # files per task of a process


def svg_folder(folder: Path) -> Path:
    """Return the folder of the colour SVGs unpacked in `folder`."""
    return folder / "root/package/color/svg"


def labels_file(folder: Path) -> Path:
    """Return the file of titles and tags unpacked in `folder`."""
    return folder / "root/package/data/openmoji.json"


def fetch(folder: Path) -> None:
    """Download the package and unpack it into `folder`/root, unless that was done before.

    Raises:
        SystemExit: npm is missing, or could not download.
        tarfile.FilterError: the package would write outside its folder.
    """
    if (folder / "root").exists():
        return
    require_npm(PACKAGE, folder / "root")
    unpacking = folder / "root.part"
    shutil.rmtree(unpacking, ignore_errors=True)
    download(PACKAGE, unpacking)
    unpacking.rename(folder / "root")


def draw(folder: Path) -> None:
    """Draw each SVG that has no PNG yet.

    Raises:
        FileNotFoundError: there is no SVG.
    """
    wanted = [svg for svg in read_svgs(folder) if not png_file(folder, svg).exists()]
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        list(processes.map(partial(draw_one, folder), wanted, chunksize=DRAWN_AT_ONCE))
    print(f"{folder / 'png'}: {len(wanted)} images drawn")


def draw_one(folder: Path, svg: Path) -> None:
    """Draw one SVG; texts in it are not drawn, as fonts differ from machine to machine."""
    from resvg_py import svg_to_bytes

    png = svg_to_bytes(
        svg_string=svg.read_text(encoding="utf-8"), width=SIDE, height=SIDE, skip_system_fonts=True
    )
    part = png_file(folder, svg).with_suffix(".part")
    write_file(part, png)
    part.rename(png_file(folder, svg))


def png_file(folder: Path, svg: Path) -> Path:
    """Return the PNG of an SVG, named by its code points in lower case."""
    return folder / "png" / f"{svg.stem.lower()}.png"


def write_list(folder: Path) -> None:
    """Write `openmoji.jsonl`: one row for each of the 4,495 images, paths relative to it.

    Raises:
        FileNotFoundError: an SVG has not been drawn, or nothing was fetched.
    """
    labels = {label["hexcode"]: label for label in read_labels(folder)}
    rows = [row(folder, svg, labels[svg.stem], labels) for svg in read_svgs(folder)]
    write_jsonl(folder / "openmoji.jsonl", rows)
    print(f"{folder / 'openmoji.jsonl'}: {len(rows)} images")


def read_svgs(folder: Path) -> list[Path]:
    """Return every colour SVG unpacked in `folder`, ordered by name.

    Raises:
        FileNotFoundError: there is no SVG.
    """
    svgs = sorted(svg_folder(folder).glob("*.svg"))
    if not svgs:
        raise FileNotFoundError(f"no *.svg in {svg_folder(folder)}: run `fetch` first")
    return svgs


def read_labels(folder: Path) -> list[dict[str, str]]:
    """Return the titles and tags of all emoji.

    Raises:
        FileNotFoundError: the file is missing.
    """
    if not labels_file(folder).exists():
        raise FileNotFoundError(f"no {labels_file(folder)}: run `fetch` first")
    return json.loads(labels_file(folder).read_bytes())


def row(folder: Path, svg: Path, label: dict[str, str], labels: dict[str, dict[str, str]]) -> Row:
    """Return the line of one image; a skin tone, which has no tags, has those of its emoji.

    Raises:
        FileNotFoundError: the image has not been drawn.
    """
    png = png_file(folder, svg)
    if not png.exists():
        raise FileNotFoundError(f"no {png}: run `draw` first")
    tagged = labels.get(label["skintone_base_hexcode"], label)
    return {
        "path": png.relative_to(folder).as_posix(),
        "title": label["annotation"],
        "text": "",
        "tags": tags(tagged),
        "licence": "https://creativecommons.org/licenses/by-sa/4.0/",
        "author": label["openmoji_author"],
    }


def tags(label: dict[str, str]) -> list[str]:
    """Return Unicode's and OpenMoji's tags, each once.

    >>> tags({"tags": "face, grin", "openmoji_tags": "smile, face"})
    ['face', 'grin', 'smile']
    """
    found = f"{label['tags']},{label['openmoji_tags']}".split(",")
    return list(dict.fromkeys(tag.strip() for tag in found if tag.strip()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = {"fetch": fetch, "draw": draw, "list": write_list}
    parser.add_argument("command", choices=list(commands))
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path, default=UNPACKED)
    chosen = parser.parse_args(arguments)
    try:
        commands[chosen.command](chosen.folder)
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
