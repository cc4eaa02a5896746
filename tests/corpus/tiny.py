"""A corpus of a few drawn images that builds in seconds."""

import os
import shutil
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from pipelines.build import build
from pipelines.engines.engine import Engine
from schemas.recipe import Recipe
from schemas.recipe_file import parse_recipe

TOKENS = {"tokenizers": [{"tokenizer": "infinity_bsq", "preset": "bundled", "resolutions": [128]}]}
BASE: dict[str, Any] = {
    "name": "tiny",
    "rows_per_shard": 2,
    "dedup": {"phash_distance": None},
    "shard": {"samples": 2},
    "vq_tokens": TOKENS,
}


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """A folder of images with captions, and where it is built."""

    folder: Path

    @property
    def out(self) -> Path:
        """Folder of the corpus."""
        return self.folder / "out"

    def recipe(self, **parts: Any) -> Recipe:
        """Return the recipe, of one source unless `sources` says otherwise."""
        sources = [{"name": "pics", "kind": "folder", "path": str(self.folder / "images")}]
        return parse_recipe({**BASE, "sources": sources, **parts})

    def write_recipe(self, **parts: Any) -> str:
        """Write the recipe as a file beside the images."""
        path = self.folder / "r.yaml"
        sources = [{"name": "pics", "kind": "folder", "path": "images"}]
        path.write_text(yaml.safe_dump({**BASE, "sources": sources, **parts}))
        return str(path)

    def build(self, recipe: Recipe | None = None, **options: Any) -> dict[str, Any]:
        """Build in this process."""
        return build(recipe or self.recipe(), str(self.out), Engine(processes=1), **options)

    def keep(self) -> None:
        """Keep all that lies here beside it, for `lay_anew`."""
        _copied(self.folder, _kept(self.folder))

    def lay_anew(self) -> None:
        """Bring back what was kept, to the same place: a corpus is fresh as it was."""
        shutil.rmtree(self.folder)
        _copied(_kept(self.folder), self.folder)

    def files(self) -> dict[str, bytes]:
        """Read every file of the corpus but the log and the report, which tell the time."""
        return {
            str(path.relative_to(self.out)): path.read_bytes()
            for path in sorted(self.out.rglob("*"))
            if path.is_file() and path.name not in ("build_log.jsonl", "report.html", ".lock")
        }


def _kept(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-kept")


def _copied(old: Path, new: Path) -> None:
    """Copy a folder; images are linked, as a listing tells them by their inode."""
    shutil.copytree(old, new, ignore=lambda path, _: ["images"] if Path(path) == old else [])
    shutil.copytree(old / "images", new / "images", copy_function=os.link)


def draw_images(folder: Path, numbers: Iterable[int]) -> None:
    """Draw an image for each number, with a caption beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    x = np.linspace(0, 1, 160)[None, :, None]
    y = np.linspace(0, 1, 150)[:, None, None]
    for number in numbers:
        phase = np.array([0.3, 1.1, 2.3]) * (number + 1)
        waves = np.sin((3 + number % 5) * 3 * x + phase) + np.cos((2 + number % 7) * 3 * y - phase)
        pixels = np.uint8(127.5 + 50 * (waves + 0.5 * np.sin(40 * (number + 1) * x * y)))
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a drawing of thing number {number} in colour")


def write_tar(path: Path, images: Path, numbers: range) -> None:
    """Pack drawn images and their captions as samples."""
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            for end in ("png", "txt"):
                tar.add(images / f"{number}.{end}", f"{number:05d}.{end}")
