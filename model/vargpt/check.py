"""Checks of batches, schedules and vocabularies against a model's config; messages show both."""

from collections.abc import Mapping

import torch

from model.data.batch import Batch
from model.tokenizers.protocol import Schedule, check_schedule, count_codes, schedule_text
from model.vargpt.config import SPECIAL, VargptConfig
from schemas.store.errors import SettingsError


def check_batch(batch: Batch, config: VargptConfig) -> None:
    """Check text, images and codes of a batch against the model's config.

    Raises:
        ValueError: something does not fit; shows both sides.
    """
    _check_text(batch, config)
    if len(batch.image_rows_N):
        check_model_schedule(batch.schedule, config)
        _check_codes(batch, config)
    _check_places(batch, config)


def check_model_schedule(schedule: Schedule, config: VargptConfig) -> None:
    """Check that a model can use a schedule.

    Raises:
        SettingsError: the first scale is not 1x1, or there are too many scales.
    """
    check_schedule(schedule)
    if schedule[0] != (1, 1) or len(schedule) > config.decoder.levels:
        raise SettingsError(
            f"expected up to {config.decoder.levels} scales that start with 1x1, "
            f"got {len(schedule)}: {schedule_text(schedule)}"
        )


def check_vocabulary(config: VargptConfig, vocabulary: Mapping[str, int]) -> None:
    """Check that a text tokenizer fits a model.

    Args:
        config: of the model.
        vocabulary: ids by token, from the tokenizer's `get_vocab()`.

    Raises:
        SettingsError: an id is above the rows of the embedding, or special tokens have other ids.
    """
    rows, largest = config.backbone.vocab, max(vocabulary.values())
    if largest >= rows:
        raise SettingsError(
            f"the text tokenizer has ids up to {largest}, but the embedding has {rows} rows"
        )
    for token, name in SPECIAL.items():
        side = config.marks if hasattr(config.marks, name) else config.backbone
        expected, found = getattr(side, name), vocabulary.get(token)
        if found != expected:
            raise SettingsError(
                f"{token} has id {expected} in the model, {found} in the text tokenizer"
            )


def _check_text(batch: Batch, config: VargptConfig) -> None:
    vocab, largest = config.backbone.vocab, int(batch.input_ids_BS.max())
    if largest >= vocab:
        raise ValueError(f"the text has token {largest}, but the embedding has {vocab} rows")
    largest = int(batch.labels_BS.max())
    if largest >= vocab:
        raise ValueError(f"the labels have token {largest}, but the text head has {vocab} logits")
    if (batch.pixel_values is None) != (batch.image_grid_thw is None):
        raise ValueError("expected pixel_values and image_grid_thw together, or neither")


def _check_codes(batch: Batch, config: VargptConfig) -> None:
    codes, positions = config.codes, count_codes(batch.schedule)
    images = len(batch.image_rows_N)
    for name, tensor, expected in (
        ("inputs", batch.inputs_NLD, (images, positions - 1, codes.width)),
        ("targets", batch.targets_NLK, (images, positions, codes.elements)),
    ):
        if tuple(tensor.shape) != expected:
            raise ValueError(
                f"{name} of {images} images of {positions} positions: expected {list(expected)} "
                f"for a model of {codes}, got {list(tensor.shape)}"
            )
    least, largest = (int(x) for x in batch.targets_NLK.aminmax())
    if least < 0 or largest >= codes.choices:
        raise ValueError(
            f"the targets are {least} to {largest}, but the model has {codes.choices} choices"
        )


def _check_places(batch: Batch, config: VargptConfig) -> None:
    """Check that the pads of generated images are at the images' positions only."""
    positions = count_codes(batch.schedule)
    pads, mark = config.pads(positions), config.marks.image_pad
    count = int((batch.input_ids_BS == mark).sum())
    if count != len(batch.image_rows_N) * pads:
        raise ValueError(
            f"{len(batch.image_rows_N)} images of {positions} positions need {pads} pads each, "
            f"but the text has {count}"
        )
    if not count:
        return
    at = batch.image_starts_N[:, None] + torch.arange(pads, device=batch.image_starts_N.device)
    inside = (at[:, -1] < batch.input_ids_BS.shape[1]) & (at[:, 0] >= 2)
    if not inside.all() or (batch.input_ids_BS[batch.image_rows_N[:, None], at] != mark).any():
        raise ValueError(
            f"expected images after a prompt and a start mark at {batch.image_starts_N.tolist()} "
            f"of sequences {batch.image_rows_N.tolist()}, but the pads are elsewhere"
        )
