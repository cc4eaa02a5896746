"""The graph that draws held-out samples: numbers of side-car shards in, the list of them out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.runtime.exchange import Exchange, Slices, assign_groups, send
from pipelines.shards.held_out import write_drawn
from pipelines.splits.tasks import SplitTasks
from schemas.store.storage import Storage


@dataclass(frozen=True, kw_only=True)
class ReadLinks:
    """Read what the rows of a group of shards share, and send it."""

    tasks: SplitTasks
    store: Storage  # of the exchange files
    corpus: Storage

    def __call__(self, group: tuple[int, Iterable[int]]) -> Slices:
        """Write the group's exchange files."""
        number, shards = group
        outputs = self.tasks.read(sorted(shards), self.corpus)
        return send(self.store, f"split-read-{number:05d}", outputs)


@dataclass(frozen=True, kw_only=True)
class Split(Exchange):
    """Build the graph of exchanges, from rows to the held-out ones."""

    tasks: SplitTasks
    prefix: ClassVar[str] = "split"

    def expand(self, shards: Any, fingerprint: str) -> Any:
        """Build the graph. No held-out sample, no file: the caller writes an empty one."""
        import apache_beam as beam

        from pipelines.runtime.map_shards import Concurrently

        read_links = ReadLinks(tasks=self.tasks, store=self.store, corpus=self.store)
        read = (
            assign_groups(shards, self.tasks.partitions)
            | "ReadTogether" >> beam.GroupByKey()
            | "Read" >> beam.ParDo(Concurrently(read_links)).with_output_types(Slices)
        )
        [held] = self.held(read)
        written = beam.Map(write_drawn, self.store, fingerprint)
        return held | "WriteTogether" >> beam.GroupByKey() | "Write" >> written

    def held(self, read: Any) -> Any:
        """Return the held-out rows, of what `ReadLinks` sent."""
        tasks = self.tasks
        links = [(self.run_task("equal", tasks.equal, (read, "shared")), "links")]
        if tasks.reader.distance is not None:
            looks = self.run_task("look", tasks.same_look, (read, "looks"))
            near = self.run_task("near", tasks.near, (looks, "by_band"))
            links += [(looks, "links"), (near, "links")]
        labels = self.run_task("join", tasks.join, *links)
        drawn = self.run_task("draw", tasks.draw, (read, "rows"), (labels, "labels"))
        return self.select("write", (drawn, "held"))
