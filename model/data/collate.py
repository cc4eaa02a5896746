"""Samples of one schedule to a batch, on the device."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from model.data.batch import IGNORED, Batch
from model.data.codes import Targets
from model.data.making import Sample
from model.data.plan import Loss
from model.data.text import TextEncoder
from model.data.understood import Patches
from model.tokenizers.protocol import Schedule


class Collator:
    """Makes batches.

    Args:
        text: whose ids mark padding and images.
        targets: makes inputs and targets of the stored codes; None where nothing is generated.
        loss: of which tokens.
        device: where batches go.
    """

    def __init__(
        self, text: TextEncoder, targets: Targets | None, *, loss: Loss, device: str
    ) -> None:
        self._text, self._targets = text, targets
        self._loss, self._device = loss, torch.device(device)

    def __call__(self, samples: Sequence[Sample], schedule: Schedule) -> Batch:
        """Make a batch of samples, whose images are all of one schedule of the tokenizer's grid.

        Of P pairs it has 2 P sequences: those with the chosen images, then in the same order those
        with the rejected ones, whose keys and texts are the same.
        """
        samples = [
            *samples,
            *(replace(each, image=each.rejected) for each in samples if each.rejected),
        ]
        longest = max(len(sample.text.ids_S) for sample in samples)
        ids_BS = np.full((len(samples), longest), self._text.pad_id, np.int64)
        learnt_BS = np.zeros((len(samples), longest), bool)
        for row, sample in enumerate(samples):
            ids_BS[row, : len(sample.text.ids_S)] = sample.text.ids_S
            learnt_BS[row, : len(sample.text.ids_S)] = sample.text.learnt_S
        lengths_B = np.array([len(sample.text.ids_S) for sample in samples])
        rows = [row for row, sample in enumerate(samples) if sample.image]
        if self._loss == "published" and rows:
            learnt_BS = ids_BS != self._text.image_gen_pad_id
        inputs_NLD, targets_NLK = self._images(samples)
        pixel_values, grid_thw = _patches([each.patches for each in samples if each.patches])
        return Batch(
            keys=tuple(sample.key for sample in samples),
            input_ids_BS=self._put(ids_BS),
            labels_BS=self._put(np.where(learnt_BS, ids_BS, IGNORED)),
            attention_mask_BS=self._put(np.arange(longest) < lengths_B[:, None]),
            image_rows_N=self._put(np.array(rows, np.int64)),
            image_starts_N=self._put(
                np.array([samples[row].text.image_start for row in rows], np.int64)
            ),
            inputs_NLD=inputs_NLD,
            targets_NLK=targets_NLK,
            schedule=self._targets.model_schedule(schedule) if self._targets else schedule,
            pixel_values=None if pixel_values is None else self._put(pixel_values),
            image_grid_thw=None if grid_thw is None else self._put(grid_thw),
        )

    def _images(self, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        images = [sample.image for sample in samples if sample.image]
        if self._targets and images:
            return self._targets(images)
        return (
            torch.zeros(0, 0, 0, device=self._device),
            torch.zeros(0, 0, 0, dtype=torch.int64, device=self._device),
        )

    def _put(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device, non_blocking=True)


def _patches(understood: Sequence[Patches]) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    if not understood:
        return None, None
    pixel_values = np.concatenate([each.pixel_values for each in understood])
    return pixel_values, np.array([each.grid_thw for each in understood], np.int64)
