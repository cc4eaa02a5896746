"""The work of a worker process: read a window's samples, decode, cut patches, tokenize."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from model.data.images import Patches, StoredImage, cut_patches, draw_flips
from model.data.manifest import DataError, TokenMember
from model.data.order import ReadTask, Window, random_words
from model.data.samples import (
    BadSample,
    Decoded,
    Skipped,
    check_array,
    decode,
)
from model.data.shards import Members, ShardReader
from model.data.sources import OpenSource
from model.data.text import Conversation, Encoded, TextEncoder
from model.tokenizers.protocol import Schedule, count_codes

if TYPE_CHECKING:
    from transformers import Qwen2VLImageProcessorPil


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """The data of one sample in a batch, on the CPU."""

    key: str
    text: Encoded
    image: StoredImage | None
    patches: Patches | None
    rejected: StoredImage | None = None  # only of a pair; `image` is then the chosen one


class SampleMaker(Dataset[list[Sample | Skipped]]):
    """Makes the samples of a task, in its order.

    Args:
        sources: the sources; tasks hold their numbers.
        text: tokenizes messages.
        image_processor: of the backbone; None if no source has input images.
        positions: number of positions of an image that the model sees, by schedule.
        flip_bits: bits per position to draw flips for; 0 for no self-correction.
        seed: of flips and views.
        keep_indexes: number of shard indexes to keep for each source.
    """

    def __init__(
        self,
        sources: Sequence[OpenSource],
        *,
        text: TextEncoder,
        image_processor: "Qwen2VLImageProcessorPil | None",
        positions: Mapping[Schedule, int],
        flip_bits: int,
        seed: int,
        keep_indexes: int,
    ) -> None:
        self._sources, self._text = sources, text
        self._image_processor = image_processor
        self._positions = positions
        self._flip_bits, self._seed = flip_bits, seed
        self._readers = [
            ShardReader(opened.source, opened.shards, opened.members, keep_indexes)
            for opened in sources
        ]

    def __getitem__(self, task: ReadTask) -> list[Sample | Skipped]:
        """Make the samples of a task; a bad sample becomes `Skipped`, with the reason.

        Raises:
            DataError: a shard is missing or does not fit the manifest.
        """
        read = self._read(task.source, task.window)
        made = [self._prepare(task, key, members) for key, members in read]
        good = [each for each in made if isinstance(each, _Prepared)]
        encoded = iter(self._text.encode([each.conversation for each in good]))
        return [
            each if isinstance(each, Skipped) else _finished(each, next(encoded)) for each in made
        ]

    def _read(self, source: int, window: Window) -> list[tuple[str, Members]]:
        """Read a window's samples shard by shard, and return them in the window's order."""
        found: list[tuple[str, Members]] = [("", {})] * len(window)
        order = np.lexsort((window.rows_n, window.shards_n))
        shards, starts = np.unique(window.shards_n[order], return_index=True)
        for shard, here in zip(shards.tolist(), np.split(order, starts[1:]), strict=True):
            rows = window.rows_n[here].tolist()
            for place, sample in zip(here, self._readers[source].read(shard, rows), strict=True):
                found[place] = sample
        return found

    def _prepare(self, task: ReadTask, key: str, members: Members) -> "_Prepared | Skipped":
        opened = self._sources[task.source]
        try:
            decoded = decode(key, members, opened.source.subset)
            images = [
                self._stored_image(decoded, opened, task.epoch, of)
                for of in opened.subset.generated
            ]
        except BadSample as error:
            return Skipped(key, str(error))
        patches = None
        if decoded.input_image is not None:
            assert self._image_processor is not None, "open_sources checks it"
            patches = cut_patches(decoded.input_image, self._image_processor)
        conversation = Conversation(
            decoded.messages,
            generated=self._positions[images[0].schedule] if images else 0,
            input_tokens=patches.tokens if patches else 0,
        )
        return _Prepared(key, conversation, images, patches)

    def _stored_image(
        self, decoded: Decoded, opened: OpenSource, epoch: int, prefix: str
    ) -> StoredImage:
        """Check and return the codes of one image, in this epoch's view."""
        assert opened.codes is not None
        if opened.subset.is_pairs:
            epoch = 0  # or a reference's likelihoods would not be those of the same labels
        try:
            schedule = opened.codes.schedule(decoded.aspect)
        except DataError as error:
            raise BadSample(str(error)) from error
        views = opened.codes.views
        codes = decoded.arrays[f"{prefix}{opened.codes.member}"]
        codes = _checked_codes(codes, opened.codes, schedule, views)
        features = decoded.arrays[opened.features] if opened.features else None
        if features is not None:
            shape = (opened.codes.bits, *schedule[-1])
            check_array(opened.features or "", features, _of_views(views, shape), "float16")
        flips = None
        if self._flip_bits:
            flips = draw_flips(schedule, self._flip_bits, self._seed, epoch, decoded.key, "flips")
        one = slice(None) if views == 1 else self._view(decoded.key, epoch, views)
        return StoredImage(
            schedule=schedule,
            codes=codes[one],
            features=None if features is None else features[one],
            flips=flips,
        )

    def _view(self, key: str, epoch: int, views: int) -> int:
        """Return the number of the view: the key decides the first, each epoch takes the next."""
        return (int(random_words(1, self._seed, key, "view")[0]) + epoch) % views


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    key: str
    conversation: Conversation
    images: Sequence[StoredImage]
    patches: Patches | None


def _finished(prepared: _Prepared, text: Encoded | BadSample) -> Sample | Skipped:
    if isinstance(text, BadSample):
        return Skipped(prepared.key, str(text))
    image, rejected = [*prepared.images, None, None][:2]
    return Sample(
        key=prepared.key, text=text, image=image, patches=prepared.patches, rejected=rejected
    )


def _checked_codes(
    codes: NDArray[Any], member: TokenMember, schedule: Schedule, views: int
) -> NDArray[Any]:
    words = (member.code_words,) if member.code_words > 1 else ()
    shape = _of_views(views, (count_codes(schedule), *words))
    check_array(member.member, codes, shape, member.codes_dtype, member.codes_limit)
    return codes


def _of_views(views: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if views == 1 else (views, *shape)
