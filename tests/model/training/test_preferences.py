"""Stages that learn from pairs: the reference is asked once, and the margin begins at 0."""

import json
from pathlib import Path

import pytest
import torch

from model.preferences.reference import CachedReference
from model.tokenizers.checkpoint import CheckpointError
from model.training import preferences
from model.training.trained import load_trained, save_trained, trained_images, trained_sha256
from model.vargpt.folder import ImageTokenizer


def figures(out: Path) -> list[dict]:
    return [json.loads(line) for line in next(out.glob("*.jsonl")).read_text().splitlines()]


def test_the_margin_of_its_own_pairs_rises_from_0(make, pairs: Path, tmp_path: Path) -> None:
    before, out = tmp_path / "sft", tmp_path / "dpo"
    make(before, "steps=1").run()
    sets = ("steps=4", "batch=4", "micro_batch=2", "warmup_ratio=0")
    make(out, *sets, stage="dpo256", data=pairs, init=before).run()
    margins = [line["margin"] for line in figures(out)]
    assert margins[0] == pytest.approx(0.0, abs=1e-3)  # order of a batch may move the last places
    assert margins[-1] > 0.01
    assert figures(out)[0]["loss"] == pytest.approx(0.6931, abs=1e-3)


def test_begun_again_it_asks_the_reference_for_nothing(
    make, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, out = tmp_path / "sft", tmp_path / "dpo"
    make(before, "steps=1").run()
    make(out, "steps=1", stage="dpo256", data=pairs, init=before)
    kept = sorted((out / preferences.FOLDER).glob("*.parquet"))
    assert [path.name for path in kept] == ["00000-of-00001.parquet"]
    monkeypatch.setattr(CachedReference, "add", lambda *_: pytest.fail("asked again"))
    make(out, "steps=1", stage="dpo256", data=pairs, init=before)


def test_without_a_reference_it_is_refused(make, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="against the model that it begins as"):
        make(tmp_path / "dpo", stage="dpo256", data=pairs)


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
