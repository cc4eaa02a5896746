"""Trainings that begin as a released VARGPT-v1.1, of a made-up checkpoint of its layout."""

from pathlib import Path

import pytest
import torch
from released_checkpoint import drawn, released_shapes, write

from model.data.text_tokenizer import bundled_text_tokenizer
from model.tokenizers.load import load_tokenizer
from model.training.checkpoint import checkpoints, read_state
from model.training.recipe import stage_recipe
from model.training.start import model_config, text_tokenizer
from model.training.trained import load_trained
from model.vargpt.folder import ImageTokenizer, save_folder
from model.vargpt.released import load_released, read_released
from model.vargpt.vargpt import Vargpt


@pytest.fixture(scope="module")
def released_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model of the released layout, with the bundled tokenizers."""
    recipe = stage_recipe("sft256", ["size=tiny", "choices=released"])
    tokenizer = load_tokenizer("infinity_bsq", preset="bundled")
    config = model_config(recipe, tokenizer, text_tokenizer(recipe))
    shapes = released_shapes(config, Vargpt(config))
    small = {key: tensor / 50 for key, tensor in drawn(shapes).items()}
    return write(tmp_path_factory.mktemp("released") / "v1_1", small)


def test_a_training_begins_as_the_released_model_and_the_next_has_its_choices(
    make, tmp_path: Path, released_url: str
) -> None:
    trainer = make(tmp_path / "sft", "steps=1", f"released={released_url}")
    expected = Vargpt(trainer.model.config)
    load_released(expected, released_url)
    for name, weight in expected.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[name], weight), name
    assert (expected.config.conditioning, expected.config.pad_multiple) == ("constant", 128)
    trainer.run()
    assert read_state(checkpoints(tmp_path / "sft")[-1]).recipe["choices"] == "released"
    make(tmp_path / "next", "steps=1", "choices=released", init=tmp_path / "sft").run()


def test_it_is_kept_as_a_folder_that_images_can_be_drawn_with(
    make, tmp_path: Path, released_url: str
) -> None:
    config = make(tmp_path / "sft", "choices=released").model.config
    images = ImageTokenizer(tokenizer="infinity_bsq", preset="bundled")
    model = read_released(released_url, config, dtype=torch.float32)
    save_folder(tmp_path / "v1_1", model, images, bundled_text_tokenizer())
    trained = load_trained(str(tmp_path / "v1_1"))
    assert (trained.model.config, trained.images) == (config, images)


def test_it_is_its_own_reference_in_a_round_of_preferences(
    make, pairs: Path, tmp_path: Path, released_url: str
) -> None:
    given = ("steps=1", f"released={released_url}")
    make(tmp_path / "dpo", *given, stage="dpo256", data=pairs).run()
    assert read_state(checkpoints(tmp_path / "dpo")[-1]).step == 1
