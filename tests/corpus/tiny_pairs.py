"""A tiny model of random weights that draws, and the command that makes pairs with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.data.text_tokenizer import bundled_text_tokenizer
from model.tokenizers import load
from model.tokenizers.sizes import BsqConfig
from model.vargpt.codes import head_of
from model.vargpt.config import TINY, with_vocabulary
from model.vargpt.folder import ImageTokenizer, save_folder
from model.vargpt.vargpt import Vargpt
from pipelines.cli.main import main

BRIGHTNESS = "simple_scorers:brightness"
IMAGES = ImageTokenizer(tokenizer="infinity_bsq", preset="tiny")
NETWORK = BsqConfig(bits=8, ch=8, ch_mult=(1,) * 5, num_res_blocks=1, norm_groups=0)


@contextmanager
def tiny_network() -> Iterator[None]:
    """Know a preset `tiny` of the image tokenizer, and leave the threads of torch as they were."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        known = load.PRESETS["infinity_bsq"]
        patch.setitem(load.PRESETS, "infinity_bsq", {**known, "tiny": NETWORK})
        yield
    torch.set_num_threads(threads)


def save_tiny_model(folder: Path) -> Path:
    """Save the model; its tokenizer is known within `tiny_network` alone."""
    text = bundled_text_tokenizer()
    torch.manual_seed(0)
    config = with_vocabulary(replace(TINY, codes=head_of(IMAGES.load())), text.get_vocab())
    save_folder(folder, Vargpt(config), IMAGES, text)
    return folder


def preferences(model: Path, prompts: Path, out: Path, *more: str) -> int:
    """Run the command, two images a prompt and two prompts a shard."""
    where = ["--model", str(model), "--prompts", str(prompts), "--out", str(out)]
    drawn = ["--samples", "2", "--tau", "1", "--cfg", "1", "--batch", "4"]
    judged = ["--scorer", BRIGHTNESS, "--prompts-per-shard", "2"]
    return main(["preferences", *where, *drawn, *judged, *more])
