"""Batches on the device, made of samples whose images have the same schedule."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from model.data.batch import IGNORED, Batch
from model.data.images import Patches, Targets
from model.data.order import Waiting
from model.data.plan import Loss
from model.data.text import TextEncoder
from model.data.worker import Sample
from model.tokenizers.protocol import Schedule


class Buckets:
    """Sorts samples by the schedule of their generated image.

    A sample without a generated image fits every bucket; it goes to the fullest one.

    Args:
        schedules: all schedules, in the tokenizer's own grid; () if no image is generated.
        batch: samples per batch.
    """

    def __init__(self, schedules: Sequence[Schedule], batch: int) -> None:
        self._schedules, self._batch = schedules, batch
        self._buckets: list[list[tuple[Waiting, Sample]]] = [[] for _ in schedules]

    def choose(self, sample: Sample) -> int:
        """Return the number of the bucket for a sample."""
        if sample.image:
            return self._schedules.index(sample.image.schedule)
        return max(range(len(self._buckets)), key=lambda number: len(self._buckets[number]))

    def put(self, sample: Sample, waiting: Waiting) -> None:
        """Put a sample into the bucket that `waiting` names."""
        self._buckets[waiting.bucket].append((waiting, sample))

    def full(self) -> int | None:
        """Return the number of a bucket that holds a full batch, or None."""
        return next((n for n, each in enumerate(self._buckets) if len(each) >= self._batch), None)

    def rest(self) -> int | None:
        """Return the number of a bucket that is not empty, or None."""
        return next((number for number, each in enumerate(self._buckets) if each), None)

    def take(self, number: int) -> tuple[list[Sample], Schedule]:
        """Remove a batch from a bucket, the last one perhaps short; return it and its schedule."""
        taken, kept = self._buckets[number][: self._batch], self._buckets[number][self._batch :]
        self._buckets[number] = kept
        return [sample for _, sample in taken], self._schedules[number]

    def waiting(self) -> tuple[Waiting, ...]:
        """Return the waiting samples, bucket by bucket, each bucket in order of arrival."""
        return tuple(waiting for bucket in self._buckets for waiting, _ in bucket)


class Collator:
    """Makes batches of samples.

    Args:
        text: the text encoder; gives the ids of padding and image tokens.
        targets: turns stored codes into inputs and targets; None if no image is generated.
        loss: which tokens have a text loss.
        device: device that batches are put on.
    """

    def __init__(
        self, text: TextEncoder, targets: Targets | None, *, loss: Loss, device: str
    ) -> None:
        self._text, self._targets = text, targets
        self._loss, self._device = loss, torch.device(device)

    def __call__(self, samples: Sequence[Sample], schedule: Schedule) -> Batch:
        """Make a batch of samples whose images all have one schedule of the tokenizer's own grid.

        P pairs give 2 P sequences: first the P with the chosen images, then, in the same order,
        the P with the rejected images. Both have the same keys and texts.
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


def _patches(images: Sequence[Patches]) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    if not images:
        return None, None
    pixel_values = np.concatenate([each.pixel_values for each in images])
    return pixel_values, np.array([each.grid_thw for each in images], np.int64)
