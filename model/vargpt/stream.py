"""A batch of sequences in the language model, with its cache.

Sequences have different lengths, and not all of them get a token in each step. A skipped slot is a
hole in the row of the cache: later positions do not see it, and it gets no position number. So rows
do not depend on each other.

Shapes: B sequences, n new positions, S slots of the cache so far, H hidden width.
"""

import torch
from torch import Tensor

from model.vargpt.backbone import Backbone


class Stream:
    """The state of B sequences; it starts empty.

    Args:
        backbone: the language model.
        position_B: position of each sequence's next token, int64.
    """

    def __init__(self, backbone: Backbone, position_B: Tensor) -> None:
        from transformers import DynamicCache

        self._backbone = backbone
        self._cache = DynamicCache()
        self._next_B = position_B
        self._used_BS = torch.zeros(len(position_B), 0, dtype=torch.bool, device=position_B.device)
        self._hidden: list[Tensor] = []

    def feed(
        self,
        embeds_BnH: Tensor,
        used_Bn: Tensor,
        positions_3Bn: Tensor | None = None,
        *,
        together: bool = False,
    ) -> Tensor:
        """Return the hidden states of new positions, [B, n, H].

        Args:
            embeds_BnH: of the new tokens.
            used_Bn: bool, True for the sequence's tokens, False for holes.
            positions_3Bn: of the new tokens; None to continue counting.
            together: True: all new positions see each other; False: causal.
        """
        if positions_3Bn is None:
            positions_3Bn = (self._next_B[:, None] + used_Bn.long().cumsum(1) - 1).expand(3, -1, -1)
        hidden_BnH = self._backbone(
            embeds_BnH, positions_3Bn, self._mask(used_Bn, together), self._cache
        )
        last_B = positions_3Bn.amax(dim=0).masked_fill(~used_Bn, -1).amax(dim=1)
        self._next_B = torch.maximum(self._next_B, last_B + 1)
        self._used_BS = torch.cat([self._used_BS, used_Bn], dim=1)
        self._hidden.append(hidden_BnH)
        return hidden_BnH

    def select(self, rows: Tensor) -> None:
        """Keep these rows, int64; a row may be repeated."""
        self._cache.batch_select_indices(rows)
        self._next_B, self._used_BS = self._next_B[rows], self._used_BS[rows]
        self._hidden = [hidden[rows] for hidden in self._hidden]

    def beside(self) -> "Stream":
        """Return an empty stream whose positions continue from here."""
        return Stream(self._backbone, self._next_B)

    def history(self) -> tuple[Tensor, Tensor]:
        """Return the hidden states of all slots [B, S, H], and their use, bool [B, S]."""
        return torch.cat(self._hidden, dim=1), self._used_BS

    def _mask(self, used_Bn: Tensor, together: bool) -> Tensor:
        count = used_Bn.shape[1]
        order_nn = torch.ones(count, count, dtype=torch.bool, device=used_Bn.device)
        among_Bnn = (order_nn if together else order_nn.tril()) & used_Bn[:, None, :]
        # A hole sees itself: the result of a row that sees nothing would be NaN.
        among_Bnn = among_Bnn | torch.eye(count, dtype=torch.bool, device=used_Bn.device)
        before_BnS = self._used_BS[:, None, :].expand(-1, count, -1)
        return torch.cat([before_BnS, among_Bnn], dim=2).unsqueeze(1)
