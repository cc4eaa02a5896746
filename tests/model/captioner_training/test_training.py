"""The training on ten images and a tiny network, and the folder that comes of it."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor

from filters.captioner import Answer, Asked
from filters.captions.transformers_engine import TransformersCaptioner
from model.captioner_training.captions import caption_of
from model.captioner_training.export import captions, write_weights
from model.captioner_training.network import (
    MAX_TOKENS,
    SIDE,
    WEIGHTS,
    CaptionerSizes,
    make_captioner,
    write_parts,
)
from model.captioner_training.objective import CaptionerPlan, pixels_of
from model.captioner_training.training import Trained, Training
from model.image_text.pairs import Pair
from model.tokenizer_training.state import STATE, StateError, read_state
from schemas.caption_config import TransformersEngine

SHORT = CaptionerPlan(steps=4, batch=5, save_every=2)
Make = Callable[[Path, CaptionerPlan], Training]


def quiet(losses: dict[str, float], seconds: float) -> None:
    """Report nothing."""


def test_a_killed_run_ends_with_the_same_weights(
    training: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(losses: dict[str, float], seconds: float) -> None:
        raise KeyboardInterrupt

    whole = training(tmp_path / "whole", SHORT).run(quiet).weights
    with monkeypatch.context() as patch:
        patch.setattr("model.image_text.loop.REPORT_EVERY", 3)
        with pytest.raises(KeyboardInterrupt):
            training(tmp_path / "killed", SHORT).run(dying)
    assert read_state(tmp_path / "killed" / STATE).step == 2
    killed = training(tmp_path / "killed", SHORT).run(quiet).weights
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[key], killed[key]) for key in whole)
    other = training(tmp_path / "other", CaptionerPlan(steps=4, batch=5, seed=1)).run(quiet).weights
    assert not all(torch.equal(whole[key], other[key]) for key in whole)


def test_the_state_of_another_run_is_refused(training: Make, tmp_path: Path) -> None:
    training(tmp_path, SHORT).run(quiet)
    with pytest.raises(StateError, match="made with another plan, network or other images"):
        training(tmp_path, CaptionerPlan(steps=5, batch=5)).run(quiet)


@pytest.fixture(scope="module")
def learnt(training: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """A folder with a captioner that has learnt its ten images, and its training."""
    folder = tmp_path_factory.mktemp("captioner")
    plan = CaptionerPlan(steps=300, batch=10, lr=4e-3, warmup=20, ema=0.95, save_every=1000)
    made = training(folder, plan)
    trained = made.run(quiet)
    write_weights(trained, made.sizes, folder)
    return folder, trained


@pytest.mark.slow
def test_it_learns_the_titles_and_clip_s_embeddings(
    learnt: tuple[Path, Trained], pairs: list[Pair], images: list[NDArray[np.uint8]]
) -> None:
    folder, trained = learnt
    first, last = trained.curve[0], trained.curve[-1]
    assert last["loss"] < first["loss"] / 2
    assert last["clip"] < first["clip"] / 2
    assert captions(folder, images) == [caption_of(pair) for pair in pairs]


@pytest.mark.slow
def test_the_folder_has_the_weights_once_in_float16(learnt: tuple[Path, Trained]) -> None:
    folder, trained = learnt
    saved = load_file(folder / WEIGHTS)
    assert {x.dtype for x in saved.values() if x.is_floating_point()} == {torch.float16}
    assert "decoder.lm_head.weight" in trained.weights.keys() - saved.keys()  # tied to the words


@pytest.mark.slow
def test_our_engine_writes_the_same_without_reading_the_prompt(
    learnt: tuple[Path, Trained], pairs: list[Pair], images: list[NDArray[np.uint8]]
) -> None:
    folder, _ = learnt
    engine = TransformersCaptioner(
        TransformersEngine(name="ours", engine="transformers", model=str(folder), batch_size=4)
    )

    def asked(number: int, prompt: str) -> Asked:
        jpeg = io.BytesIO()
        Image.fromarray(images[number]).save(jpeg, "JPEG", quality=95)
        digest = f"{number} {prompt}"
        return Asked(
            digest=digest, prompt=prompt, image=jpeg.getvalue(), seed=0, max_new_tokens=MAX_TOKENS
        )

    requests = [asked(n, prompt) for n in range(10) for prompt in ("", "Describe the image.")]
    found: dict[str, Any] = {answer.digest: answer for answer in engine.answers(requests)}
    for request in requests:
        answer = found[request.digest]
        assert isinstance(answer, Answer)
        assert answer.text == caption_of(pairs[int(request.digest.split()[0])])
        assert answer.finish_reason == "stop"


def test_the_image_processor_makes_what_training_reads(tmp_path: Path) -> None:
    write_parts(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path, local_files_only=True)
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    [read] = processor(images=[Image.fromarray(noise)], return_tensors="pt").pixel_values
    ours = pixels_of(torch.from_numpy(noise).permute(2, 0, 1)[None].float() / 255)[0]
    torch.testing.assert_close(read, ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (200, 50), (20, 500), (64, 64)])
def test_images_of_any_shape_are_laid_on_a_white_square(
    size: tuple[int, int], tmp_path: Path
) -> None:
    write_parts(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path, local_files_only=True)
    [read] = processor(images=[Image.new("RGB", size, "black")], return_tensors="pt").pixel_values
    assert read.shape == (3, SIDE, SIDE)
    width, height = size
    assert (read[:, 0, 0] == 0).all() == (width != height)  # white is 0
    assert read[:, SIDE // 2, SIDE // 2].max() < -1


def test_the_network_is_small(tmp_path: Path) -> None:
    model = make_captioner(CaptionerSizes(), write_parts(tmp_path))
    weights = {id(x): x for x in model.state_dict(keep_vars=True).values()}
    assert 2 * sum(x.numel() for x in weights.values()) < 8_000_000
