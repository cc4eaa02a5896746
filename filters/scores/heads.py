"""Heads on CLIP's embeddings, in the layouts that their authors published.

Dimensions: B batch, C width of the embeddings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from filters.compute import Compute, Passes, one_thread
from filters.scorer import Batch, ScorerError
from filters.scores.process_cache import once_a_process
from schemas.score_config import ClipModel
from schemas.store.checkpoint import CheckpointError, read_checkpoint

LENGTH_TOLERANCE: Final = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Linear layers by the names of their tensors, and what is between them."""

    what: str
    prefixes: tuple[str, ...]  # of `weight` and `bias`, in order
    outputs: tuple[int, ...]  # of each layer
    relus: int = 0  # the first layers that a ReLU follows
    standardised: bool = False  # (x - mean) / sqrt(variance) first
    sigmoid: bool = False  # last

    @property
    def keys(self) -> set[str]:
        """The names of all tensors."""
        layers = {f"{prefix}{part}" for prefix in self.prefixes for part in ("weight", "bias")}
        return layers | ({"norm.mean", "norm.variance"} if self.standardised else set())


def _numbered(numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"layers.{number}." for number in numbers)


# LAION-AI/aesthetic-predictor and christophschuhmann/improved-aesthetic-predictor. Dropout stands
# between the layers of the second, and no activation.
AESTHETIC: Final = (
    Layout(what="linear head", prefixes=("",), outputs=(1,)),
    Layout(
        what="improved aesthetic predictor",
        prefixes=_numbered((0, 2, 4, 6, 7)),
        outputs=(1024, 128, 64, 16, 1),
    ),
)
# LAION-AI/CLIP-based-NSFW-Detector, src/models.py. That of ViT-H/14 has no sigmoid: it was trained
# on labels 0 and 1, and its values may lie a little outside of them.
NSFW: Final = (
    Layout(
        what="LAION's head for ViT-L/14",
        prefixes=tuple(f"linear_{number}." for number in (1, 2, 3, 4)),
        outputs=(64, 512, 256, 1),
        relus=3,
        standardised=True,
        sigmoid=True,
    ),
    Layout(
        what="LAION's head for ViT-B/32",
        prefixes=tuple(f"linear_{number}." for number in (1, 2, 3)),
        outputs=(32, 32, 1),
        relus=2,
        standardised=True,
        sigmoid=True,
    ),
    Layout(
        what="LAION's head for ViT-H/14",
        prefixes=_numbered((0, 3, 6, 9, 12, 15, 16)),
        outputs=(1024, 2048, 1024, 256, 128, 16, 1),
        relus=5,
    ),
)


class Head:
    """Maps embeddings to one value each, on the CPU in float32."""

    def __init__(self, name: str, layout: Layout, tensors: Mapping[str, Tensor]) -> None:
        self.name = name
        linears = [_linear(tensors, prefix, name) for prefix in layout.prefixes]
        self.width = linears[0].in_features
        _check(layout, linears, name)
        self._work = nn.Sequential(*_modules(layout, linears, tensors)).eval().requires_grad_(False)

    def __call__(self, embeddings_BC: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the value of each embedding, float32 [B]; that of NaN is NaN.

        Raises:
            ValueError: an embedding has not length 1.
        """
        lengths_B = np.linalg.norm(embeddings_BC.astype(np.float64), axis=1)
        wrong_B = np.abs(lengths_B - 1) > LENGTH_TOLERANCE  # not so NaN: the caller names the image
        if wrong_B.any():
            raise ValueError(f"{self.name}: expected length 1, got {lengths_B[wrong_B][0]}")
        compute = Compute()  # one row a pass: larger products round differently
        with one_thread(), compute.arithmetic():
            found_B1 = Passes(compute).run(torch.from_numpy(embeddings_BC), self._work)
        return found_B1.squeeze(1).numpy()


@once_a_process
def read_head(url: str, sha256: str, layouts: Sequence[Layout]) -> Head:
    """Read a head.

    Args:
        url: `.pth`, `.pt` or `.safetensors`, a path or any fsspec URL; no pickle is run.
        sha256: expected of the file; not checked if empty.
        layouts: of which it must have one.

    Raises:
        CheckpointError: the head cannot be read, or has another sha256, layout or size.
        StoreError: the store cannot be reached.
    """
    source = read_checkpoint(url, sha256)
    for layout in layouts:
        if layout.keys == source.tensors.keys():
            return Head(source.name, layout, source.tensors)
    known = "; ".join(f"{layout.what}: {', '.join(sorted(layout.keys)[:4])}" for layout in layouts)
    raise CheckpointError(
        f"{source.name}: unknown layout {sorted(source.tensors)[:4]}, expected one of {known}"
    )


def head_scores(
    clip: ClipModel, url: str, sha256: str, layouts: Sequence[Layout], batch: Batch
) -> NDArray[np.float32]:
    """Return the values of a head on the embeddings of a batch, float32 [B].

    Raises:
        ScorerError: the head reads embeddings of another width.
        CheckpointError: as `read_head`.
    """
    head, embeddings_BC = read_head(url, sha256, layouts), batch.embeddings(clip)
    width = embeddings_BC.shape[1]
    if width != head.width:
        raise ScorerError(
            f"{head.name} reads embeddings of {head.width} values, CLIP {clip.model} returns "
            f"{width}; name the CLIP that the head was trained on"
        )
    return head(embeddings_BC)


def _linear(tensors: Mapping[str, Tensor], prefix: str, name: str) -> nn.Linear:
    weight, bias = tensors[f"{prefix}weight"], tensors[f"{prefix}bias"]
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise CheckpointError(
            f"{name}: {prefix}weight {list(weight.shape)} and bias {list(bias.shape)} are of no "
            "linear layer"
        )
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return layer


def _check(layout: Layout, linears: Sequence[nn.Linear], name: str) -> None:
    outputs = tuple(layer.out_features for layer in linears)
    joined = all(before.out_features == after.in_features for before, after in pairwise(linears))
    if outputs != layout.outputs or not joined:
        sizes = [(layer.in_features, layer.out_features) for layer in linears]
        raise CheckpointError(
            f"{name}: expected {layout.what} with layers of {layout.outputs} values, got {sizes}"
        )


def _modules(
    layout: Layout, linears: Sequence[nn.Linear], tensors: Mapping[str, Tensor]
) -> list[nn.Module]:
    modules: list[nn.Module] = []
    if layout.standardised:
        modules.append(_Standardise(tensors["norm.mean"], tensors["norm.variance"]))
    for number, linear in enumerate(linears):
        modules += [linear, nn.ReLU()] if number < layout.relus else [linear]
    return [*modules, nn.Sigmoid()] if layout.sigmoid else modules


class _Standardise(nn.Module):
    def __init__(self, mean_C: Tensor, variance_C: Tensor) -> None:
        super().__init__()
        self._mean_C, self._deviation_C = mean_C.float(), variance_C.float().sqrt()

    def forward(self, x_BC: Tensor) -> Tensor:
        return (x_BC - self._mean_C) / self._deviation_C
