"""Draw a sample of the demo corpus for the documentation: image, messages, codes by scale.

    python tools/draw_sample.py build/demo docs/assets/sample.webp

Colours of the codes are a hash: equal colours are equal codes.
"""

import io
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageOps

mpl.use("agg")
import matplotlib.pyplot as plt

KEY = "5a856c9f29dc609dcbed24e9c92c8089"  # a sunflower


def read_sample(corpus: Path, key: str) -> dict[str, bytes]:
    """Return the members of a sample, by the index beside its shard."""
    for index in sorted((corpus / "shards").glob("*.parquet")):
        members = [row for row in pq.read_table(index).to_pylist() if row["key"] == key]
        tar = index.with_suffix(".tar").read_bytes() if members else b""
        if members:
            return {m["member"]: tar[m["offset"] : m["offset"] + m["length"]] for m in members}
    raise SystemExit(f"{corpus}: no sample {key}")


def colours(codes: np.ndarray) -> np.ndarray:
    """Hash codes to RGB, 0 to 1."""
    hashed = codes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (hashed[..., None] >> np.array([40, 48, 56], np.uint64) & np.uint64(255)) / 255


def draw(corpus: Path, out: Path) -> None:
    """Draw the sample of `KEY`."""
    sample = read_sample(corpus, KEY)
    manifest = json.loads((corpus / "manifest.json").read_text())
    record: dict[str, Any] = json.loads(sample["json"])
    schedule = manifest["tokens"][0]["schedules"][str(record["crop_aspect"])].split()
    sides = [tuple(map(int, scale.split("x"))) for scale in schedule]
    ends = np.cumsum([rows * columns for rows, columns in sides])
    codes = np.load(io.BytesIO(sample["tokens256.npy"]))
    image = Image.open(io.BytesIO(sample["jpg"]))
    grids = [g.reshape(s) for g, s in zip(np.split(codes, ends[:-1]), sides, strict=True)]

    figure = plt.figure(figsize=(6.4, 4.7), facecolor="white")
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.6, 1])
    above, below = parts
    picture, words = above.subplots(1, 2, width_ratios=[1, 1.4])
    above.subplots_adjust(left=0.01, right=0.99, top=0.91, bottom=0.01, wspace=0.06)
    picture.imshow(ImageOps.contain(image, (512, 512)))
    picture.set_title("KEY.jpg", family="monospace", fontsize=10)
    words.set_title("KEY.json", family="monospace", fontsize=10, loc="left")
    turns = [f"{m['role']}:\n{textwrap.fill(m['content'], 36)}" for m in record["messages"]]
    facts = [f"{name}: {record[name]}" for name in ("caption_origin", "author", "width", "height")]
    signals = [f"sharpness: {record['signals']['sharpness']:.0f}", "..."]
    words.text(0, 0.96, "\n\n".join([*turns, "\n".join([*facts, *signals])]), va="top", fontsize=10)
    axes = below.subplots(1, len(grids))
    below.subplots_adjust(left=0.01, right=0.99, top=0.68, bottom=0.02, wspace=0.12)
    below.suptitle("KEY.tokens256.npy", family="monospace", fontsize=10, x=0.01, ha="left")
    for place, grid in zip(axes, grids, strict=True):
        place.imshow(colours(grid), interpolation="nearest")
        place.set_title(f"{grid.shape[0]} x {grid.shape[1]}", fontsize=8)
    for place in (picture, words, *axes):
        place.set_axis_off()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=170, bbox_inches="tight")
    Image.open(drawn).convert("RGB").save(out, "WEBP", quality=88, method=6)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
