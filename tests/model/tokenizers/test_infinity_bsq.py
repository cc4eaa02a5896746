"""What a BSQ tokenizer takes, refuses and loads."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from filters.aspects import ASPECTS
from filters.compute import Compute
from model.tokenizers.bsq_network import BsqNetwork, plain_keys, wrapped_key
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import make_infinity_bsq, make_var_vqvae
from model.tokenizers.protocol import Codes
from model.tokenizers.sizes import VAR_PRESETS, BsqConfig, schedule_of
from schemas.store.checkpoint import CheckpointError, read_checkpoint

TINY = BsqConfig(bits=8, ch=24, ch_mult=(1, 1, 1, 1, 1), num_res_blocks=1)


@pytest.fixture(scope="module")
def tiny() -> InfinityBsq:
    return make_infinity_bsq(TINY, None)


def of_bits(bits: int, *, patchify: bool = False) -> InfinityBsq:
    mult = (1, 1, 1, 1) if patchify else (1, 1, 1, 1, 1)
    config = BsqConfig(bits=bits, ch=24, ch_mult=mult, num_res_blocks=1, patchify=patchify)
    return make_infinity_bsq(config, None)


def images(tokenizer: InfinityBsq, count: int = 1) -> Tensor:
    torch.manual_seed(0)
    return torch.rand(count, 3, *tokenizer.image_size) * 2 - 1


@pytest.mark.parametrize("bits", [1, 14, 16, 24, 32, 33, 64])
def test_codes_of_any_number_of_bits_come_back(bits: int) -> None:
    tokenizer = of_bits(bits)
    codes = tokenizer.encode(images(tokenizer))
    assert codes.values_BL.dtype == np.uint32
    assert codes.values_BL.shape == ((1, 521, 2) if bits > 32 else (1, 521))
    again = Codes.unpack(codes.pack(), tokenizer.schedule)
    assert torch.equal(tokenizer.bits(again), tokenizer.bits(codes))
    assert tokenizer.bits(codes).shape == (1, 521, bits)
    assert tokenizer.decode(again).shape == (1, 3, 256, 256)


@pytest.mark.parametrize("aspect", [ASPECTS[0], ASPECTS[1], ASPECTS[-1]])
@pytest.mark.parametrize("patchify", [False, True])
def test_images_of_every_shape_keep_it(aspect: float, patchify: bool) -> None:
    tokenizer = of_bits(14, patchify=patchify)
    tokenizer = tokenizer.with_schedule(schedule_of(tokenizer.config, 256, aspect))
    codes = tokenizer.encode(images(tokenizer))
    labels, inputs = tokenizer.labels(codes), tokenizer.next_scale_inputs(codes)
    positions = sum(h * w for h, w in schedule_of(TINY, 256, aspect))
    assert labels.shape == (1, positions, 56 if patchify else 14)
    assert inputs.shape == (1, positions - 1, labels.shape[2])
    assert tokenizer.decode(codes).shape[2:] == tokenizer.image_size


def test_tokenizers_of_other_schedules_share_their_weights(tiny: InfinityBsq) -> None:
    larger = tiny.with_schedule(schedule_of(TINY, 512))
    assert larger.image_size == (512, 512)
    assert tiny.image_size == (256, 256)
    assert larger.encode(images(larger)).values_BL.shape == (1, 2521)


def test_patchify_gathers_blocks_of_four_channel_by_channel() -> None:
    tokenizer = of_bits(2, patchify=True).with_schedule(((2, 2),))
    bits = torch.tensor([[[1, 0], [0, 0], [0, 1], [1, 1]]], dtype=torch.bool)  # raster order
    values = np.array([[2, 0, 1, 3]], np.uint32)
    codes = Codes(values_BL=values, schedule=((2, 2),))
    assert torch.equal(tokenizer.bits(codes), bits)
    # channel * 4 + 2 * row + column
    assert tokenizer.labels(codes).int().tolist() == [[[1, 0, 0, 1, 0, 0, 1, 1]]]


def test_an_odd_scale_is_refused_with_patchify() -> None:
    with pytest.raises(ValueError, match="with patchify every scale must be even"):
        of_bits(14, patchify=True).with_schedule(((1, 1), (32, 32)))


@pytest.mark.parametrize("schedule", [(), ((0, 1),), ((4, 4), (2, 2))])
def test_a_schedule_that_is_none_is_refused(tiny: InfinityBsq, schedule: tuple) -> None:
    with pytest.raises(ValueError, match=r"schedule|does not fit"):
        tiny.with_schedule(schedule)


def test_codes_of_too_many_bits_are_refused(tiny: InfinityBsq) -> None:
    codes = Codes(values_BL=np.full((1, 521), 256, np.uint32), schedule=tiny.schedule)
    with pytest.raises(ValueError, match="expected codes below 256, the largest is 256"):
        tiny.decode(codes)


def test_codes_of_another_number_of_words_are_refused(tiny: InfinityBsq) -> None:
    codes = Codes(values_BL=np.zeros((1, 521, 2), np.uint32), schedule=tiny.schedule)
    with pytest.raises(ValueError, match="expected 1 words per code"):
        tiny.decode(codes)


@pytest.mark.parametrize(
    ("flips", "message"),
    [
        (torch.zeros(1, 521, 7, dtype=torch.bool), r"got torch\.bool \[1, 521, 7\]"),
        (torch.zeros(1, 521, 8), r"got torch\.float32"),
    ],
)
def test_flips_of_another_shape_or_type_are_refused(
    tiny: InfinityBsq, flips: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.self_correct(torch.zeros(1, 8, 16, 16), flips)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_self_correction_refuses_features_that_are_not_finite(
    tiny: InfinityBsq, value: float
) -> None:
    features = torch.zeros(1, 8, 16, 16)
    features[0, 7, 15, 15] = value
    with pytest.raises(ValueError, match="finite features"):
        tiny.self_correct(features, torch.zeros(1, 521, 8, dtype=torch.bool))


def test_a_flip_changes_later_labels_and_not_its_own(tiny: InfinityBsq) -> None:
    features = tiny.features(images(tiny))
    none = torch.zeros(1, 521, 8, dtype=torch.bool)
    flips = none.clone()
    flips[0, 0] = True  # all bits of the first scale
    clean, flipped = tiny.self_correct(features, none), tiny.self_correct(features, flips)
    assert torch.equal(clean.labels_BPD[:, :1], flipped.labels_BPD[:, :1])
    assert (clean.labels_BPD[:, 1:] != flipped.labels_BPD[:, 1:]).any()


def test_differing_counts_bits_in_every_word() -> None:
    tokenizer = of_bits(33)
    codes = np.zeros((2, 521, 2), np.uint32)
    others = codes.copy()
    others[1, 5] = 1, 0b1011
    assert tokenizer.differing(codes, others) == (2 * 521 * 33, 4)


def test_the_description_says_how_the_codes_are_to_be_read() -> None:
    described = of_bits(33).describe()
    assert described == {
        "name": "infinity_bsq",
        "checkpoint": "random weights, seed 0",
        "checkpoint_sha256": "",
        "codes_dtype": "uint32",
        "codes_limit": 2**32,
        "code_words": 2,
        "precision": "fp32",
        "bits": 33,
        "patchify": 0,
    }
    patchified = of_bits(14, patchify=True).describe()
    changed = {"codes_limit": 2**14, "code_words": 1, "bits": 14, "patchify": 1}
    assert patchified == {**described, **changed}


def test_a_number_of_bits_that_two_words_do_not_hold_is_refused() -> None:
    for bits in (0, 65):
        with pytest.raises(ValueError, match=f"expected 1 to 64 bits per position, got {bits}"):
            BsqConfig(bits=bits)


def test_bf16_moves_a_small_share_of_the_bits() -> None:
    exact = of_bits(32)
    rough = make_infinity_bsq(exact.config, None, compute=Compute(precision="bf16"))
    pixels = images(exact, 2)
    units, differing = exact.differing(
        exact.encode(pixels).values_BL, rough.encode(pixels).values_BL
    )
    assert units == 2 * 521 * 32
    assert 0 < differing < 0.25 * units
    assert rough.in_fp32().encode(pixels).values_BL.tolist() == (
        exact.encode(pixels).values_BL.tolist()
    )


@pytest.fixture
def weights(tiny: InfinityBsq) -> dict[str, Tensor]:
    return {key: x.contiguous() for key, x in tiny._network.state_dict().items()}


def wrapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    masks = {f"{name}.lfq.mask": 2 ** torch.arange(7, -1, -1) for name in ("quantizer", "quantize")}
    return {wrapped_key(key): x for key, x in weights.items()} | masks


LAYOUTS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "wrapped.safetensors": wrapped,
    "plain.safetensors": lambda weights: weights,
    "flat.pth": wrapped,
    "published.pth": lambda weights: {"vae": wrapped(weights), "ema": {}, "step": 7},
    "published_plain.pth": lambda weights: {"vae": weights},
    "vargpt.safetensors": lambda weights: (
        {f"vae_local.{key}": x for key, x in wrapped(weights).items()}
        | {"model.norm.weight": torch.ones(3)}
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_published_layout_loads_to_the_same_weights(
    tiny: InfinityBsq, weights: dict[str, Tensor], name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    content = LAYOUTS[name](weights)
    if name.endswith(".pth"):
        torch.save(content, path)
    else:
        save_file(content, path)  # type: ignore[arg-type]
    loaded = make_infinity_bsq(TINY, read_checkpoint(str(path)))
    state = loaded._network.state_dict()
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[key], weights[key]) for key in weights)
    pixels = images(tiny)
    assert loaded.encode(pixels).values_BL.tolist() == tiny.encode(pixels).values_BL.tolist()


def test_plain_and_wrapped_keys_are_each_others_inverse() -> None:
    with torch.device("meta"):
        state = BsqNetwork(TINY).state_dict()
    assert list(plain_keys({wrapped_key(key): x for key, x in state.items()})) == list(state)
    assert list(plain_keys(state)) == list(state)


def test_a_checkpoint_of_the_other_tokenizer_is_refused_with_its_keys(
    var_golden: Path, bsq_golden: Path
) -> None:
    var = read_checkpoint(str(var_golden / "small.state_dict.f16.safetensors"))
    with pytest.raises(CheckpointError, match=r"unexpected .*of the wrong shape"):
        make_infinity_bsq(TINY, var)
    bsq = read_checkpoint(str(bsq_golden / "d32.state_dict.f16.safetensors"))
    with pytest.raises(CheckpointError, match=r"missing .*unexpected"):
        make_var_vqvae(VAR_PRESETS["small"], bsq)


def test_a_truncated_or_poisoned_checkpoint_is_refused(bsq_golden: Path, tmp_path: Path) -> None:
    source = bsq_golden / "d32.state_dict.f16.safetensors"
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors: damaged or truncated"):
        read_checkpoint(str(cut))
    tensors = load_file(source)
    tensors["encoder.conv_in.conv.weight"][0, 0, 0, 0] = torch.nan
    save_file(tensors, tmp_path / "nan.safetensors")
    config = BsqConfig(ch=24, ch_mult=(1, 1, 2, 2, 2), num_res_blocks=1)
    with pytest.raises(CheckpointError, match=r"1 not finite \(encoder\.conv_in\.weight\)"):
        make_infinity_bsq(config, read_checkpoint(str(tmp_path / "nan.safetensors")))
