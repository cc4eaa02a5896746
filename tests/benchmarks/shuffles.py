"""What crosses Beam's shuffles, counted on the way into each GroupByKey of the local engine."""

import pickle
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from pipelines.runtime.exchange import Slice


@dataclass
class Carried:
    """What went into one shuffle."""

    elements: int = 0
    bytes: int = 0  # of their pickles
    exchanged_bytes: int = 0  # of the exchange files that the elements point into


_carried: defaultdict[str, Carried] = defaultdict(Carried)


@contextmanager
def counted_shuffles() -> Iterator[dict[str, Carried]]:
    """Count in every pipeline that the body builds and runs in this process, by label."""
    apply = beam.Pipeline.apply
    _carried.clear()

    def counting(self: beam.Pipeline, transform: Any, input_: Any = None, label: Any = None) -> Any:
        if (
            isinstance(transform, beam.GroupByKey) and label is None
        ):  # or it is named and comes back
            name = f"{self._current_transform().full_label}/{transform.label}".strip("/")
            count = beam.Map(_counted, name).with_output_types(input_.element_type)
            input_ = apply(self, count, input_, f"Count {name}")
        return apply(self, transform, input_, label)

    beam.Pipeline.apply = counting  # type: ignore[method-assign]
    try:
        yield _carried
    finally:
        beam.Pipeline.apply = apply  # type: ignore[method-assign]


def _counted(element: Any, name: str) -> Any:
    carried = _carried[name]
    carried.elements += 1
    carried.bytes += len(pickle.dumps(element))
    carried.exchanged_bytes += sum(part.length for part in _slices(element[1]))
    return element


def _slices(value: Any) -> Iterator[Slice]:
    if isinstance(value, Slice):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _slices(part)
