# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Look at the shards
#
# What lies in a built corpus, read the way a training job reads it: plain `webdataset` (0.2 or 1),
# `pyarrow`, `numpy` and Pillow. Nothing here imports the code that wrote the shards.
#
# Set `CORPUS` to the folder of a corpus and run all cells. `make demo` builds the default one.

# %% tags=["parameters"]
CORPUS = "../build/demo"
MOST = 2000  # samples that the statistics of the tokens read

# %%
import base64
import html
import io
import json
from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as pq
import webdataset as wds
from IPython.display import HTML
from PIL import Image, ImageOps

corpus = Path(CORPUS)
manifest = json.loads((corpus / "manifest.json").read_text("utf-8"))
subset = next(iter(manifest["subsets"].values()))  # a build makes one
# One entry a member that a tokenizer wrote; this notebook looks at the first one's codes.
tokenizer = next(made for made in manifest["tokens"] if made["kind"] == "codes")
tar_paths = [str(corpus / shard["path"]) for shard in subset["shards"]]


def table(rows, header=()):
    """Lay out rows as HTML; captions come from the web, so every cell is escaped."""

    def line(cells, tag):
        style = "text-align:left;vertical-align:top;overflow-wrap:break-word;max-width:600px"
        return "".join(f'<{tag} style="{style}">{html.escape(str(c))}</{tag}>' for c in cells)

    head = f"<thead><tr>{line(header, 'th')}</tr></thead>" if header else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


# %% [markdown]
# ## What the corpus is
#
# `manifest.json` names every shard with its size and SHA-256, the recipe's fingerprint, and the
# versions and the tokenizer that made it.

# %%
HTML(
    table(
        [
            ("name", manifest["name"]),
            ("description", manifest["description"]),
            ("samples", f"{subset['samples']:,} in {len(tar_paths)} shards"),
            ("bytes", f"{subset['bytes']:,}"),
            ("recipe", manifest["recipe"]),
            ("made with", ", ".join(f"{k} {v}" for k, v in manifest["made_with"].items())),
        ]
    )
)


# %% [markdown]
# ### The funnel
#
# Every row that went in leaves each stage with one outcome: *kept*, *dropped* (a decision, with the
# rule that made it) or *failed* (unusable, with its error). The cell stops if a stage does
# not add up.


# %%
def reasons(counts):
    """Write counts by reason, the largest first."""
    return ", ".join(f"{k} {v:,}" for k, v in sorted(counts.items(), key=lambda kv: (-kv[1], kv)))


for stage in manifest["funnel"]:
    left = sum(stage["dropped"].values()) + sum(stage["failed"].values())
    assert stage["rows_in"] == stage["kept"] + left, stage

HTML(
    table(
        [
            (s["stage"], s["rows_in"], s["kept"], reasons(s["dropped"]), reasons(s["failed"]))
            for s in manifest["funnel"]
        ],
        header=("stage", "rows in", "kept", "dropped", "failed"),
    )
)

# %% [markdown]
# ### The tokenizer
#
# Codes are worth what their weights are worth, so look here before you train.

# %%
if tokenizer["checkpoint_sha256"]:
    note = "The codes come from trained weights; compare the checkpoint's SHA-256 with your own."
else:
    note = (
        "<b>The codes come from random weights.</b> Their shape, type, range and layout are right, "
        "so they exercise a loader and a training loop. They say nothing about the images: do not "
        "train a model on them."
    )
HTML(f"<p>{note}</p>{table(tokenizer.items())}")


# %% [markdown]
# ## A contact sheet
#
# The first 24 samples. Shards hold samples in the order of a hash, so the first ones are as good a
# draw as any. Check that captions fit their images, and that nothing is here that should not be.


# %%
def picture(image, side):
    """Write an image as an HTML tag, at most `side` px wide and high."""
    small = image.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" style="display:block">'


def card(number, sample):
    """Lay out one sample of the sheet: image, number, caption."""
    caption = html.escape(sample["json"]["caption"][:120])
    return (
        '<figure style="width:150px;margin:0 0 12px">'
        '<div style="height:150px;display:flex;align-items:center;justify-content:center">'
        f"{picture(sample['jpg'], 144)}</div>"
        '<figcaption style="font-size:11px;line-height:1.3;overflow-wrap:anywhere">'
        f"<b>{number}</b> {caption}</figcaption></figure>"
    )


samples = list(islice(wds.WebDataset(tar_paths, shardshuffle=False).decode("pil"), 24))
cards = "".join(card(number, sample) for number, sample in enumerate(samples))
HTML(f'<div style="display:flex;flex-wrap:wrap;gap:10px;max-width:1000px">{cards}</div>')

# %% [markdown]
# ## One sample in full
#
# Change `SHOWN` to look at another one of the sheet. `<image_gen>` marks where the model is to
# generate the image.

# %%
SHOWN = 0
sample = samples[SHOWN]
record = sample["json"]


def bubble(message):
    """Lay out one turn of the conversation, the mark of the image set off."""
    mark = html.escape("<image_gen>")
    badge = f'<code style="background:#fd6;color:#000;padding:1px 4px">{mark}</code>'
    text = html.escape(message["content"]).replace(mark, badge)
    side, colour = (
        ("0 40px 8px 0", "#e8eefc") if message["role"] == "user" else ("0 0 8px 40px", "#eee")
    )
    style = f"background:{colour};color:#000;border-radius:8px;padding:8px 12px;margin:{side}"
    return f'<div style="{style}"><small>{html.escape(message["role"])}</small><br>{text}</div>'


HTML(
    '<div style="display:flex;gap:24px;flex-wrap:wrap;align-items:flex-start">'
    f'<div>{picture(sample["jpg"], 360)}</div><div style="width:420px">'
    f"{''.join(bubble(message) for message in record['messages'])}</div></div>"
)

# %% [markdown]
# Its other fields. `sha256` is of the bytes as fetched, `width` and `height` are of the image in
# the shard; the signals are of the image as fetched. Every sample has the same fields with the same
# types.

# %%
HTML(table((k, v) for k, v in record.items() if k not in ("messages", "signals")))

# %%
HTML(table(record["signals"].items()))

# %% [markdown]
# ## Its tokens, scale by scale
#
# The tokenizer writes an image as several grids of codes, coarse to fine; a shard stores them one
# after the other, row by row. Each later grid adds what the earlier ones left out. One square below
# is one code. Colours are a hash of the code: **equal colours are equal codes, and similar colours
# mean nothing**. The last panel names the codes that this sample uses most.


# %%
def colours(codes):
    """Hash codes to RGB, shape [..., 3], 0 to 1: the top bits of a multiplication that wraps."""
    hashed = codes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (hashed[..., None] >> np.array([40, 48, 56], np.uint64) & np.uint64(255)) / 255


def draw_grid(axes, grid):
    """Draw one scale; small ones with their codes written in."""
    axes.imshow(colours(grid), interpolation="nearest")
    axes.set_title(f"{grid.shape[0]} x {grid.shape[1]}", fontsize=10)
    for (row, column), code in np.ndenumerate(grid if grid.size <= 9 else grid[:0]):
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
        axes.text(column, row, str(code), ha="center", va="center", fontsize=7, bbox=box)


def draw_legend(axes, codes):
    """Name the eight codes of a sample that occur most."""
    values, counts = np.unique(codes, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:8]
    for row, place in enumerate(most):
        axes.add_patch(plt.Rectangle((0, row), 1, 0.8, color=colours(values)[place]))
        axes.text(
            1.3, row + 0.4, f"{values[place]}, {counts[place]} times", va="center", fontsize=9
        )
    axes.set(xlim=(0, 6), ylim=(8, 0), title="most used codes")


schedule = tokenizer["schedules"][str(record["crop_aspect"])]
sides = [tuple(map(int, scale.split("x"))) for scale in schedule.split()]
codes = sample[tokenizer["member"]]
codes = codes[0] if tokenizer["views"] > 1 else codes  # the centre crop
ends = np.cumsum([rows * columns for rows, columns in sides])
assert codes.shape == (ends[-1],), (codes.shape, schedule)
grids = [part.reshape(side) for part, side in zip(np.split(codes, ends[:-1]), sides, strict=True)]

panels = len(grids) + 2
figure, axes = plt.subplots(-(-panels // 6), 6, figsize=(13, 2.4 * -(-panels // 6)))
for place in axes.flat:
    place.set_axis_off()
height, width = map(int, tokenizer["image_sizes"][str(record["crop_aspect"])].split("x"))
seen = ImageOps.fit(sample["jpg"], (width, height))
axes.flat[0].imshow(seen)
axes.flat[0].set_title(f"the image, {tokenizer['crop']}", fontsize=10)
for place, grid in zip(axes.flat[1:], grids, strict=False):
    draw_grid(place, grid)
draw_legend(axes.flat[panels - 1], codes)
figure.tight_layout()

# %% [markdown]
# ## How the codes are used
#
# Over at most `MOST` samples. A healthy tokenizer on varied images uses what it has:
#
# - **bit codes** (Infinity's): each bit is 1 about as often as 0. A bit that is always the same,
#   red or blue throughout, tells nothing; the entropy says how much of the bits is used.
# - **indices** (VAR's): most of the codebook is used, and the curve on the right falls slowly. A
#   few codes far above the rest point to blank images or to a tokenizer that does not suit the
#   data. *Perplexity* is the number of codes that would, used evenly, carry as much information.


# %%
def draw_bits(codes_PL, bits):
    """Draw how often each bit is 1, scale by scale."""
    shifts = np.arange(bits - 1, -1, -1, dtype=np.uint32)
    ones = [
        (part[..., None] >> shifts & 1).mean(axis=(0, 1))
        for part in np.split(codes_PL, ends[:-1], axis=1)
    ]
    share = np.clip(np.mean(ones, axis=0), 1e-9, 1 - 1e-9)
    entropy = -(share * np.log2(share) + (1 - share) * np.log2(1 - share))
    print(f"{entropy.sum():.1f} of {bits} bits used, taken one by one")
    figure, axes = plt.subplots(figsize=(13, 3))
    drawn = axes.imshow(ones, vmin=0, vmax=1, cmap="coolwarm", aspect="auto")
    axes.set(title="share of ones", xlabel="bit, the most significant first", ylabel="scale")
    figure.colorbar(drawn)


def draw_indices(codes_PL, vocab):
    """Draw how often each entry of the codebook is used."""
    values, counts = np.unique(codes_PL, return_counts=True)
    share = counts / counts.sum()
    perplexity = 2 ** -np.sum(share * np.log2(share))
    print(f"{len(values)} of {vocab} codes used, perplexity {perplexity:.0f}")
    figure, (by_index, by_rank) = plt.subplots(1, 2, figsize=(13, 3.6))
    by_index.hist(values, bins=128, range=(0, vocab), weights=counts, color="#4468b0")
    by_index.set(title="uses by code", xlabel="code index", ylabel="uses, 128 bins")
    by_rank.loglog(np.arange(1, len(counts) + 1), np.sort(counts)[::-1], color="#4468b0")
    by_rank.axhline(codes_PL.size / vocab, color="#999", linestyle="--", label="all equal")
    by_rank.set(title="uses by rank", xlabel="rank of the code", ylabel="uses")
    by_rank.legend(frameon=False)
    figure.tight_layout()


undecoded = wds.WebDataset(tar_paths, shardshuffle=False)
arrays = [np.load(io.BytesIO(sample[tokenizer["member"]])) for sample in islice(undecoded, MOST)]
# Only those of this sample's shape: others have other scales.
same = [array.reshape(-1, ends[-1]) for array in arrays if array.shape[-1] == ends[-1]]
codes_PL = np.concatenate(same)
print(f"{len(codes_PL)} crops of {codes_PL.shape[1]} codes ({codes_PL.dtype})")
if "bits" in tokenizer:
    draw_bits(codes_PL, tokenizer["bits"])
else:
    draw_indices(codes_PL, tokenizer["codes_limit"])

# %% [markdown]
# ## One sample without reading the tar
#
# Beside each tar lies a Parquet file with the place of every member: `offset` and `length` in
# bytes. One seek and one read (or one range request to an object store) fetch any image by its key.

# %%
tar_path = Path(tar_paths[-1])
index = pq.read_table(tar_path.with_suffix(".parquet"))
key = index["key"][-1].as_py()
members = {row["member"]: row for row in index.to_pylist() if row["key"] == key}


def read(member):
    """Read one member of the sample."""
    with tar_path.open("rb") as tar:
        tar.seek(members[member]["offset"])
        return tar.read(members[member]["length"])


image = Image.open(io.BytesIO(read("jpg")))
caption = html.escape(json.loads(read("json"))["caption"])
HTML(
    f"{picture(image, 256)}<p>{key}: {caption}</p>"
    + table(
        [(tar_path.name, row["member"], row["offset"], row["length"]) for row in members.values()],
        header=("tar", "member", "offset", "length"),
    )
)

# %% [markdown]
# ## What next
#
# - `report.html` in the corpus shows what was dropped and why, with examples of each reason.
# - `recipe.yaml` is the whole configuration. Change a threshold and build again: only what depends
#   on it is made anew.
# - `vargpt-corpus verify CORPUS` checks every checksum, the sample contract and the counts.
# - `datasets.load_dataset("webdataset", data_files="CORPUS/shards/t2i-*.tar")` reads the same
#   shards.
# - To train on codes alone, leave out `.decode("pil")` and load only the token member, as the cell
#   with the histogram does: no image is decoded.
