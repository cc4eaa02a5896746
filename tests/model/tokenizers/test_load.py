import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import cbook
from PIL import Image
from safetensors.torch import load_file, save_file

from filters.compute import Compute
from model.tokenizers.load import HIT_COUNTS, load_tokenizer
from model.tokenizers.prepare import cover_crop, to_model_input
from model.tokenizers.schedules import bsq_schedule, pixel_size
from model.tokenizers.sizes import VAR_PRESETS as PRESETS
from model.tokenizers.var_network import VarNetwork
from model.tokenizers.var_vqvae import VarVqvae
from model.tokenizers.weights import random_weights
from schemas.store.checkpoint import CheckpointError


def photograph(side: int) -> torch.Tensor:
    path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    return to_model_input(cover_crop(Image.open(path).convert("RGB"), side, side)[None])


@pytest.fixture(scope="module")
def random_var() -> VarVqvae:
    tokenizer = load_tokenizer("var_vqvae", preset="small", checkpoint=None, seed=0)
    assert isinstance(tokenizer, VarVqvae)
    return tokenizer


def test_random_weights_give_a_photograph_diverse_codes(random_var: VarVqvae) -> None:
    codes = random_var.encode(photograph(256))
    assert codes.values_BL.dtype == random_var.codes_dtype == np.uint16
    assert codes.values_BL.max() < random_var.codes_limit == 4096
    assert len(np.unique(codes.values_BL)) > 300


def test_the_quantizer_with_random_weights_explains_part_of_the_features(
    random_var: VarVqvae,
) -> None:
    features = random_var.features(photograph(256))
    rest = features - random_var.summed_features(random_var.quantize(features))
    assert rest.std() < 0.8 * features.std()


def test_decoding_gives_an_image_in_range(random_var: VarVqvae) -> None:
    image = random_var.decode(random_var.encode(photograph(256)))
    assert image.shape == (1, 3, 256, 256)
    assert image.abs().max() <= 1
    assert image.std() > 0.1


def test_random_weights_depend_on_name_and_seed_alone() -> None:
    with torch.device("meta"):
        expected = VarNetwork(PRESETS["small"]).state_dict()
    torch.manual_seed(5)
    weights = random_weights(expected, 0)
    backwards = random_weights(dict(reversed(expected.items())), 0)
    other = random_weights(expected, 1)
    assert all(torch.equal(weights[key], backwards[key]) for key in expected)
    assert all(not torch.equal(weights[key], other[key]) for key in expected if key != HIT_COUNTS)


def test_random_weights_are_the_same_on_every_machine() -> None:
    drawn = random_weights({"quant_conv.weight": torch.empty(2, 1, 1, 1, device="meta")}, 0)
    assert drawn["quant_conv.weight"].flatten().tolist() == pytest.approx(
        [-1.5874, -2.3240], abs=1e-4
    )


def test_the_512_pixel_schedule_uses_the_same_weights(random_var: VarVqvae) -> None:
    larger = load_tokenizer("var_vqvae", preset="small", seed=0, resolution=512)
    codes = larger.encode(photograph(512))
    assert larger.image_size == (512, 512)
    assert codes.values_BL.shape == (1, 2240)
    assert larger.decode(codes).shape == (1, 3, 512, 512)


def test_the_description_says_where_the_codes_are_from(
    random_var: VarVqvae, var_golden: Path
) -> None:
    path = var_golden / "small.state_dict.f16.safetensors"
    described = load_tokenizer("var_vqvae", preset="small", checkpoint=str(path)).describe()
    assert described == {
        "name": "var_vqvae",
        "checkpoint": "small.state_dict.f16.safetensors",
        "checkpoint_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "codes_dtype": "uint16",
        "codes_limit": 4096,
        "code_words": 1,
        "precision": "fp32",
    }
    of_random = {"checkpoint": "random weights, seed 0", "checkpoint_sha256": ""}
    assert random_var.describe() == {**described, **of_random}


def test_hit_counts_of_another_schedule_or_none_are_no_obstacle(
    var_golden: Path, tmp_path: Path
) -> None:
    tensors = load_file(var_golden / "small.state_dict.f16.safetensors")
    for counts in ({HIT_COUNTS: torch.ones(3, 4096)}, {}):
        kept = {key: x for key, x in tensors.items() if key != HIT_COUNTS}
        path = tmp_path / "weights.pth"
        torch.save({**kept, **counts}, path)
        load_tokenizer("var_vqvae", preset="small", checkpoint=str(path))


def test_a_checkpoint_of_another_size_is_refused(var_golden: Path) -> None:
    path = str(var_golden / "small.state_dict.f16.safetensors")
    with pytest.raises(CheckpointError, match=r"96 missing .*; 212 of the wrong shape"):
        load_tokenizer("var_vqvae", preset="full", checkpoint=path)


def test_a_checkpoint_with_a_nan_is_refused(var_golden: Path, tmp_path: Path) -> None:
    tensors = load_file(var_golden / "small.state_dict.f16.safetensors")
    tensors["encoder.conv_in.weight"][0, 0, 0, 0] = torch.nan
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"1 not finite \(encoder\.conv_in\.weight\)"):
        load_tokenizer(
            "var_vqvae", preset="small", checkpoint=str(tmp_path / "weights.safetensors")
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "bsq", "preset": "small"}, "unknown tokenizer 'bsq'"),
        (
            {"name": "var_vqvae", "preset": "tiny"},
            r"unknown preset 'tiny'.*\['full', 'small', 'bundled'\]",
        ),
        ({"name": "var_vqvae", "preset": "small", "resolution": 300}, r"300.*\[256, 512\]"),
        ({"name": "infinity_bsq", "preset": "small"}, r"unknown preset 'small' of infinity_bsq"),
        ({"name": "infinity_bsq", "preset": "d32", "resolution": 300}, r"300.*\[128, 256, 512"),
        ({"name": "infinity_bsq", "preset": "d32", "aspect": 1.1}, r"unknown aspect 1\.1"),
    ],
)
def test_unknown_choices_are_refused_with_the_allowed_ones(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_tokenizer(**arguments)


@pytest.mark.parametrize("name", ["infinity_bsq", "var_vqvae"])
def test_the_bundled_weights_load_and_draw_a_photograph_again(name: str) -> None:
    tokenizer = load_tokenizer(name, preset="bundled")
    image = photograph(256)
    mse = (tokenizer.decode(tokenizer.encode(image)) - image).square().mean() / 4
    assert -10 * mse.log10() > 17  # dB; random weights stay under 10
    assert tokenizer.describe()["checkpoint"] == f"bundled {name}"
    assert len(str(tokenizer.describe()["checkpoint_sha256"])) == 64


def test_infinitys_tokenizers_come_in_every_aspect_and_with_the_compute_asked_for() -> None:
    compute = Compute(precision="bf16", pass_images=3)
    tokenizer = load_tokenizer(
        "infinity_bsq", preset="bundled", resolution=512, aspect=1.25, compute=compute
    )
    assert tokenizer.schedule == bsq_schedule(1.25, 512)
    assert tokenizer.image_size == pixel_size(1.25, 512) == (560, 448)
    assert tokenizer.compute == compute
    assert tokenizer.passes.size == 3
    assert tokenizer.describe()["precision"] == "bf16"


def test_rectangles_are_for_infinitys_tokenizers_unless_asked_for_by_schedule() -> None:
    with pytest.raises(ValueError, match=r"square schedules only, but the aspect is 1\.25"):
        load_tokenizer("var_vqvae", preset="small", aspect=1.25)
    tokenizer = load_tokenizer("var_vqvae", preset="small").with_schedule(((1, 1), (4, 3), (8, 6)))
    assert tokenizer.image_size == (128, 96)
    codes = tokenizer.encode(torch.zeros(1, 3, 128, 96))
    assert codes.values_BL.shape == (1, 61)
    assert tokenizer.decode(codes).shape == (1, 3, 128, 96)


def test_weights_of_another_kind_of_model_are_named(tmp_path: Path) -> None:
    path = tmp_path / "transformer.safetensors"
    save_file({"pos_start": torch.zeros(1), "blocks.0.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"2 unexpected \(blocks\.0\.weight, pos_start\)"):
        load_tokenizer("infinity_bsq", preset="bundled", checkpoint=str(path))
