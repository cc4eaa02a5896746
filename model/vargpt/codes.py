"""The layout of the codes of a position: K elements, each with V choices.

A BSQ position has d bits, so d elements with 2 choices. A VAR position is an index, so 1 element
with V choices. Head, loss and sampling are the same for both.

Shapes: N images, L positions, K elements per position, V choices per element.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.network_tokenizer import NetworkTokenizer
from schemas.store.errors import SettingsError


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeHead:
    """The codes that a model reads and writes.

    Raises:
        ValueError: there are no elements, or fewer than two choices.
    """

    elements: int  # K, per position
    choices: int  # V, per element
    width: int  # channels of the next-scale inputs
    tokenizer: str = ""  # sha256 of the weights that made the codes; "": any weights

    def __post_init__(self) -> None:
        if self.elements < 1 or self.choices < 2 or self.width < 1:
            raise ValueError(f"expected 1 element, 2 choices and width 1, or more, got {self}")

    @property
    def logits(self) -> int:
        """The number of logits per position; the logits of an element are adjacent."""
        return self.elements * self.choices

    def split(self, logits_NLU: Tensor) -> Tensor:
        """Return logits element by element, [N, L, K, V]."""
        return logits_NLU.unflatten(-1, (self.elements, self.choices))

    def surprise(self, logits_NLU: Tensor, targets_NLK: Tensor) -> Tensor:
        """Return -log p of each target, float32 [N, L, K], in nats."""
        logits = self.split(logits_NLU).float().flatten(0, 2)
        losses = F.cross_entropy(logits, targets_NLK.flatten(), reduction="none")
        return losses.view(targets_NLK.shape)

    def check_tokenizer(self, tokenizer: NetworkTokenizer) -> None:
        """Check that a tokenizer makes the codes of this model.

        Raises:
            SettingsError: the codes differ; shows both sides.
        """
        other = head_of(tokenizer)
        same = (self.elements, self.choices, self.width)
        if (other.elements, other.choices, other.width) != same:
            raise SettingsError(f"the model's codes are {self}, the tokenizer's are {other}")
        if self.tokenizer not in ("", other.tokenizer):
            raise SettingsError(
                f"the model was trained on codes of tokenizer {self.tokenizer}, "
                f"but this tokenizer is {other.tokenizer or 'of random weights'}"
            )


def bits(count: int, tokenizer: str = "") -> CodeHead:
    """Return the head for BSQ codes of `count` bits (with patchify, 4 times the tokenizer's)."""
    return CodeHead(elements=count, choices=2, width=count, tokenizer=tokenizer)


def indices(vocab: int, width: int, tokenizer: str = "") -> CodeHead:
    """Return the head for indices into a codebook of `vocab` vectors of `width` channels."""
    return CodeHead(elements=1, choices=vocab, width=width, tokenizer=tokenizer)


def head_of(tokenizer: NetworkTokenizer) -> CodeHead:
    """Return the head for a tokenizer's codes."""
    sha256 = str(tokenizer.describe()["checkpoint_sha256"])
    if isinstance(tokenizer, InfinityBsq):
        return bits(tokenizer.channels * (4 if tokenizer.config.patchify else 1), sha256)
    return indices(tokenizer.codes_limit, tokenizer.channels, sha256)
