"""The training of the captioner, with all that decides it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.captioner_training.captions import caption_of
from model.captioner_training.network import CaptionerSizes, make_captioner, write_parts
from model.captioner_training.objective import CaptionerPlan, Captioning
from model.image_text.batches import Batches
from model.image_text.loop import PartTrainer
from model.image_text.pairs import Pair
from model.image_text.weights import weights_of
from model.tokenizer_training.state import STATE
from schemas.fingerprint import fingerprint


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A trained captioner."""

    weights: Mapping[str, Tensor]
    curve: Sequence[Mapping[str, float]]
    seconds: float  # of training alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Pairs with titles, and how the captioner learns them."""

    sizes: CaptionerSizes
    plan: CaptionerPlan
    pairs: Sequence[Pair]
    images: Sequence[NDArray[np.uint8]]  # of the pairs, [S, S, 3]
    clip_NC: NDArray[np.float32]  # CLIP's embeddings of the images, of length 1
    clip: str  # what decides these embeddings
    folder: Path  # local

    def run(self, report: Callable[[dict[str, float], float], None]) -> Trained:
        """Train, or resume from the state in the folder.

        Raises:
            StateError: the folder holds the state of another run.
            DivergedError: a loss or gradient is not finite; the last state remains.
        """
        tokenizer = write_parts(self.folder)
        tokens_N = [tokenizer(caption_of(pair)).input_ids for pair in self.pairs]
        torch.manual_seed(self.plan.seed)
        captioner = make_captioner(self.sizes, tokenizer)
        clip_NC = torch.from_numpy(self.clip_NC)
        batches = Batches(self.pairs, self.plan.batch, self.plan.seed)
        trainer = PartTrainer(
            Captioning(captioner, self.plan, batches, self.images, tokens_N, clip_NC),
            self.plan,
            state=self.folder / STATE,
            fingerprint=self._fingerprint(),
            report=report,
        )
        weights = weights_of("captioner", trainer.run())
        return Trained(weights=weights, curve=trainer.curve, seconds=trainer.seconds)

    def _fingerprint(self) -> str:
        return fingerprint(
            repr(self.sizes),
            repr(self.plan),
            [repr(pair) for pair in self.pairs],
            self.clip,
        )
