from pathlib import Path

import torch

from model.training.objective import Likelihood
from model.training.speed import counting
from model.vargpt.loss import LossConfig


def counted(make, out: Path, *sets: str) -> int:
    """Count a pass over a micro-batch of one sample, every weight trained."""
    trainer = make(out, "batch=1", *sets, stage="edit")
    batch = next(iter(trainer._make_stream(0, 1, None)))
    trainer.model.train()
    checkpointing = "checkpointing=true" in sets
    with counting(trainer.model, checkpointing) as found:
        Likelihood(LossConfig(), 0.0)(trainer.model, batch).total.backward()
    return found.flop


def test_what_is_recomputed_counts_once(make, tmp_path: Path) -> None:
    kept = counted(make, tmp_path / "kept")
    assert kept > 0
    assert counted(make, tmp_path / "recomputed", "checkpointing=true") == kept


def test_a_linear_layer_and_attention_count_as_by_hand(make, tmp_path: Path) -> None:
    model = make(tmp_path, stage="edit").model
    layer = torch.nn.Linear(8, 16)
    with counting(model, False) as found:
        layer(torch.ones(4, 8, requires_grad=True)).sum().backward()
    assert found.flop == 3 * 2 * 4 * 8 * 16
    q, k, v = (torch.ones(1, 2, 6, 8, requires_grad=True) for _ in range(3))
    with counting(model, False) as found:
        torch.nn.functional.scaled_dot_product_attention(q, k, v).sum().backward()
    forward = 2 * 2 * (2 * 6 * 6 * 8)
    assert found.flop in (3 * forward, 3.5 * forward)  # a flash kernel recomputes the scores
