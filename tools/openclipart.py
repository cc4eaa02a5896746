"""Fetch Debian's openclipart, list all of it, or pick the small set bundled with the tests.

    python tools/openclipart.py fetch [DIR]   # download and unpack, no root needed
    python tools/openclipart.py list [DIR]    # write DIR/openclipart.jsonl
    python tools/openclipart.py pick [DIR]    # rewrite the bundled set

The bundled set is drawn by hash, with no choice by hand. From the clips in the public domain with a
short side of at least 256 px, a title, two tags and at most 100 kB, it has the first 150 with a
description of three words or more and the first 150 without.
"""

import argparse
import hashlib
import itertools
import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from clips import Clip, Row, package_version, read_clips, share_folder
from wild import CorpusFile, check_sources, wild_files, wild_rows

BUNDLED = Path(__file__).parent.parent / "tests/corpus"
UNPACKED = Path("build/openclipart")
PACKAGES = ("openclipart-png", "openclipart-svg")
CLIPS_PER_HALF = 150
BYTES_PER_HALF = 4_500_000
FILE_BYTES_MAX = 100_000
SHORT_SIDE_MIN = 256  # px
PIXELS_MAX = 89_000_000  # where Pillow begins to warn of a decompression bomb


def fetch(folder: Path) -> None:
    """Download both packages into `folder` and unpack them there, unless that was done before.

    Raises:
        SystemExit: apt is missing, or could not download.
    """
    if share_folder(folder).exists():
        return
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise SystemExit(
            "apt-get and dpkg-deb are needed and were not found: on another system, unpack the "
            f"Debian packages {' and '.join(PACKAGES)} into {folder / 'root'} by other means"
        )
    folder.mkdir(parents=True, exist_ok=True)
    unpacking = folder / "root.part"
    try:
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=folder, check=True)
        for package in sorted(folder.glob("openclipart-*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(package), str(unpacking)], check=True)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error}; does `apt-get update` help?") from error
    unpacking.rename(folder / "root")


def write_list(folder: Path) -> None:
    """Write `openclipart.jsonl`: one row for each of the 6,900 PNGs, paths relative to it."""
    clips = list(read_clips(folder))
    rows = ({"path": clip.file.relative_to(folder).as_posix(), **clip.row()} for clip in clips)
    write_jsonl(folder / "openclipart.jsonl", rows)
    unread = sum(bool(clip.about.problem) for clip in clips)
    print(f"{folder / 'openclipart.jsonl'}: {len(clips)} clips, {unread} with an unreadable SVG")


def pick(folder: Path, into: Path = BUNDLED) -> None:
    """Write the bundled and the wild images, the URL list and the provenance of all images."""
    clips = {clip.path: clip for clip in read_clips(folder)}
    bundled = choose(clips.values())
    check_sources(clips, {clip.path for clip in bundled})
    files = [*map(untouched, bundled), *wild_files(clips)]
    for images in ("openclipart", "wild"):
        shutil.rmtree(into / images, ignore_errors=True)
    for file in files:
        write_file(into / file.name, file.body)
    real_rows = [{"url": quote(f"openclipart/{clip.path}"), **clip.row()} for clip in bundled]
    write_jsonl(into / "demo.jsonl", [*real_rows, *wild_rows(clips)])
    version = package_version(folder)
    write_jsonl(into / "provenance.jsonl", (provenance(file, version) for file in files))
    print(f"{len(bundled)} clips bundled, {len(files) - len(bundled)} files made to go wrong")


def choose(clips: Iterable[Clip]) -> list[Clip]:
    """Draw the bundled set, half of it from the clips with a description, ordered by path."""
    fit = [clip for clip in clips if is_fit(clip)]
    described = draw(clip for clip in fit if has_description(clip))
    others = draw(clip for clip in fit if not has_description(clip))
    return sorted([*described, *others], key=lambda clip: clip.path)


def is_fit(clip: Clip) -> bool:
    """Return whether a clip may be bundled: free, large enough, small enough, and named."""
    return (
        clip.is_public_domain
        and min(clip.width, clip.height) >= SHORT_SIDE_MIN
        and clip.width * clip.height <= PIXELS_MAX
        and clip.size_bytes <= FILE_BYTES_MAX
        and bool(clip.about.title)
        and len(clip.about.tags) >= 2
    )


def has_description(clip: Clip) -> bool:
    """Return whether the description has three words or more."""
    return len(clip.about.text.split()) >= 3


def draw(clips: Iterable[Clip]) -> list[Clip]:
    """Take the first clips by the hash of their paths, up to a number and a total of bytes."""
    drawn = sorted(clips, key=lambda clip: clip.digest)[:CLIPS_PER_HALF]
    totals = itertools.accumulate(clip.size_bytes for clip in drawn)
    return [clip for clip, total in zip(drawn, totals, strict=True) if total <= BYTES_PER_HALF]


def untouched(clip: Clip) -> CorpusFile:
    """Return the file of a bundled clip: the package's own bytes."""
    body = clip.file.read_bytes()
    return CorpusFile(name=f"openclipart/{clip.path}", clip=clip, derived="", body=body)


def provenance(file: CorpusFile, version: str) -> Row:
    """Return the origin of a file and its sha256."""
    about = file.clip.about
    return {
        "file": file.name,
        "sha256": hashlib.sha256(file.body).hexdigest(),
        "package": "openclipart-png",
        "version": version,
        "path": file.clip.path,
        "title": about.title,
        "author": about.author,
        "licence": about.licence,
        "derived": file.derived,
    }


def write_file(path: Path, body: bytes) -> None:
    """Write a file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object per line, in ASCII."""
    write_file(path, "".join(f"{json.dumps(row)}\n" for row in rows).encode())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = {"fetch": fetch, "list": write_list, "pick": pick}
    parser.add_argument("command", choices=list(commands))
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path, default=UNPACKED)
    chosen = parser.parse_args(arguments)
    try:
        commands[chosen.command](chosen.folder)
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
