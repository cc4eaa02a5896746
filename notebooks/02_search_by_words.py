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
# # Search a corpus by words and by images
#
# A build whose recipe has a `clip` scorer with `embedding: true` stores an embedding of each image.
# Here they find images for words, images that are alike, and what semantic duplicates a limit would
# remove.
#
# Set `CORPUS` to the folder of such a corpus and run all cells. `make demo` builds the default one,
# with the small CLIP of clip art that ships with this package: do not expect what a published CLIP
# finds.

# %% tags=["parameters"]
CORPUS = "../build/demo"
SCORER = "clip"  # name of the scorer in the recipe
QUERIES = ["a cat", "a flower", "something to eat", "a musical instrument", "sport"]
FOUND = 6  # images shown of each query

# %%
import base64
import html
import io
import json
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as pq
import torch
from IPython.display import HTML
from PIL import Image

from filters import bundled_clip

warnings.filterwarnings("ignore", message="IProgress not found")  # of bars that nothing here draws
import open_clip

corpus = Path(CORPUS)

# %% [markdown]
# ## The embeddings
#
# One row an image that was scored, also of those that a later rule dropped. The column's metadata
# says which model made it; text must be embedded by the same one.

# %%
tables = [pq.read_table(path) for path in sorted((corpus / "scores").glob("*.parquet"))]
column = f"{SCORER}_embedding"
if column not in tables[0].column_names:
    raise SystemExit(f"{CORPUS} has no {column}: add `embedding: true` to a clip scorer and build")
made_by = json.loads(tables[0].schema.field(column).metadata[b"scorer"])
rows = {
    row["key"]: row[column]
    for table in tables
    for row in table.select(["key", column]).to_pylist()
    if row[column] is not None
}
keys = sorted(rows)
image_NC = np.array([rows[key] for key in keys], np.float32)
model_name = bundled_clip() if made_by["model"] == "bundled" else made_by["model"]
print(f"{len(keys):,} images, {image_NC.shape[1]} values each, by {made_by['model']}")

# %% [markdown]
# ## Images for words
#
# The cosine of two embeddings is their product, as their length is 1.

# %%
images = {
    row["key"]: row
    for path in sorted((corpus / "raw").glob("*.parquet"))
    for row in pq.read_table(path).to_pylist()
}


def picture(key, side=110):
    """Read an image as it was fetched, shrink it, and write it as HTML."""
    row = images[key]
    # Relative to the corpus, or the URL of a file that is read in place.
    path = corpus / row["file"].removeprefix("file://")
    with path.open("rb") as file:
        file.seek(row["offset"])
        image = Image.open(io.BytesIO(file.read(row["length"]))).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    small = Image.alpha_composite(white, image).convert("RGB")
    small.thumbnail((side, side))
    encoded = io.BytesIO()
    small.save(encoded, "WEBP")
    data = base64.b64encode(encoded.getvalue()).decode()
    return f'<img src="data:image/webp;base64,{data}" alt="{html.escape(key)}">'


def row_of(title, found):
    """Lay out images with their cosines in a line."""
    cells = "".join(f"<td>{picture(key)}<br>{cosine:.2f}</td>" for key, cosine in found)
    return f"<tr><th>{html.escape(title)}</th>{cells}</tr>"


clip, _ = open_clip.create_model_from_pretrained(model_name)
tokenizer = open_clip.get_tokenizer(model_name)
with torch.no_grad():
    text_QC = clip.eval().encode_text(tokenizer(QUERIES), normalize=True).numpy()
cosine_QN = text_QC @ image_NC.T

lines = []
for query, cosine_N in zip(QUERIES, cosine_QN, strict=True):
    best = np.argsort(-cosine_N, kind="stable")[:FOUND]
    lines.append(row_of(query, [(keys[number], cosine_N[number]) for number in best]))
HTML(f"<table>{''.join(lines)}</table>")

# %% [markdown]
# ## Images that are alike
#
# The nearest image of each: the pairs with the highest cosines come first. `dedup.semantic` with
# `eps` removes one of each pair whose cosine is `1 - eps` or more, unless an earlier step did.

# %%
cosine_NN = image_NC @ image_NC.T
np.fill_diagonal(cosine_NN, -1)
nearest_N = cosine_NN.argmax(axis=1)
highest_N = cosine_NN.max(axis=1)
pairs = [(n, nearest_N[n]) for n in np.argsort(-highest_N, kind="stable")]
once = [(a, b) for a, b in pairs if a < b or nearest_N[b] != a]
lines = [
    row_of(f"{highest_N[a]:.3f}", [(keys[n], cosine_NN[a, b]) for n in (a, b)])
    for a, b in once[:12]
]
HTML(f"<table>{''.join(lines)}</table>")

# %% [markdown]
# How many images have a neighbour that is at least as near: choose `eps` where the pairs above
# stop being the same thing.

# %%
figure, axes = plt.subplots(figsize=(8, 3))
eps = np.linspace(0, 0.3, 61)
axes.plot(eps, [(highest_N >= 1 - limit).mean() for limit in eps])
axes.set(xlabel="eps", ylabel="share of images with a neighbour", ylim=(0, 1))
axes.grid(alpha=0.3)

# %% [markdown]
# ## What dedup made of them
#
# `duplicates/` has a verdict on every row; those of the reason `semantic_duplicate` name the row
# that stands for them.

# %%
verdicts = [
    row
    for path in sorted((corpus / "duplicates").glob("*.parquet"))
    for row in pq.read_table(path).to_pylist()
    if row["reason"] == "semantic_duplicate"
]
place = {key: number for number, key in enumerate(keys)}
lines = [
    row_of(
        row["kept_key"][:8],
        [
            (key, float(image_NC[place[key]] @ image_NC[place[row["kept_key"]]]))
            for key in (row["kept_key"], row["key"])
        ],
    )
    for row in verdicts[:12]
    if row["kept_key"] in place
]
print(f"{len(verdicts):,} semantic duplicates")
HTML(f"<table>{''.join(lines)}</table>")
