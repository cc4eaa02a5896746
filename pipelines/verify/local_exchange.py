"""Graphs of exchanges, run in this process instead of by Beam."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.runtime.exchange import Exchange, Outputs, Slice, Slices, Tables, Task


@dataclass(frozen=True, kw_only=True)
class LocalExchange(Exchange):
    """Runs each task at once; a collection is a list of (partition, Slice)."""

    def select(self, name: str, *received: tuple[Any, str]) -> tuple[Any, ...]:
        """Select an output of each of some tasks."""
        return tuple(
            [(partition, part) for partition, part in slices if part.output == output]
            for slices, output in received
        )

    def run_task(
        self, name: str, function: Callable[[Tables], Outputs], *received: tuple[Any, str]
    ) -> Slices:
        """Run a function on each partition, one after the other."""
        task = Task(name=f"{self.prefix}-{name}", store=self.store, function=function)
        selected = (part for parts in self.select(name, *received) for part in parts)
        results: Slices = []
        for group in sorted(grouped(selected).items()):
            results += task(group)
        return results


def grouped(slices: Iterable[tuple[int, Slice]]) -> Mapping[int, list[Slice]]:
    """Group slices by partition."""
    found: dict[int, list[Slice]] = {}
    for partition, part in slices:
        found.setdefault(partition, []).append(part)
    return found
