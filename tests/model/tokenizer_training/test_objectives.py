"""What a tokenizer is trained to do, on hand-made cases."""

import pytest
import torch

from model.tokenizer_training.objectives import (
    BsqObjective,
    LossWeights,
    VarObjective,
    reconstruction_loss,
)
from model.tokenizer_training.trainee import start_near_identity
from model.tokenizers import bsq_quantizer
from model.tokenizers.bsq_network import BsqNetwork
from model.tokenizers.sizes import BsqConfig, VarConfig
from model.tokenizers.var_network import VarNetwork

MULT = (1, 1, 1, 1, 1)
SCHEDULE = ((1, 1), (2, 2), (4, 4))
BSQ = BsqConfig(bits=8, ch=16, ch_mult=MULT, num_res_blocks=1, norm_groups=0)
VAR = VarConfig(
    vocab=64, z_channels=8, ch=16, ch_mult=MULT, num_res_blocks=1, norm_groups=0, phis=2,
    patch_nums=(1, 2, 4),
)  # fmt: skip


def images(count: int = 2) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(count, 3, 64, 64) * 2 - 1


def bsq() -> BsqObjective:
    torch.manual_seed(0)
    network = BsqNetwork(BSQ)
    start_near_identity(network)
    return BsqObjective(network, LossWeights())


def var() -> VarObjective:
    torch.manual_seed(0)
    network = VarNetwork(VAR)
    start_near_identity(network)
    return VarObjective(network, LossWeights(), revive_every=1)


@pytest.mark.parametrize("objective", [bsq(), var()], ids=["bsq", "var"])
def test_every_part_of_the_network_learns(objective: BsqObjective | VarObjective) -> None:
    drawn, quantizing = objective(images(), SCHEDULE)
    loss = reconstruction_loss(drawn, images(), LossWeights(), None) + quantizing
    loss.backward()
    still = [
        name
        for name, parameter in objective.network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum()
    ]
    # Branches that begin at zero pass nothing back to what is inside them in the first step.
    inside = ("norm1", "conv1", "norm2", "attn", "qkv", ".norm.")
    assert [name for name in still if not any(part in name for part in inside)] == []


def test_what_bsq_decodes_is_what_its_bits_amount_to() -> None:
    objective = bsq()
    with torch.no_grad():
        drawn, _ = objective(images(), SCHEDULE)
        h = objective.network.encode(images())
        summed = bsq_quantizer.partial_sums(bsq_quantizer.encode(h, SCHEDULE), SCHEDULE)[-1]
        assert torch.allclose(drawn, objective.network.decode(summed), atol=1e-5)


def test_what_var_decodes_is_what_its_codes_amount_to() -> None:
    objective = var()
    quantizer = objective.network.quantize
    with torch.no_grad():
        drawn, _ = objective(images(), SCHEDULE)
        codes = quantizer.encode(objective.network.encode(images()), SCHEDULE)
        summed = quantizer.summed_features(codes, SCHEDULE)
        assert torch.allclose(drawn, objective.network.decode(summed), atol=1e-5)


def test_bits_that_are_sure_and_used_alike_have_the_least_entropy_loss() -> None:
    objective = bsq()

    def loss(h: torch.Tensor) -> float:
        sums = bsq_quantizer.partial_sums(bsq_quantizer.encode(h, ((1, 1),)), ((1, 1),))
        return float(objective._entropy(h, sums, ((1, 1),)))

    signs = torch.tensor([[1.0], [-1.0]]).repeat(1, 8)[:, :, None, None]
    used_alike, all_the_same = loss(signs), loss(signs.abs())
    unsure = loss(torch.tensor([[1.0] + [1e-4] * 7, [-1.0] + [-1e-4] * 7])[:, :, None, None])
    assert used_alike == pytest.approx(-torch.log(torch.tensor(2.0)).item(), abs=1e-3)
    assert used_alike < unsure
    assert used_alike < all_the_same


def test_entries_that_nobody_takes_are_put_where_residuals_are() -> None:
    objective = var()
    book = objective.network.quantize.embedding.weight
    with torch.no_grad():
        book[8:] = 100.0  # far from any residual
    with torch.no_grad():
        objective(images(8), SCHEDULE)
    objective.after_step(0)
    assert book[8:].abs().max() < 100.0
    moved = book[8:].detach().clone()
    objective.after_step(1)  # draws other residuals, but they were given a share, so they stay
    assert torch.equal(book[8:], moved)


def test_a_perceptual_term_counts_by_its_weight() -> None:
    a, b = images(), images().flip(0)
    plain = reconstruction_loss(a, b, LossWeights(), None)
    with_term = reconstruction_loss(a, b, LossWeights(perceptual=0.5), lambda x, y: (x - y).std())
    assert torch.allclose(with_term - plain, 0.5 * (a - b).std())
