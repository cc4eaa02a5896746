"""The tiny model overfits eight edits, and needs the image that is edited to know which."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from pair_sources import drawing, embedded, write_parquet
from PIL import ImageOps
from tiny import Tiny

from model.data.batch import Batch
from model.data.loader import Loader
from model.data.manifest import Source
from model.data.plan import LoadPlan
from model.data.text import TextEncoder
from model.data.text_tokenizer import bundled_text_tokenizer
from model.tokenizers.load import load_tokenizer
from model.training.journal import read_steps
from model.training.objective import Likelihood
from model.training.parallel import Processes
from model.training.recipe import stage_recipe
from model.training.start import make_trainer
from model.vargpt.loss import LossConfig
from model.vargpt.vargpt import Vargpt

EDITS = 8
SETS = (
    "size=tiny",
    "resolution=128",
    "precision=fp32",
    "checkpointing=false",
    f"batch={EDITS}",
    f"micro_batch={EDITS}",
    "steps=150",
    "lr=0.003",
    "without_context=0",
    "self_correction='off'",
    "log_every=1",
    "sample_every=0",
)


def build_edits(folder: Path) -> Path:
    """Build a corpus of edits that differ in nothing but their images."""
    rows = [
        {
            "before": embedded(drawing(number)),
            "after": embedded(ImageOps.invert(drawing(number))),
            "edit": "Invert the colours",
        }
        for number in range(EDITS)
    ]
    forms = {"name": "one", "user": ["<image>\n{text}."], "answers": ["Here it is: <image_gen>"]}
    (folder / "forms.yaml").write_text(yaml.safe_dump(forms))
    source = {
        "name": "inverted",
        "kind": "huggingface",
        "path": write_parquet(folder / "data", rows),
        "subset": "edit",
        "image": "after",
        "columns": {"input": "before", "text": "edit"},
    }
    tiny = Tiny(folder=folder)
    words = {"edit_forms": str(folder / "forms.yaml")}
    tiny.build(tiny.recipe(sources=[source], pair=words, rows_per_shard=EDITS))
    return tiny.out


def load_edits(corpus: Path) -> Batch:
    """Return all edits as one batch."""
    from transformers import Qwen2VLImageProcessorPil

    source = Source(url=str(corpus), subset="edit")
    plan = LoadPlan(
        sources=(source,), batch=EDITS, epochs=1, member="tokens128.npy", self_correction="off"
    )
    (batch,) = Loader(
        plan,
        text=TextEncoder(bundled_text_tokenizer()),
        tokenizer=load_tokenizer("infinity_bsq", preset="bundled"),
        image_processor=Qwen2VLImageProcessorPil(),
    )
    return batch


def swapped(batch: Batch) -> Batch:
    """Return the edits with the input image of the edit before each."""
    pixels, grids = batch.pixel_values, batch.image_grid_thw
    assert pixels is not None
    assert grids is not None
    assert (grids == grids[0]).all()  # as many patches of each image
    return replace(batch, pixel_values=pixels.roll(len(pixels) // EDITS, dims=0))


@torch.no_grad()
def measured(model: Vargpt, batch: Batch) -> Mapping[str, float]:
    found = Likelihood(LossConfig(scales="infinity"), 0.0)(model.eval(), batch).scalars
    return {name: float(value) for name, value in found.items()}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eight_edits_are_learnt_by_heart_and_only_from_their_own_images(tmp_path: Path) -> None:
    corpus = build_edits(tmp_path)
    out = tmp_path / "training"
    recipe = stage_recipe("edit", SETS)
    trainer = make_trainer(recipe, [str(corpus)], out, processes=Processes())
    trainer.run()
    first = next(iter(read_steps(out)))
    edits = load_edits(corpus)
    assert (edits.input_ids_BS == edits.input_ids_BS[0]).all()  # words tell nothing
    learnt, other = measured(trainer.model, edits), measured(trainer.model, swapped(edits))
    assert learnt["loss/image"] < 0.5 * first["loss/image"]
    assert learnt["foretold/scale 03"] > 0.9  # of the bits, at first a half
    assert first["foretold/scale 03"] < 0.6
    assert other["loss/image"] > 1.3 * learnt["loss/image"]
    # Nothing but the input image comes before the first scale.
    assert other["loss/scale 01"] > 2 * learnt["loss/scale 01"]
