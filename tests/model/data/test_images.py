"""Inputs and targets of stored codes."""

import numpy as np
import pytest
import torch
from training_shards import SHAPES, SQUARE

from model.data.images import StoredImage, Targets, draw_flips
from model.data.manifest import DataError
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import make_infinity_bsq, make_var_vqvae
from model.tokenizers.protocol import Codes, Schedule
from model.tokenizers.schedules import bsq_schedule
from model.tokenizers.sizes import BsqConfig, VarConfig

SCHEDULE = SQUARE[1.0]


def stored(bsq: InfinityBsq, schedule: Schedule, count: int) -> tuple[list[StoredImage], Codes]:
    """Return images with features, codes of those, and flips; and the codes together."""
    tokenizer = bsq.with_schedule(schedule)
    torch.manual_seed(0)
    features = torch.randn(count, bsq.channels, *schedule[-1]).half()
    codes = tokenizer.quantize(features)
    images = [
        StoredImage(
            schedule=schedule,
            codes=code,
            features=feature.numpy(),
            flips=draw_flips(schedule, bsq.config.bits, "key", number),
        )
        for number, (code, feature) in enumerate(zip(codes.values_BL, features, strict=True))
    ]
    return images, codes


def flips_of(images: list[StoredImage]) -> torch.Tensor:
    bits = [np.unpackbits(image.flips, axis=-1) for image in images if image.flips is not None]
    return torch.from_numpy(np.stack(bits).astype(bool))


@pytest.mark.parametrize("schedule", SHAPES.values())
def test_from_features_it_is_what_the_tokenizer_makes_of_them(bsq, schedule: Schedule) -> None:
    images, _ = stored(bsq, schedule, 3)
    features = torch.from_numpy(np.stack([image.features for image in images]))
    expected = bsq.with_schedule(schedule).self_correct(features, flips_of(images))
    inputs, targets = Targets(bsq, "exact")(images)
    assert torch.equal(inputs, expected.inputs_BPD)
    assert torch.equal(targets, expected.labels_BPD.long())
    assert (inputs.dtype, targets.dtype) == (torch.float32, torch.int64)


def test_without_self_correction_it_is_the_codes_as_they_are(bsq: InfinityBsq) -> None:
    images, codes = stored(bsq, SCHEDULE, 2)
    tokenizer = bsq.with_schedule(SCHEDULE)
    inputs, targets = Targets(bsq, "off")(images)
    assert torch.equal(inputs, tokenizer.next_scale_inputs(codes))
    assert torch.equal(targets, tokenizer.labels(codes).long())


def test_from_codes_it_is_closer_to_that_of_features_than_the_clean_bits_are(bsq) -> None:
    schedule = bsq_schedule(1.0, 256)
    images, _ = stored(bsq, schedule, 8)
    exact, approximate, clean = (
        Targets(bsq, kind)(images)[1] for kind in ("exact", "approximate", "off")
    )
    agreeing = [(each == exact).float().mean().item() for each in (approximate, clean)]
    assert agreeing[0] > agreeing[1] + 0.02
    assert torch.equal(approximate[:, 0], exact[:, 0])


def test_an_image_comes_out_alike_alone_and_in_a_batch(bsq: InfinityBsq) -> None:
    images, _ = stored(bsq, SCHEDULE, 4)
    for kind in ("exact", "approximate", "off"):
        targets = Targets(bsq, kind)
        together = targets(images)
        for number, image in enumerate(images):
            alone = targets([image])
            assert all(torch.equal(a[0], b[number]) for a, b in zip(alone, together, strict=True))


def test_indices_of_var_are_targets_as_they_are() -> None:
    config = VarConfig(
        vocab=64, z_channels=4, ch=8, ch_mult=(1, 1), norm_groups=0, num_res_blocks=1
    )
    tokenizer = make_var_vqvae(config, None).with_schedule(SCHEDULE)
    codes = np.arange(42, dtype=np.uint16).reshape(2, 21)
    images = [StoredImage(schedule=SCHEDULE, codes=row) for row in codes]
    inputs, targets = Targets(tokenizer, "off")(images)
    assert targets.squeeze(-1).tolist() == codes.tolist()
    expected = tokenizer.next_scale_inputs(Codes(values_BL=codes, schedule=SCHEDULE))
    assert torch.equal(inputs, expected)
    with pytest.raises(DataError, match="var_vqvae has no bits to flip"):
        Targets(tokenizer, "approximate")


def test_with_patchify_the_model_sees_a_quarter_of_the_positions() -> None:
    config = BsqConfig(bits=2, ch=24, ch_mult=(1, 1, 1, 1), num_res_blocks=1, patchify=True)
    tokenizer = make_infinity_bsq(config, None)
    schedule = ((2, 2), (4, 4), (8, 4))
    images, _ = stored(tokenizer, schedule, 2)
    for kind in ("exact", "approximate", "off"):
        targets = Targets(tokenizer, kind)
        assert targets.model_schedule(schedule) == ((1, 1), (2, 2), (4, 2))
        inputs, labels = targets(images)
        assert (list(inputs.shape), list(labels.shape)) == ([2, 12, 8], [2, 13, 8])


def test_flips_hang_on_key_and_epoch_and_have_the_published_mean() -> None:
    schedule = bsq_schedule(1.0, 256)
    one = draw_flips(schedule, 32, "seed", 0, "key")
    assert one.tolist() == draw_flips(schedule, 32, "seed", 0, "key").tolist()
    assert one.tolist() != draw_flips(schedule, 32, "seed", 1, "key").tolist()
    assert one.shape == (521, 4)
    shares = []
    for number in range(300):
        flips = np.unpackbits(draw_flips(schedule, 32, number), axis=-1)
        shares.append(flips[265:].mean())
    assert 0.135 < np.mean(shares) < 0.165
    assert min(shares) < 0.02
    assert 0.28 < max(shares) < 0.32


def test_flips_of_bits_that_fill_no_byte_come_back() -> None:
    assert draw_flips(SCHEDULE, 13, "x").shape == (21, 2)
