"""Infinity's BSQ-VAE against outputs of the reference (tests/golden/infinity_bsq)."""

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from filters.compute import Compute
from model.tokenizers import bsq_quantizer
from model.tokenizers.bsq_network import BsqNetwork, plain_keys, wrapped_key
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import make_infinity_bsq
from model.tokenizers.prepare import to_model_input
from model.tokenizers.protocol import Codes
from model.tokenizers.schedules import bsq_schedule, double
from model.tokenizers.sizes import BSQ_PRESETS as PRESETS
from schemas.store.checkpoint import Checkpoint

SETS = {
    "d32.sq256": bsq_schedule(1.0, 256),
    "d32.sq512": bsq_schedule(1.0, 512),
    "d14_patchify.sq256": double(bsq_schedule(1.0, 256)),
}
Golden = Mapping[str, NDArray]


@pytest.fixture(scope="module", params=SETS)
def case(
    request: pytest.FixtureRequest, bsq_golden: Path, make_small_bsq: Callable
) -> tuple[InfinityBsq, Golden]:
    name = request.param.split(".")[0]
    tokenizer = make_small_bsq(name, Compute()).with_schedule(SETS[request.param])
    with np.load(bsq_golden / f"{request.param}.npz") as arrays:
        return tokenizer, dict(arrays)


def unpacked(bytes_: NDArray, size: int) -> NDArray[np.bool_]:
    return np.unpackbits(bytes_, axis=-1)[..., :size].astype(bool)


def close_calls(golden: Golden, bits: int) -> NDArray[np.bool_]:
    """Say of every bit whether its sign is within 1e-5 of changing, bool [N, L, d]."""
    close = np.zeros((*golden["packed"].shape, bits), bool)
    close[tuple(golden["close"].T)] = True
    return close


def golden_codes(tokenizer: InfinityBsq, golden: Golden, images: int | None = None) -> Codes:
    return Codes(values_BL=golden["packed"][:images], schedule=tokenizer.schedule)


def test_bits_of_golden_features_are_exact(case: tuple[InfinityBsq, Golden]) -> None:
    tokenizer, golden = case
    codes = tokenizer.quantize(torch.from_numpy(golden["h"]))
    np.testing.assert_array_equal(codes.values_BL, golden["packed"])


def test_features_and_bits_of_golden_images_agree_but_for_close_calls(
    case: tuple[InfinityBsq, Golden], assert_only_close_calls: Callable
) -> None:
    tokenizer, golden = case
    features = tokenizer.features(to_model_input(golden["images_u8"]))
    np.testing.assert_allclose(features.numpy(), golden["h"], rtol=0, atol=1e-4)
    found = tokenizer.bits(tokenizer.quantize(features))
    wrong = (found != tokenizer.bits(golden_codes(tokenizer, golden))).numpy()
    close = close_calls(golden, tokenizer.config.bits)
    assert_only_close_calls(wrong, close, tokenizer.schedule)


def test_margins_are_small_at_the_close_calls_alone(case: tuple[InfinityBsq, Golden]) -> None:
    tokenizer, golden = case
    schedule, h_BdHW = tokenizer.schedule, torch.from_numpy(golden["h"])
    bits_BLd = tokenizer.bits(golden_codes(tokenizer, golden))
    sums = bsq_quantizer.partial_sums(bits_BLd, schedule)[:-1]
    rests = [h_BdHW, *(h_BdHW - sum_BdHW for sum_BdHW in sums)]
    margins_BLd = torch.cat(
        [
            bsq_quantizer.margins(bsq_quantizer.shrink(rest_BdHW, size))
            for rest_BdHW, size in zip(rests, schedule, strict=True)
        ],
        dim=1,
    )
    close = close_calls(golden, tokenizer.config.bits)
    assert (margins_BLd[close] < 1.1e-5).all()
    assert (margins_BLd[~close] > 0.9e-5).all()


def test_labels_are_exact(case: tuple[InfinityBsq, Golden]) -> None:
    tokenizer, golden = case
    labels = tokenizer.labels(golden_codes(tokenizer, golden, 2)).numpy()
    np.testing.assert_array_equal(labels, unpacked(golden["labels"], labels.shape[-1]))


def test_next_scale_inputs_are_trilinear_and_the_encoders_own_on_request(
    case: tuple[InfinityBsq, Golden],
) -> None:
    tokenizer, golden = case
    codes = golden_codes(tokenizer, golden, 1)
    inputs = tokenizer.next_scale_inputs(codes)
    np.testing.assert_allclose(inputs, golden["var_input"], rtol=0, atol=1e-5)
    area = tokenizer.next_scale_inputs(codes, "area")
    np.testing.assert_allclose(area, golden["area"], rtol=0, atol=1e-5)


def test_self_correction_with_the_references_flips_is_exact(
    case: tuple[InfinityBsq, Golden],
) -> None:
    tokenizer, golden = case
    flips = torch.from_numpy(unpacked(golden["flips"], tokenizer.config.bits))
    found = tokenizer.self_correct(torch.from_numpy(golden["h"]), flips)
    expected = unpacked(golden["noise_labels"], found.labels_BPD.shape[-1])
    np.testing.assert_array_equal(found.labels_BPD, expected)
    inputs = found.inputs_BPD[:1]
    np.testing.assert_allclose(inputs, golden["noise_var_input"], rtol=0, atol=1e-5)


def test_without_flips_self_correction_labels_are_the_clean_bits(
    case: tuple[InfinityBsq, Golden],
) -> None:
    tokenizer, golden = case
    codes = golden_codes(tokenizer, golden, 1)
    none = torch.zeros_like(tokenizer.bits(codes))
    found = tokenizer.self_correct(torch.from_numpy(golden["h"][:1]), none)
    assert torch.equal(found.labels_BPD, tokenizer.labels(codes))
    inputs = tokenizer.next_scale_inputs(codes)
    np.testing.assert_allclose(found.inputs_BPD, inputs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("flipped", [False, True])
def test_float16_features_move_1_to_9_labels_in_10_000(
    case: tuple[InfinityBsq, Golden], flipped: bool
) -> None:
    tokenizer, golden = case
    flips = torch.from_numpy(unpacked(golden["flips"], tokenizer.config.bits)) & flipped
    exact = tokenizer.self_correct(torch.from_numpy(golden["h"]), flips).labels_BPD
    stored = tokenizer.self_correct(torch.from_numpy(golden["h"]).half(), flips).labels_BPD
    share = (exact != stored).float().mean().item()
    # Measured: d32 at 256 px 0.8e-4, with flips 1.1e-4; at 512 px 3.5e-4, with flips 8.6e-4;
    # d14 with patchify 0.9e-4, with flips 1.2e-4.
    assert 0.5e-4 < share < 9.5e-4


def test_summed_codes_and_decoded_images_agree(case: tuple[InfinityBsq, Golden]) -> None:
    tokenizer, golden = case
    codes = golden_codes(tokenizer, golden, 1)
    summed = tokenizer.summed_features(codes)
    np.testing.assert_allclose(summed, golden["summed"], rtol=0, atol=1e-6)
    decoded = tokenizer.decode(codes)[:, :, ::4, ::4]
    np.testing.assert_allclose(decoded, golden["recon_every_4th"], rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "bundled"])
def test_every_size_has_the_published_keys_shapes_and_parameters(
    bsq_golden: Path, name: str
) -> None:
    sizes = json.loads((bsq_golden / "full.key_layout.json").read_text())
    unlike = sizes[name].get("keys_unlike_d32")
    published = sizes[name]["keys"] if unlike is None else sizes["d32"]["keys"] | unlike
    with torch.device("meta"):
        network = BsqNetwork(PRESETS[name])
    state = network.state_dict()
    ours = {wrapped_key(key): [list(x.shape), "float32"] for key, x in state.items()}
    masks = {f"{holder}.lfq.mask" for holder in ("quantizer", "quantize")}
    ours |= {key: [[PRESETS[name].bits], "int64"] for key in masks}
    assert ours == published
    assert len(ours) == (226 if name == "d14_patchify" else 270)
    assert list(plain_keys({key: torch.empty(0) for key in published})) == list(state)
    assert sum(x.numel() for x in network.parameters()) == sizes[name]["n_params"]


@pytest.mark.slow
def test_the_full_size_agrees_with_the_reference(bsq_golden: Path) -> None:
    overrides = load_file(bsq_golden / "full_d32.overrides.f32.safetensors")
    with torch.device("meta"):
        shapes = {
            wrapped_key(key): x.shape for key, x in BsqNetwork(PRESETS["d32"]).state_dict().items()
        }
    weights = {key: _by_recipe(key, shape) for key, shape in shapes.items()} | overrides
    tokenizer = make_infinity_bsq(
        PRESETS["d32"], Checkpoint(name="golden", sha256="", tensors=weights)
    )
    with np.load(bsq_golden / "full_d32.npz") as arrays:
        golden = dict(arrays)
    from_features = tokenizer.quantize(torch.from_numpy(golden["h"]))
    np.testing.assert_array_equal(from_features.values_BL, golden["packed"])
    features = tokenizer.features(to_model_input(golden["images_u8"]))
    np.testing.assert_allclose(features.numpy(), golden["h"], rtol=0, atol=1e-4)
    # The closest call of this image is 1.2e-5 from falling otherwise.
    assert golden["margin_min"] > 1e-5
    np.testing.assert_array_equal(tokenizer.quantize(features).values_BL, golden["packed"])
    decoded = tokenizer.decode(golden_codes(tokenizer, golden))[:, :, ::4, ::4]
    np.testing.assert_allclose(decoded, golden["recon_every_4th"], rtol=0, atol=2e-3)


def _by_recipe(key: str, shape: torch.Size) -> torch.Tensor:
    """Make a tensor as the golden folder's README says."""
    state = np.random.RandomState(zlib.crc32(key.encode()) ^ 31338)
    z = state.standard_normal(shape).astype(np.float32)
    if "norm" in key:
        z = 1 + np.float32(0.1) * z if key.endswith("weight") else np.float32(0.1) * z
    elif len(shape) == 4:
        z = z / np.float32(np.sqrt(np.prod(shape[1:]))) * np.float32(1.2)
    elif key.endswith("bias"):
        z = np.float32(0.05) * z
    return torch.from_numpy(z)
