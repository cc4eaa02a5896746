"""A training's folder is a model."""

from pathlib import Path

import pytest
import torch

from model.training.trained import load_trained, save_trained, trained_images, trained_sha256
from model.vargpt.folder import ImageTokenizer
from schemas.store.checkpoint import CheckpointError


def test_a_training_is_a_model_and_can_be_saved_as_one(make, tmp_path: Path) -> None:
    trainer = make(tmp_path / "sft", "steps=1")
    trainer.run()
    save_trained(str(tmp_path / "sft"), tmp_path / "folder")
    for place in (tmp_path / "sft", tmp_path / "folder"):
        trained = load_trained(str(place))
        assert not trained.model.training
        weights = trained.model.state_dict()
        for name, weight in trainer.model.state_dict().items():
            assert torch.equal(weights[name], weight), name
        assert trained_images(str(place)) == ImageTokenizer(
            tokenizer="infinity_bsq", preset="bundled", resolution=256
        )
    assert trained_sha256(str(tmp_path / "sft")) != trained_sha256(str(tmp_path / "folder"))
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_trained(str(tmp_path / "gone"))
