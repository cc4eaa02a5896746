"""Direct preference optimisation of images (Rafailov et al., arXiv 2305.18290, equation 7).

    loss = -log sigmoid(beta * ((log p(w) - log q(w)) - (log p(l) - log q(l))))

p is the policy, q the reference, w the chosen image of a prompt and l the rejected one. The
likelihood of an image is the product over all its bits or indices. VARGPT-v1.1's code draws labels,
flipped bits and dropped branches separately for p and q, so the margin of a model against itself is
noise. Here both read one batch and nothing is drawn: the margin is exactly 0, and the loss log 2.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.data.batch import Batch
from model.training.log_probs import check_pairs, image_log_probs
from model.training.objective import Losses, Step
from model.training.reference import Reference
from model.vargpt.vargpt import Vargpt
from schemas.store.errors import SettingsError


@dataclass(frozen=True, kw_only=True, slots=True)
class DpoConfig:
    """The settings of the DPO loss.

    Raises:
        SettingsError: a value is out of its range.
    """

    beta: float = 0.1  # the published code's default; not in the paper
    label_smoothing: float = 0.0  # assumed share of pairs with a wrong label (cDPO)
    sft: float = 0.0  # weight of the chosen image's own loss, in nats per element

    def __post_init__(self) -> None:
        if not (self.beta > 0 and 0 <= self.label_smoothing < 0.5 and self.sft >= 0):
            raise SettingsError(f"expected beta > 0, label_smoothing in [0, 0.5), sft >= 0: {self}")


class Dpo:
    """The objective of a training on pairs.

    Args:
        reference: log-likelihoods of the model before training.
        config: the settings of the loss; None for the defaults.
    """

    def __init__(self, reference: Reference, config: DpoConfig | None = None) -> None:
        self._reference, self._config = reference, config or DpoConfig()

    def counts(self, batch: Batch) -> dict[str, int]:
        """Return the number of pairs, which losses are averaged over."""
        return {"pairs": check_pairs(batch)}

    def __call__(self, model: Vargpt, batch: Batch, step: Step | None = None) -> Losses:
        """Return a micro-batch's part of the losses; without a step, it is the whole step.

        Raises:
            ValueError: the batch does not hold pairs.
        """
        pairs = step.counts["pairs"] if step else check_pairs(batch)
        policy_2P = image_log_probs(model, batch)
        reference_2P = self._reference(batch)
        found = dpo_loss(policy_2P, reference_2P, self._config)
        elements = batch.targets_NLK[0].numel()
        sft_P = -policy_2P.chunk(2)[0] / elements
        total_P = found.loss_P + self._config.sft * sft_P
        parts = {
            "loss": total_P,
            "sft": sft_P,
            "reward_chosen": found.chosen_P,
            "reward_rejected": found.rejected_P,
            "margin": found.chosen_P - found.rejected_P,
            "accuracy": (found.chosen_P > found.rejected_P).double(),
        }
        scalars = {name: part_P.detach().sum() / pairs for name, part_P in parts.items()}
        return Losses(total=total_P.sum() / pairs, scalars=scalars)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairLosses:
    """The loss of each pair, and the rewards of its images."""

    loss_P: Tensor  # nats
    chosen_P: Tensor  # beta * log(p / q)
    rejected_P: Tensor


def dpo_loss(policy_2P: Tensor, reference_2P: Tensor, config: DpoConfig) -> PairLosses:
    """Return the losses of P pairs, given log p of the chosen, then the rejected images."""
    chosen_P, rejected_P = (config.beta * (policy_2P - reference_2P)).chunk(2)
    margin_P = chosen_P - rejected_P
    right_P, wrong_P = -F.logsigmoid(margin_P), -F.logsigmoid(-margin_P)
    loss_P = torch.lerp(right_P, wrong_P, config.label_smoothing)
    return PairLosses(loss_P=loss_P, chosen_P=chosen_P, rejected_P=rejected_P)
