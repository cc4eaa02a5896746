"""Small sources of edits, conversations and preferences, in the layouts of well-known sets."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageFilter, ImageOps

SIZE = (96, 80)  # px


def drawing(number: int) -> Image.Image:
    """Return a small picture, another one for each number."""
    x, y = np.meshgrid(np.linspace(0, 1, SIZE[0]), np.linspace(0, 1, SIZE[1]))
    phase = np.array([0.4, 1.3, 2.2]) * (number + 1)
    waves = np.sin((2 + number % 5) * 4 * x[..., None] + phase) + np.cos(5 * y[..., None] - phase)
    return Image.fromarray(np.uint8(127 + 60 * waves))


def png(image: Image.Image) -> bytes:
    """Return an image as PNG."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def embedded(image: Image.Image) -> dict[str, Any]:
    """Return an image as `datasets` embeds it."""
    return {"bytes": png(image), "path": None}


def write_parquet(folder: Path, rows: Sequence[dict[str, Any]]) -> str:
    """Write rows as a data set of one file; return its folder."""
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "train-00000-of-00001.parquet")
    return str(folder)


def instruct_pix2pix(folder: Path, count: int = 4) -> dict[str, Any]:
    """Write edits with both images in a row; the last edit changes nothing."""
    rows = [
        {
            "original_prompt": f"a drawing of thing {n}",
            "original_image": embedded(drawing(n)),
            "edit_prompt": f"Invert the colours of thing {n}",
            "edited_prompt": f"an inverted drawing of thing {n}",
            "edited_image": embedded(drawing(n) if n == count - 1 else ImageOps.invert(drawing(n))),
        }
        for n in range(count)
    ]
    return {
        "name": "pix2pix",
        "kind": "huggingface",
        "path": write_parquet(folder / "pix2pix", rows),
        "subset": "edit",
        "image": "edited_image",
        "columns": {
            "input": "original_image",
            "text": "edit_prompt",
            "keep": ["original_prompt", "edited_prompt"],
        },
    }


def hq_edit(folder: Path, count: int = 2) -> dict[str, Any]:
    """Write edits that come with their inverse."""
    rows = [
        {
            "input": f"a drawing of thing {10 + n}",
            "input_image": embedded(drawing(10 + n)),
            "edit": f"Mirror thing {n}",
            "inverse_edit": f"Mirror thing {n} back",
            "output": "a mirrored drawing",
            "output_image": embedded(ImageOps.mirror(drawing(10 + n))),
        }
        for n in range(count)
    ]
    return {
        "name": "hq-edit",
        "kind": "huggingface",
        "path": write_parquet(folder / "hq-edit", rows),
        "subset": "edit",
        "image": "output_image",
        "columns": {"input": "input_image", "text": "edit", "inverse": "inverse_edit"},
        "licence": "CC-BY-NC-4.0",
        "allow_non_commercial": True,
    }


def seed_multi_turn(folder: Path) -> dict[str, Any]:
    """Write edits in turn: three of the first image, two of the second, and one file is missing."""
    steps = (ImageOps.mirror, ImageOps.invert, ImageOps.flip)
    images = folder / "seed"
    images.mkdir(parents=True)
    rows: list[dict[str, str]] = []
    for number, turns in enumerate((3, 2, 1)):
        image = drawing(20 + number)
        row = {"source_image": f"{number}-0.png"}
        image.save(images / row["source_image"])
        for turn in range(1, turns + 1):
            image = steps[turn - 1](image)
            row[f"instruction_{turn}"] = f"Do step {turn} with thing {number}"
            row[f"edit_image_{turn}"] = f"{number}-{turn}.png"
            if number < 2:
                image.save(images / row[f"edit_image_{turn}"])
        rows.append(row)
    (folder / "seed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    turns = range(1, 4)
    return {
        "name": "seed",
        "kind": "folder",
        "path": str(images),
        "list": str(folder / "seed.jsonl"),
        "subset": "edit",
        "columns": {
            "input": "source_image",
            "instructions": [f"instruction_{turn}" for turn in turns],
            "edited": [f"edit_image_{turn}" for turn in turns],
        },
    }


def llava(folder: Path, count: int = 3) -> dict[str, Any]:
    """Write conversations of two questions; the last is about no image."""
    images = folder / "llava"
    images.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for n in range(count):
        drawing(30 + n).save(images / f"{n}.png")
        said = ("<image>\nWhat is this?", f"Thing {n}.", "Is it a photograph?", "No.")
        turns = [
            {"from": ("human", "gpt")[at % 2], "value": value} for at, value in enumerate(said)
        ]
        rows.append({"id": str(n), "image": f"{n}.png", "conversations": turns})
    rows.append({"id": "text", "conversations": rows[0]["conversations"][2:]})
    (folder / "llava.json").write_text(json.dumps(rows))
    return {
        "name": "llava",
        "kind": "folder",
        "path": str(images),
        "list": str(folder / "llava.json"),
        "subset": "understand",
        "columns": {"url": "image", "turns": "conversations"},
    }


def pick_a_pic(folder: Path, count: int = 3) -> dict[str, Any]:
    """Write two images a prompt and which is better; the last two are equal."""
    rows = [
        {
            "caption": f"a drawing of thing {n} without blur",
            "jpg_0": png(drawing(40 + n)),
            "jpg_1": png(drawing(40 + n).filter(ImageFilter.GaussianBlur(6))),
            "label_0": 0.5 if n == count - 1 else float(n % 2 == 0),
            "label_1": 0.5 if n == count - 1 else float(n % 2 == 1),
        }
        for n in range(count)
    ]
    return {
        "name": "pick",
        "kind": "huggingface",
        "path": write_parquet(folder / "pick", rows),
        "subset": "preference",
        "columns": {
            "text": "caption",
            "candidates": ["jpg_0", "jpg_1"],
            "scores": ["label_0", "label_1"],
        },
    }
