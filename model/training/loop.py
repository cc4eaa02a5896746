"""The training loop: takes micro-batches, trains weights, resumes from the last checkpoint.

A step depends on recipe, shards and step number alone: the loaders decide the order of samples, and
all other random numbers depend on seed, step and micro-batch. So a killed and resumed run has the
same losses as an uninterrupted one, and several processes have those of one process but for
rounding.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from model.tokenizer_training.state import DivergedError
from model.training.checkpoint import checkpoints
from model.training.journal import Journal
from model.training.objective import Objective, Step
from model.training.optimizer import lr_at, make_optimizer
from model.training.parallel import Processes, blocks_of
from model.training.recipe import Recipe
from model.training.samples import SampleGrid
from model.training.saves import Saves
from model.training.speed import Speed, counting
from model.vargpt.trainable import set_trainable
from model.vargpt.vargpt import Vargpt
from schemas.keys import unit
from schemas.store.errors import SettingsError

SAMPLES: Final = "samples"
SHOWN: Final = 8  # keys in an error message


class Stream(Protocol):
    """A source of micro-batches with its own order, such as `model.data.loader.Loader`."""

    def state(self) -> dict[str, Any]:
        """Return the state after the last micro-batch, as JSON values."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Yield micro-batches from the current state on."""
        ...


MakeStream = Callable[[int, int, Mapping[str, Any] | None], Stream]
"""(number of the stream, number of streams, state to resume from or None) -> stream."""


class Trainer:
    """Runs the steps of a recipe.

    Args:
        recipe: the recipe.
        model: the whole model; trained in place, and sharded if there are several processes.
        objective: the loss that a step minimises.
        make_stream: makes a stream; each process opens its share of the streams.
        out: folder of the training, shared by all processes.
        processes: this process and the number of processes.
        sampler: draws sample images during training; None for no images.

    Raises:
        SettingsError: the batch cannot be split into micro-batches and streams.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: Vargpt,
        objective: Objective,
        make_stream: MakeStream,
        out: Path,
        *,
        processes: Processes,
        sampler: SampleGrid | None = None,
    ) -> None:
        self._recipe, self._objective, self._out = recipe, objective, out
        self._processes, self._sampler = processes, sampler
        self._make_stream = make_stream
        self._stream_count = recipe.streams or processes.count
        self._rounds = _rounds(recipe, self._stream_count, processes)
        self._trained = _prepare(model, recipe, processes)
        self.model = model
        self._optimizer = make_optimizer(self._trained.values(), recipe)
        self._saves = Saves(
            recipe=recipe,
            model=model,
            optimizer=self._optimizer,
            trained=self._trained,
            out=out,
            processes=processes,
        )
        self._flop = 0.0  # per position, forward and backward
        self._speed = Speed(recipe.peak_tflops, processes)
        self.step = 0
        self.seconds = 0.0

    def run(self) -> None:
        """Run the remaining steps, and save.

        Raises:
            StateError: the folder holds a damaged checkpoint, or one of another training.
            DivergedError: a loss or gradient is not finite; the last checkpoint remains.
        """
        streams = self._open_streams()
        batches = [iter(stream) for stream in streams]
        journal = Journal(self._out, self.step) if self._processes.is_first else None
        self.model.train()
        try:
            while self.step < self._recipe.steps:
                self._take_step(batches, journal)
                self._record(streams, journal)
        finally:
            if journal:
                journal.close()

    def _take_step(self, batches: Sequence[Iterator[Any]], journal: Journal | None) -> None:
        started = time.monotonic()
        micro = [next(each) for _ in range(self._rounds) for each in batches]
        counts = self._processes.total(_summed(self._objective.counts(each) for each in micro))
        step = Step(number=self.step, counts={name: int(of) for name, of in counts.items()})
        self._flop = self._flop or self._count_flop(micro[0], step)
        parts = [self._backward(batch, number, step) for number, batch in enumerate(micro)]
        figures = self._processes.total(_summed(parts))
        self._check("loss", figures["loss"], micro, [part["loss"] for part in parts])
        norm = self._clip()
        self._check("norm of the gradient", norm, micro)
        figures |= {"lr": lr_at(self._recipe, self.step), "gradient norm": norm}
        for group in self._optimizer.param_groups:
            group["lr"] = figures["lr"]
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.step += 1
        seconds = time.monotonic() - started
        self.seconds += seconds
        self._speed.add(figures.pop("tokens"), figures.pop("flop"), seconds)
        if journal and self._is_due(self._recipe.log_every):
            journal.write(self.step, {**figures, **self._speed.take()})

    def _backward(self, batch: Any, number: int, step: Step) -> dict[str, float]:
        """Add the gradients of a micro-batch, and return its part of the figures."""
        recipe, processes = self._recipe, self._processes
        stream = processes.rank + number % self._streams_here * processes.count
        round_ = number // self._streams_here
        seed = unit(f"{recipe.seed} {stream} {round_}", f"step {step.number}")
        torch.manual_seed(int(seed * 2**53))
        losses = self._losses(batch, step)
        return {
            **{name: float(value) for name, value in losses.items()},
            "tokens": int(batch.attention_mask_BS.sum()),
            "flop": self._flop * batch.input_ids_BS.numel(),
        }

    def _count_flop(self, batch: Any, step: Step) -> float:
        """Return floating-point operations per position, counted in an extra pass.

        Counting changes the last digits of the results, so the pass is used for nothing else.
        """
        with counting(self.model, self._recipe.checkpointing) as counted:
            self._losses(batch, step)
        self._optimizer.zero_grad()
        return counted.flop / batch.input_ids_BS.numel()

    def _losses(self, batch: Any, step: Step) -> dict[str, Tensor]:
        device_type = torch.device(self._processes.device).type
        is_bf16 = self._recipe.precision == "bf16"
        with torch.autocast(device_type, torch.bfloat16, enabled=is_bf16):
            losses = self._objective(self.model, batch, step)
        # FSDP averages gradients over the processes, but the parts must be summed.
        (losses.total * self._processes.count).backward()
        return {**losses.scalars, "loss": losses.total.detach()}

    def _clip(self) -> float:
        parameters = list(self._trained.values())
        for parameter in parameters:
            if parameter.grad is None:  # another process may have a gradient for it
                parameter.grad = torch.zeros_like(parameter)
        norm: Any = nn.utils.clip_grad_norm_(parameters, self._recipe.clip)
        return float(norm.full_tensor() if self._processes.count > 1 else norm)

    def _check(
        self, what: str, value: float, micro: Sequence[Any], losses: Sequence[float] = ()
    ) -> None:
        if math.isfinite(value):
            return
        wrong = [not math.isfinite(loss) for loss in losses] or [True] * len(micro)
        found = [batch.keys for batch, is_wrong in zip(micro, wrong, strict=True) if is_wrong]
        keys = list(itertools.chain(*itertools.chain(*self._processes.gather(found))))
        more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
        saved = checkpoints(self._out)
        raise DivergedError(
            f"step {self.step + 1}: the {what} is {value}, of samples {', '.join(keys[:SHOWN])}"
            f"{more}; {f'{saved[-1]} is the last checkpoint' if saved else 'nothing was saved'}. "
            "The same command would fail again: try a lower learning rate, or fp32"
        )

    def _record(self, streams: Sequence[Stream], journal: Journal | None) -> None:
        if self._sampler and self._recipe.sample_every and self._is_due(self._recipe.sample_every):
            self._draw(self._sampler, journal)
        if self._is_due(self._recipe.save_every):
            # Process r has streams r, r + count, ...
            gathered = self._processes.gather([stream.state() for stream in streams])
            states = tuple(itertools.chain(*zip(*gathered, strict=True)))
            self._saves.save(self.step, self.seconds, states)

    def _draw(self, sampler: SampleGrid, journal: Journal | None) -> None:
        recipe = self._recipe
        label = (
            f"{recipe.stage}: a {recipe.size} model after {self.step:,} of {recipe.steps:,} steps"
            f"{recipe.remark}"
        )
        with self._processes.whole(self.model):
            picture = sampler.draw(self.model, label)
        if journal:
            path = self._out / SAMPLES / f"step-{self.step:08}.png"
            path.parent.mkdir(exist_ok=True)
            picture.save(path)
            journal.picture(self.step, "samples", picture)

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self._recipe.steps

    @property
    def _streams_here(self) -> int:
        return self._stream_count // self._processes.count

    def _open_streams(self) -> list[Stream]:
        """Load the latest checkpoint, if there is one, and open this process's streams."""
        states: Sequence[Mapping[str, Any] | None] = [None] * self._stream_count
        if (state := self._saves.resume(self._stream_count)) is not None:
            self.step, self.seconds, states = state.step, state.seconds, state.streams
        processes = self._processes
        return [
            self._make_stream(number, self._stream_count, states[number])
            for number in range(processes.rank, self._stream_count, processes.count)
        ]


def _summed(parts: Any) -> dict[str, float]:
    summed: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            summed[name] = summed.get(name, 0.0) + value
    return summed


def _rounds(recipe: Recipe, streams: int, processes: Processes) -> int:
    """Return the number of micro-batches that a step takes from each stream."""
    if streams % processes.count:
        raise SettingsError(f"{streams} streams cannot be shared by {processes.count} processes")
    rounds, rest = divmod(recipe.batch, recipe.micro_batch * streams)
    if rest or not rounds:
        raise SettingsError(
            f"batch {recipe.batch}: expected a multiple of micro_batch {recipe.micro_batch} "
            f"x {streams} streams"
        )
    return rounds


def _prepare(model: Vargpt, recipe: Recipe, processes: Processes) -> dict[str, nn.Parameter]:
    """Freeze, shard and compile a model as the recipe says; return trained weights by name."""
    set_trainable(model, recipe.trainable)
    model.decoder.checkpointing = recipe.checkpointing
    if recipe.checkpointing:
        model.backbone.qwen.activation_checkpointing_enable({"use_reentrant": False})
    if recipe.compile:
        for block in blocks_of(model):
            block.compile()
    processes.shard(model, mixes_kinds=recipe.mixes_kinds, precision=recipe.precision)
    return {name: each for name, each in model.named_parameters() if each.requires_grad}
