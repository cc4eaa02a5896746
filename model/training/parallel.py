"""One training process or several: communication, and sharding of the weights.

`torchrun` starts several processes. Each then holds a part of every weight, gradient and moment,
and gathers the weights of a block while it computes the block (FSDP2, which is ZeRO-3).
"""

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from model.vargpt.vargpt import Vargpt


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """This process's rank and the number of processes; one process by default."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Return the value of each process, in order of rank."""
        if self.count == 1:
            return [value]
        found = [None] * self.count
        dist.all_gather_object(found, value)
        return found

    def total(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return sums by name over the processes; a missing name counts as 0."""
        summed: Counter[str] = Counter()
        for each in self.gather(dict(values)):
            for name, value in each.items():
                summed[name] += value
        return dict(summed)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            dist.barrier()

    def shard(self, model: Vargpt, *, mixes_kinds: bool, precision: str) -> None:
        """Shard the weights of a model over the processes, in place.

        All processes gather a group of weights at the same time. If the samples of one process may
        use parts that those of another do not, these parts belong to the root group, which all
        processes gather.

        Args:
            model: the whole model, on the CPU or the device.
            mixes_kinds: whether samples differ in the parts that they use.
            precision: of the gathered weights.
        """
        if self.count == 1:
            model.to(self.device)
            return
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        device_type = torch.device(self.device).type
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if precision == "bf16" else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        mesh = init_device_mesh(device_type, (self.count,))
        for module in [*blocks_of(model, mixes_kinds), model]:
            fully_shard(module, mesh=mesh, mp_policy=policy)
        # The warning is about views changed in place; nothing changes the logits in place.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
        root: Any = model
        root.set_reduce_scatter_unused_params(True)

    @contextmanager
    def whole(self, model: Vargpt) -> Iterator[None]:
        """Gather the whole model, so that its parts can be called; all processes must do it."""
        root: Any = model
        if self.count > 1:
            root.unshard()
        yield
        if self.count > 1:
            root.reshard()


def blocks_of(model: Vargpt, mixes_kinds: bool = False) -> list[nn.Module]:
    """Return the blocks of a model; with `mixes_kinds` only those that every sample uses."""
    language: Any = model.backbone.qwen.model.language_model
    vision: Any = model.backbone.qwen.model.visual
    others = [] if mixes_kinds else [*vision.blocks, *model.decoder.blocks]
    return [*language.layers, *others]


@contextmanager
def started(device: str) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, or run as a single process.

    Args:
        device: `cpu` or `cuda`; on a machine with several GPUs each process takes its own.
    """
    if "RANK" not in os.environ:
        yield Processes(device=device)
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Processes(rank=dist.get_rank(), count=dist.get_world_size(), device=device)
    finally:
        dist.destroy_process_group()
