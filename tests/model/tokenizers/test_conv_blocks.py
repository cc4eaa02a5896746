"""The networks compute the same with and without gradients, and in either layout."""

import pytest
import torch

from model.tokenizers.conv_blocks import Decoder, Encoder

SIZES = {"ch": 24, "ch_mult": (1, 2, 2), "num_res_blocks": 1, "z_channels": 8}


@pytest.mark.parametrize("norm_groups", [None, 0, 3])
@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("network", [Encoder, Decoder])
def test_working_in_place_changes_neither_the_input_nor_the_result(
    network: type[Encoder | Decoder], attention: bool, norm_groups: int | None
) -> None:
    torch.manual_seed(0)
    made = network(**SIZES, attention=attention, norm_groups=norm_groups)  # type: ignore[arg-type]
    x = torch.randn(2, 3, 20, 24) if network is Encoder else torch.randn(2, 8, 5, 6)
    before = x.clone()
    with_gradients = made(x)
    assert with_gradients.shape == ((2, 8, 5, 6) if network is Encoder else (2, 3, 20, 24))
    with torch.no_grad():
        assert torch.equal(made(x), with_gradients)
        last = made(x.to(memory_format=torch.channels_last))
    assert torch.equal(x, before)
    assert torch.allclose(last, with_gradients, atol=1e-5)


def test_a_width_that_the_groups_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a width that is a multiple of 24, got 16"):
        Encoder(**{**SIZES, "ch": 16}, attention=False)  # type: ignore[arg-type]
