"""A loader that turns shards into training batches: seeded, each sample once per epoch, resumable.

Torch's `DataLoader` gives windows of the order to its workers and returns their samples in the same
order. Batches are formed here, in the main process. So order and state do not depend on the number
of workers, and every batch is full even if samples were bad.
"""

import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from model.data.batch import Batch
from model.data.collate import Buckets, Collator
from model.data.images import Targets
from model.data.manifest import DataError
from model.data.order import LoaderState, ReadTasks, Waiting
from model.data.plan import LoadPlan
from model.data.samples import BadCount, Skipped
from model.data.sources import OpenSource, open_sources
from model.data.text import TextEncoder
from model.data.worker import Sample, SampleMaker
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.protocol import Schedule, count_codes

if TYPE_CHECKING:
    from transformers import Qwen2VLImageProcessorPil

logger = logging.getLogger(__name__)


class Loader:
    """Iterates over batches, from the start or from the state of a checkpoint.

    Args:
        plan: what to load, and how.
        text: tokenizes messages.
        tokenizer: the one that made the codes, on the device; None if no image is generated.
        image_processor: of the backbone, for sources with input images.
        vocabulary: rows of the model's embedding, to check against `text`; None for no check.
        state: the value of `state()` when the checkpoint was written.

    Raises:
        DataError: shards, tokenizers, plan or state do not fit each other.
    """

    def __init__(
        self,
        plan: LoadPlan,
        *,
        text: TextEncoder,
        tokenizer: NetworkTokenizer | None = None,
        image_processor: "Qwen2VLImageProcessorPil | None" = None,
        vocabulary: int | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        if vocabulary is not None and text.vocabulary > vocabulary:
            raise DataError(
                f"the text tokenizer has {text.vocabulary} tokens, but the model's embedding has "
                f"{vocabulary} rows"
            )
        opened, self.self_correction = open_sources(plan, tokenizer, image_processor)
        self._plan, self._opened = plan, opened
        targets = Targets(tokenizer, self.self_correction) if tokenizer else None
        self._schedules = _schedules(opened)
        self._maker = SampleMaker(
            opened,
            text=text,
            image_processor=image_processor,
            positions={
                schedule: count_codes(targets.model_schedule(schedule)) if targets else 0
                for schedule in self._schedules
            },
            flip_bits=tokenizer.channels if tokenizer and self.self_correction != "off" else 0,
            seed=plan.seed,
            keep_indexes=2 * plan.shuffle.open_shards,
        )
        device = tokenizer.compute.device if tokenizer else plan.device
        self._collate = Collator(text, targets, loss=plan.loss, device=device)
        order = plan.order([(each.content, each.samples) for each in opened])
        start = LoaderState(order=order, taken=(0,) * len(opened))
        self._state = LoaderState.load(state, order) if state else start
        logger.info("self-correction of %s: %s", plan.member, self.self_correction)

    @property
    def plan(self) -> LoadPlan:
        """The plan: what to load, and how."""
        return self._plan

    @property
    def contents(self) -> tuple[str, ...]:
        """The hash of each source's shards."""
        return tuple(each.content for each in self._opened)

    def state(self) -> dict[str, Any]:
        """Return the state after the last batch, as JSON values."""
        return self._state.model_dump(mode="json")

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from the current state on.

        Raises:
            DataError: there are too many bad samples, or shards do not fit the manifest.
        """
        tasks = ReadTasks(self._opened, self._plan, self._state)
        run = _Run(self._plan, self._state, Buckets(self._schedules, self._plan.batch))
        for samples, schedule in run.batches(tasks, iter(self._data_loader(tasks))):
            batch = self._collate(samples, schedule)
            self._state = run.state()
            yield batch

    def _data_loader(self, tasks: ReadTasks) -> "DataLoader[list[Sample | Skipped]]":
        workers = self._plan.workers
        return DataLoader(
            self._maker,
            sampler=tasks,
            batch_size=None,
            num_workers=workers,
            collate_fn=_unchanged,
            worker_init_fn=_start_worker,
            prefetch_factor=self._plan.prefetch if workers else None,
        )


class _Run:
    """The batches of one iteration, and the state after each."""

    def __init__(self, plan: LoadPlan, start: LoaderState, buckets: Buckets) -> None:
        self._plan, self._start, self._buckets = plan, start, buckets
        self._taken = list(start.taken)
        self._count = BadCount(plan.max_bad_share, start.seen, start.bad)

    def state(self) -> LoaderState:
        return self._start.model_copy(
            update={
                "taken": tuple(self._taken),
                "waiting": self._buckets.waiting(),
                "seen": self._count.seen,
                "bad": self._count.bad,
            }
        )

    def batches(
        self, tasks: ReadTasks, made: Iterator[list[Sample | Skipped]]
    ) -> Iterator[tuple[list[Sample], Schedule]]:
        """Yield the samples of each batch; `made` holds the samples of each task."""
        for waiting in self._start.waiting:
            (sample,) = next(made)
            self._put(sample, waiting.source, waiting.position, waiting.bucket)
        ready: list[deque[Sample | Skipped]] = [deque() for _ in self._taken]
        for source in tasks.draws():
            if not ready[source]:
                ready[source].extend(next(made))
            self._put(ready[source].popleft(), source, self._taken[source])
            self._taken[source] += 1
            while (full := self._buckets.full()) is not None:
                yield self._buckets.take(full)
        self._count.finish()
        while (rest := self._buckets.rest()) is not None:
            yield self._buckets.take(rest)

    def _put(
        self, sample: Sample | Skipped, source: int, position: int, bucket: int | None = None
    ) -> None:
        if isinstance(sample, Skipped):
            self._count.skip(sample, self._plan.sources[source])
            return
        self._count.good()
        chosen = self._buckets.choose(sample) if bucket is None else bucket
        self._buckets.put(sample, Waiting(source=source, position=position, bucket=chosen))


def _schedules(opened: Sequence[OpenSource]) -> list[Schedule]:
    """Return every schedule of the sources' codes once; [()] if no image is generated."""
    members = [each.codes for each in opened if each.codes]
    schedules = [member.schedule(float(of)) for member in members for of in member.schedules]
    return list(dict.fromkeys(schedules)) or [()]


def _unchanged(made: list[Sample | Skipped]) -> list[Sample | Skipped]:
    return made


def _start_worker(_: int) -> None:
    # The workers already use all cores; threads in each worker would be too many.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
