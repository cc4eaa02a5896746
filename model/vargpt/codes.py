"""What a position of an image is: some elements, each one of some choices.

A BSQ position is d bits, so d elements of 2 choices; a VAR position is one index, so 1 element of V
choices. All that a model does with codes (its head, the loss, sampling) is the same for both.

Shapes: N images, L positions, K elements a position, V choices an element.
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
        ValueError: no elements, or a choice of less than two.
    """

    elements: int  # K, of a position
    choices: int  # V, of an element
    width: int  # channels of the next-scale inputs
    tokenizer: str = ""  # sha256 of the weights that made the codes; "" where any will do

    def __post_init__(self) -> None:
        if self.elements < 1 or self.choices < 2 or self.width < 1:
            raise ValueError(f"expected elements, 2 choices or more and a width, got {self}")

    @property
    def logits(self) -> int:
        """How many logits a position has; those of one element lie side by side."""
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
        """Check that a tokenizer's codes are those the model speaks.

        Raises:
            SettingsError: they are not; says what both have.
        """
        other = head_of(tokenizer)
        same = (self.elements, self.choices, self.width)
        if (other.elements, other.choices, other.width) != same:
            raise SettingsError(f"the model's codes are {self}, the tokenizer's are {other}")
        if self.tokenizer not in ("", other.tokenizer):
            raise SettingsError(
                f"the model was trained on codes of tokenizer {self.tokenizer}, "
                f"this one is {other.tokenizer or 'of random weights'}"
            )


def bits(count: int, tokenizer: str = "") -> CodeHead:
    """Return the head of BSQ codes of `count` bits (4 times a tokenizer's with patchify)."""
    return CodeHead(elements=count, choices=2, width=count, tokenizer=tokenizer)


def indices(vocab: int, width: int, tokenizer: str = "") -> CodeHead:
    """Return the head of indices into a codebook of `vocab` vectors of `width` channels."""
    return CodeHead(elements=1, choices=vocab, width=width, tokenizer=tokenizer)


def head_of(tokenizer: NetworkTokenizer) -> CodeHead:
    """Return the head for a tokenizer's codes."""
    sha256 = str(tokenizer.describe()["checkpoint_sha256"])
    if isinstance(tokenizer, InfinityBsq):
        return bits(tokenizer.channels * (4 if tokenizer.config.patchify else 1), sha256)
    return indices(tokenizer.codes_limit, tokenizer.channels, sha256)
