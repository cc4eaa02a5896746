"""A model's folder: what is saved is what is loaded."""

import json
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
import torch

from model.data.text_tokenizer import bundled_text_tokenizer
from model.vargpt.codes import bits
from model.vargpt.config import TINY, released, with_vocabulary
from model.vargpt.folder import ImageTokenizer, folder_sha256, load_folder, save_folder
from model.vargpt.vargpt import Vargpt
from schemas.store.checkpoint import CheckpointError

IMAGES = ImageTokenizer(tokenizer="infinity_bsq", preset="bundled")


def saved(folder: Path, tied: bool = False) -> Vargpt:
    text = bundled_text_tokenizer()
    config = with_vocabulary(released(TINY), text.get_vocab())
    backbone = replace(config.backbone, tied=tied)
    model = Vargpt(replace(config, backbone=backbone, codes=bits(8, "a" * 64)))
    save_folder(folder, model, IMAGES, text)
    return model


@pytest.mark.parametrize("tied", [False, True])
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, tied: bool) -> None:
    model = saved(tmp_path, tied)
    loaded = load_folder(str(tmp_path))
    assert loaded.model.config == model.config
    assert loaded.images == IMAGES
    assert not loaded.model.training
    assert len(loaded.text) == len(bundled_text_tokenizer())
    weights = loaded.model.state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(weights[name], weight), name
    assert loaded.sha256 == folder_sha256(str(tmp_path))


def test_a_folder_far_away_is_copied(tmp_path: Path) -> None:
    model = saved(tmp_path)
    fs = fsspec.filesystem("memory")
    fs.put(f"{tmp_path}/", "/a-model-far-away/", recursive=True)
    try:
        loaded = load_folder("memory://a-model-far-away", dtype=torch.bfloat16)
    finally:
        fs.rm("/a-model-far-away", recursive=True)
    assert loaded.model.decoder.head.weight.dtype == torch.bfloat16
    assert torch.equal(loaded.model.decoder.head.weight, model.decoder.head.weight.bfloat16())


def test_other_weights_are_another_hash(tmp_path: Path) -> None:
    saved(tmp_path / "one")
    saved(tmp_path / "other")
    assert folder_sha256(str(tmp_path / "one")) != folder_sha256(str(tmp_path / "other"))


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json; expected the folder of a model"):
        load_folder(str(tmp_path))
    saved(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_folder(str(tmp_path))
    data = json.loads((tmp_path / "config.json").read_text())
    data["model"]["backbone"]["hidden"] = "wide"
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"(?s)config\.json.*hidden"):
        load_folder(str(tmp_path))
