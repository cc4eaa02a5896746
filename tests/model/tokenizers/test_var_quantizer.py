import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from model.tokenizers.protocol import Schedule, scale_slices
from model.tokenizers.var_quantizer import MultiScaleQuantizer, phi_index

SCHEDULE: Schedule = ((1, 1), (1, 2), (2, 3), (4, 6))


@pytest.fixture
def quantizer() -> MultiScaleQuantizer:
    torch.manual_seed(0)
    made = MultiScaleQuantizer(vocab=50, channels=8, scales=4, phis=2, strength=0.5)
    return made.requires_grad_(False)


@given(st.integers(2, 40), st.integers(1, 12))
def test_the_phi_of_a_scale_is_the_nearest_tick(scales: int, phis: int) -> None:
    first = Fraction(1, 3 * phis) if phis == 4 else Fraction(1, 2 * phis)
    step = (1 - 2 * first) / (phis - 1) if phis > 1 else Fraction(0)
    for scale in range(scales):
        away = [abs(first + step * i - Fraction(scale, scales - 1)) for i in range(phis)]
        assert away[phi_index(scale, scales, phis)] == min(away)


def test_ten_scales_share_four_phis_as_published() -> None:
    assert [phi_index(scale, 10, 4) for scale in range(10)] == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]


def test_the_nearest_codebook_vector_is_found(quantizer: MultiScaleQuantizer) -> None:
    z = torch.randn(2, 8, 4, 6)
    flat = z.permute(0, 2, 3, 1).reshape(-1, 1, 8).double()
    brute = (flat - quantizer.embedding.weight.double()).square().sum(2).argmin(1)
    assert torch.equal(quantizer.nearest(z).flatten(), brute)


def test_every_scale_quantizes_what_the_scales_before_left(quantizer: MultiScaleQuantizer) -> None:
    features = torch.randn(2, 8, 4, 6)
    codes = quantizer.encode(features, SCHEDULE)
    before = [torch.zeros_like(features), *quantizer.partial_sums(codes, SCHEDULE)]
    for sum_so_far, size, part in zip(before, SCHEDULE, scale_slices(SCHEDULE), strict=False):
        rest = F.interpolate(features - sum_so_far, size=size, mode="area")
        assert torch.equal(codes[:, part], quantizer.nearest(rest))


def test_the_features_are_not_changed_by_encoding(quantizer: MultiScaleQuantizer) -> None:
    features = torch.randn(1, 8, 4, 6)
    before = features.clone()
    quantizer.encode(features, SCHEDULE)
    assert torch.equal(features, before)


def test_next_scale_inputs_are_causal(quantizer: MultiScaleQuantizer) -> None:
    codes = torch.arange(33)[None] % 50
    changed = codes.clone()
    changed[:, 3:9] += 1
    inputs = quantizer.next_scale_inputs(codes, SCHEDULE)
    other = quantizer.next_scale_inputs(changed, SCHEDULE)
    assert inputs.shape == (1, 32, 8)
    same = (inputs == other).all(dim=2)[0].numpy()
    np.testing.assert_array_equal(same, np.arange(32) < 8)


def reference_phi(scale: int, scales: int, phis: int) -> int:
    """Choose as PhiPartiallyShared and PhiNonShared do (VAR, models/quant.py), by a loop."""
    margin = 1 / 3 / phis if phis == 4 else 1 / 2 / phis
    ticks = np.linspace(margin, 1 - margin, phis).tolist()
    best = 0
    for phi in range(phis):
        if abs(ticks[phi] - scale / (scales - 1)) < abs(ticks[best] - scale / (scales - 1)):
            best = phi
    return best


@pytest.mark.parametrize("scales", [4, 10])
@pytest.mark.parametrize("phis", [0, 1, 2, 3, 4, 5])
def test_phis_shared_or_not_have_their_published_keys_and_places(phis: int, scales: int) -> None:
    keys = {
        0: [f"quant_resi.{scale}" for scale in range(scales)],
        1: ["quant_resi.qresi"],
    }.get(phis, [f"quant_resi.qresi_ls.{phi}" for phi in range(phis)])
    torch.manual_seed(0)
    quantizer = MultiScaleQuantizer(vocab=9, channels=8, scales=scales, phis=phis, strength=0.3)
    found = [key for key in quantizer.state_dict() if key.startswith("quant_resi")]
    assert found == [f"{key}.{name}" for key in keys for name in ("weight", "bias")]
    modules = dict(quantizer.named_modules())
    h_BCHW = torch.randn(1, 8, 4, 6)
    for now in (scales, 7):  # as trained, and as many as another schedule has
        for scale in range(now):
            expected = modules[keys[reference_phi(scale, now, len(keys))]]
            assert quantizer.phi(scale, now) is expected
            smoothed = F.conv2d(h_BCHW, expected.weight, expected.bias, padding=1)  # type: ignore[arg-type]
            mixed = 0.7 * h_BCHW + 0.3 * smoothed
            assert torch.allclose(quantizer.phi(scale, now)(h_BCHW), mixed, atol=1e-6)


def test_the_codebook_is_drawn_wherever_it_has_values() -> None:
    made = MultiScaleQuantizer(vocab=500, channels=8, scales=4, phis=1, strength=0.5)
    assert 0.9 < made.embedding.weight.std() < 1.1


@pytest.mark.slow
def test_a_network_that_is_made_does_not_import_torchs_compiler() -> None:
    script = (
        "import sys, torch; from model.tokenizers.load import VarConfig, make_var_vqvae; "
        "make_var_vqvae(VarConfig(ch=32, ch_mult=(1, 1)), None); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_phi_without_strength_is_its_shortcut() -> None:
    torch.manual_seed(0)
    quantizer = MultiScaleQuantizer(vocab=9, channels=8, scales=4, phis=1, strength=0)
    h_BCHW = torch.randn(1, 8, 4, 6)
    assert torch.equal(quantizer.phi(0, 4)(h_BCHW), h_BCHW)
    assert [key for key in quantizer.state_dict() if "resi" in key] == []


def test_the_sign_of_a_phis_strength_is_ignored() -> None:
    torch.manual_seed(0)
    one, other = (
        MultiScaleQuantizer(vocab=9, channels=8, scales=4, phis=1, strength=strength)
        for strength in (0.5, -0.5)
    )
    other.load_state_dict(one.state_dict())
    h_BCHW = torch.randn(1, 8, 4, 6)
    assert torch.equal(one.phi(0, 4)(h_BCHW), other.phi(0, 4)(h_BCHW))
