from pathlib import Path

import numpy as np
import torch
from PIL import Image

from model.data.text import TextEncoder
from model.data.text_tokenizer import bundled_text_tokenizer
from model.training.samples import LINE, grid, prompt_ids, to_image


def test_a_prompt_ends_where_the_image_starts() -> None:
    words = bundled_text_tokenizer()
    (ids,) = prompt_ids(TextEncoder(words), ["a red apple"])
    said = words.decode(ids)
    assert said.endswith("Here's a picture of a red apple<|image_gen_start|>")


def test_a_picture_has_the_values_of_its_image() -> None:
    image = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1).expand(3, 2, 4)
    assert np.asarray(to_image(image)).tolist() == [[[0, 128, 255]] * 4] * 2


def test_a_grid_holds_every_image_above_its_caption() -> None:
    images = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue") * 2]
    picture = grid(images, ["a very long caption that does not fit"] * 6, "step 3")
    assert picture.size == (4 * 40, LINE + 2 * (30 + LINE))
    pixels = np.asarray(picture)
    for number, image in enumerate(images):
        y, x = LINE + number // 4 * (30 + LINE), number % 4 * 40
        assert (pixels[y : y + 30, x : x + 40] == np.asarray(image)).all()
        assert (pixels[y + 30 : y + 30 + LINE, x : x + 40] == 0).all(axis=2).any(), "no caption"


def test_samples_are_drawn_on_the_way_and_are_the_same_when_run_again(make, tmp_path: Path) -> None:
    pictures = []
    for name in ("one", "two"):
        trainer = make(tmp_path / name, "steps=2", "sample_every=1", "prompts=[a cat]")
        trainer.run()
        assert trainer.model.training
        found = sorted((tmp_path / name / "samples").iterdir())
        assert [path.name for path in found] == ["step-00000001.png", "step-00000002.png"]
        pictures.append([path.read_bytes() for path in found])
    assert pictures[0] == pictures[1]
    assert pictures[0][0] != pictures[0][1]
