"""The VAR VQVAE against outputs of the reference implementation (tests/golden/var_vqvae)."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.tokenizers.load import make_var_vqvae
from model.tokenizers.prepare import to_model_input
from model.tokenizers.protocol import Codes
from model.tokenizers.sizes import VAR_PRESETS as PRESETS
from model.tokenizers.var_network import VarNetwork
from model.tokenizers.var_vqvae import VarVqvae
from schemas.store.checkpoint import Checkpoint

CLOSE_CALL = 1e-3  # squared distance; below it another BLAS may pick the other neighbour


def full_size_weights(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Rebuild the golden weights by the recipe in the golden folder's README."""
    weights = {}
    for key, shape in shapes.items():
        seed = zlib.crc32(key.encode()) ^ 31337
        z = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
        if "norm" in key:
            z = 1 + np.float32(0.1) * z if key.endswith("weight") else np.float32(0.1) * z
        elif len(shape) == 4:
            z = z / np.float32(np.sqrt(np.prod(shape[1:]))) * np.float32(1.2)
        elif key.endswith("bias"):
            z = np.float32(0.05) * z
        weights[key] = torch.from_numpy(z)
    return weights


def test_codes_of_golden_features_are_exact(
    small_var: VarVqvae, small_golden: dict[str, np.ndarray]
) -> None:
    codes = small_var.quantize(torch.from_numpy(small_golden["f"]))
    np.testing.assert_array_equal(codes.values_BL, small_golden["idx"])


def test_codes_of_golden_images_are_exact_but_for_close_calls(
    small_var: VarVqvae, small_golden: dict[str, np.ndarray], assert_only_close_calls: Callable
) -> None:
    codes = small_var.encode(to_model_input(small_golden["images_u8"]))
    wrong = codes.values_BL != small_golden["idx"]
    assert_only_close_calls(wrong, small_golden["margin"] < CLOSE_CALL, codes.schedule)


def test_features_of_golden_images_agree(
    small_var: VarVqvae, small_golden: dict[str, np.ndarray]
) -> None:
    features = small_var.features(to_model_input(small_golden["images_u8"]))
    np.testing.assert_allclose(features.numpy(), small_golden["f"], rtol=0, atol=1e-4)


def test_summed_features_and_next_scale_inputs_agree(
    small_var: VarVqvae, small_golden: dict[str, np.ndarray]
) -> None:
    codes = Codes(values_BL=small_golden["idx"][:2], schedule=small_var.schedule)
    summed = small_var.summed_features(codes).numpy()
    inputs = small_var.next_scale_inputs(codes).numpy()
    np.testing.assert_allclose(summed, small_golden["fhat_last"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(inputs, small_golden["var_input"], rtol=0, atol=1e-4)


def test_decoded_images_agree(small_var: VarVqvae, small_golden: dict[str, np.ndarray]) -> None:
    codes = Codes(values_BL=small_golden["idx"][:2], schedule=small_var.schedule)
    decoded = small_var.decode(codes).numpy()[:, :, ::4, ::4]
    np.testing.assert_allclose(decoded, small_golden["recon_every_4th"], rtol=0, atol=1e-3)


def test_the_full_size_has_the_published_keys_and_shapes(var_golden: Path) -> None:
    published = json.loads((var_golden / "full.key_layout.json").read_text())
    with torch.device("meta"):
        network = VarNetwork(PRESETS["full"])
    ours = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    assert len(ours) == 324
    assert ours == published
    assert sum(parameter.numel() for parameter in network.parameters()) == 108_948_355


@pytest.mark.slow
def test_the_full_size_agrees_with_the_reference(
    var_golden: Path, assert_only_close_calls: Callable
) -> None:
    shapes = json.loads((var_golden / "full.key_layout.json").read_text())
    overrides = load_file(var_golden / "full.overrides.f32.safetensors")
    recipe = {key: shape for key, shape in shapes.items() if key not in overrides}
    weights = {**full_size_weights(recipe), **overrides}
    source = Checkpoint(name="golden", sha256="", tensors=weights)
    tokenizer = make_var_vqvae(PRESETS["full"], source)
    with np.load(var_golden / "full.npz") as arrays:
        golden = dict(arrays)

    from_features = tokenizer.quantize(torch.from_numpy(golden["f"]))
    np.testing.assert_array_equal(from_features.values_BL, golden["idx"])

    features = tokenizer.features(to_model_input(golden["images_u8"]))
    np.testing.assert_allclose(features.numpy(), golden["f"], rtol=0, atol=1e-4)
    wrong = tokenizer.quantize(features).values_BL != golden["idx"]
    assert_only_close_calls(wrong, golden["margin"] < CLOSE_CALL, tokenizer.schedule)

    codes = Codes(values_BL=golden["idx"], schedule=tokenizer.schedule)
    summed = tokenizer.summed_features(codes).numpy()
    decoded = tokenizer.decode(codes).numpy()[:, :, ::4, ::4]
    np.testing.assert_allclose(summed, golden["fhat_last"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(decoded, golden["recon_every_4th"], rtol=0, atol=1e-3)
