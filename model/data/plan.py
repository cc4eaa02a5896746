"""The plan of a loader: sources, order, node and workers."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from model.data.manifest import DataError, Source

SelfCorrection = Literal["exact", "approximate", "off"]
"""How the labels after flipped bits are computed; see `images.py`."""

Loss = Literal["answers", "published"]
"""The tokens with a text loss. `answers`: the assistant's tokens. `published`: in batches that
generate images all tokens but <|image_gen_pad|>, so also prompts and padding, as in the published
code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shuffle:
    """How far samples are moved; larger values are more random and read more at once."""

    open_shards: int = 64
    block: int = 64  # adjacent samples read together
    window: int = 512  # samples a worker reads and hands over at once

    def __post_init__(self) -> None:
        if min(self.open_shards, self.block, self.window) < 1:
            raise ValueError(f"expected 1 or more everywhere, not {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadPlan:
    """The settings of a loader, as plain values.

    Nodes are processes that train on different samples: the ranks of data-parallel training.

    Raises:
        DataError: a value is out of its range.
    """

    sources: tuple[Source, ...]
    batch: int  # sequences, on this node
    member: str = "tokens256.npy"  # codes to train on
    self_correction: SelfCorrection | None = None  # None: the best that the shards allow
    loss: Loss = "answers"
    seed: int = 0
    epochs: int | None = None  # of every source; None for no end
    node: int = 0
    nodes: int = 1
    shuffle: Shuffle = field(default_factory=Shuffle)
    max_bad_share: float = 0.001  # of the samples; the run stops above it
    workers: int = 0  # processes; 0: this process reads
    prefetch: int = 2  # windows that a worker reads ahead
    device: str = "cpu"  # device of batches; with a tokenizer, its device is used

    def __post_init__(self) -> None:
        if not self.sources:
            raise DataError("expected one source or more, got none")
        if self.epochs == 0:
            raise DataError("expected one epoch or more, or None for no end, not 0")
        if self.batch < 1:
            raise DataError(f"expected a batch of one or more, not {self.batch}")
        for source in self.sources:
            if not source.weight > 0:
                raise DataError(f"{source}: expected a positive weight, not {source.weight}")

    def order(self, contents: Iterable[tuple[str, int]]) -> dict[str, Any]:
        """Return the values that decide the order of the samples, as JSON values.

        Args:
            contents: hash and number of samples of each source's shards.
        """
        return {
            "seed": self.seed,
            "node": f"{self.node} of {self.nodes}",
            "shuffle": asdict(self.shuffle),
            "sources": [
                {"shards": content, "samples": samples, "weight": source.weight}
                for source, (content, samples) in zip(self.sources, contents, strict=True)
            ],
        }


def node_span(samples: int, node: int, nodes: int) -> range:
    """Return the positions of an epoch's order that belong to a node.

    Each node gets one range. Ranges differ in length by at most one and together hold every
    position once. A shard that crosses a border is read by both nodes, each its own part.
    Workers of a node need no split: they take windows of its span in turn.

    Args:
        samples: samples of the epoch.
        node: from 0.
        nodes: number of processes that train on different samples.

    Raises:
        ValueError: there is no such node, or there are fewer samples than nodes.

    >>> [node_span(10, node, 3) for node in range(3)]
    [range(0, 3), range(3, 6), range(6, 10)]
    """
    if not 0 <= node < nodes:
        raise ValueError(f"node {node} of {nodes}: expected 0 to {nodes - 1}")
    if samples < nodes:
        raise ValueError(f"{samples} samples cannot be split over {nodes} nodes")
    return range(samples * node // nodes, samples * (node + 1) // nodes)
