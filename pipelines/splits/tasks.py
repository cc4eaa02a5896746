"""Find groups of samples that are held out together, and draw among them: functions of tables.

Each task returns its outputs, with the partition of each row. Samples are linked in a star: all to
the one of the smallest key among those that share a thing. So links are fewer than samples that
share something, and one task joins them to groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dedup.near_duplicates import band_masks, clusters, near_hashes, run_starts
from pipelines.dedup.words import hexed
from pipelines.runtime.exchange import Outputs, Tables, partition_of, partitions_for
from pipelines.splits.links import LinkReader
from schemas.keys import unit
from schemas.recipe import Recipe
from schemas.store.storage import Storage
from schemas.tables import HELD_OUT

LINKS = pa.schema([("a", pa.uint64()), ("b", pa.uint64())])  # rows of one group
LABELS = pa.schema([("row", pa.uint64()), ("group", pa.uint64()), ("size", pa.int64())])
DRAW = "held out"  # salt


@dataclass(frozen=True, kw_only=True)
class SplitTasks:
    """Run the tasks of one recipe."""

    reader: LinkReader
    partitions: int  # of each exchange
    samples: int  # of the corpus

    @classmethod
    def of(cls, recipe: Recipe, rows_of: str, samples: int, shards: int) -> "SplitTasks":
        """Return those of the rows that a stage kept, by the folder of its side-cars."""
        reader = LinkReader(recipe=recipe, rows_of=rows_of)
        return cls(reader=reader, partitions=partitions_for(samples, shards), samples=samples)

    @property
    def share(self) -> float:
        """The share of the groups that is held out."""
        return self.reader.recipe.shard.held_out

    @property
    def largest(self) -> int:
        """The most samples of a group that is held out; a larger one stays in training."""
        return max(1, int(self.share * self.samples))

    def read(self, shards: Sequence[int], store: Storage) -> Outputs:
        """Send the rows of some shards, what they share, and their looks."""
        found = [self.reader.read(store, shard) for shard in sorted(shards)]
        rows, shared, looks = (pa.concat_tables(tables) for tables in zip(*found, strict=True))
        return {
            "rows": (rows, self._by(rows, "row")),
            "shared": (shared, self._by(shared, "shared")),
            "looks": (looks, self._by(looks, "phash")),
        }

    def equal(self, tables: Tables) -> Outputs:
        """Link the rows that share a thing."""
        return self._links(*_stars(tables["shared"], "shared"))

    def same_look(self, tables: Tables) -> Outputs:
        """Link the rows of equal pHashes; send one row of each pHash once a band."""
        table = tables["looks"].sort_by([("phash", "ascending"), ("row", "ascending")])
        row, first = _stars(table, "phash")
        hashes, starts = np.unique(table["phash"].to_numpy(), return_index=True)
        masks = np.array(band_masks(self.reader.distance or 0), np.uint64)
        bands = np.repeat(np.arange(len(masks), dtype=np.uint8), len(hashes))
        banded = {
            "phash": np.tile(hashes, len(masks)),
            "row": np.tile(table["row"].to_numpy()[starts], len(masks)),
            "band": bands,
        }
        by_band = [banded["phash"] & masks[bands], bands.astype(np.uint64)]
        return {
            **self._links(row, first),
            "by_band": (pa.Table.from_pydict(banded), partition_of(by_band, self.partitions)),
        }

    def near(self, tables: Tables) -> Outputs:
        """Link the rows of near pHashes."""
        banded = tables["by_band"]
        hashes, bands = banded["phash"].to_numpy(), banded["band"].to_numpy()
        near, cluster = clusters(near_hashes(hashes, bands, self.reader.distance or 0))
        known, places = np.unique(hashes, return_index=True)
        rows = banded["row"].to_numpy()[places]
        row, first = (rows[np.searchsorted(known, each)] for each in (near, cluster))
        return self._links(row, first)

    def join(self, tables: Tables) -> Outputs:
        """Join links to groups; a group is named after its smallest row."""
        links = tables["links"]
        pairs = np.stack([links["a"].to_numpy(), links["b"].to_numpy()], axis=1)
        rows, group = clusters(pairs)
        _, places, sizes = np.unique(group, return_inverse=True, return_counts=True)
        found = {"row": rows, "group": group, "size": sizes[places].astype(np.int64)}
        labels = pa.Table.from_pydict(found, LABELS)
        return {"labels": (labels, self._by(labels, "row"))}

    def draw(self, tables: Tables) -> Outputs:
        """Draw the groups that are held out; a row that shares nothing is its own group."""
        labels = tables.get("labels", LABELS.empty_table())
        rows = tables["rows"].join(labels, "row", use_threads=False).sort_by("row")
        group = pc.coalesce(rows["group"], rows["row"])
        size = rows["size"].fill_null(pa.scalar(1, pa.int64())).to_numpy()
        shuffle = self.reader.recipe.shard.shuffle
        drawn = np.array(
            [unit(f"{each:016x}", f"{DRAW} {shuffle}") < self.share for each in group.to_pylist()]
        )
        found = rows.append_column("of", group).filter(pa.array(drawn & (size <= self.largest)))
        held = {
            "key": hexed([found["row"].to_numpy(), found["key1"].to_numpy()]),
            "subset": found["subset"],
            "group": hexed([found["of"].to_numpy()]),
        }
        return {"held": (pa.Table.from_pydict(held, HELD_OUT), np.zeros(len(found), np.int64))}

    def _links(self, a: np.ndarray, b: np.ndarray) -> Outputs:
        differ = a != b
        links = pa.Table.from_pydict({"a": a[differ], "b": b[differ]}, LINKS)
        return {"links": (links, np.zeros(len(links), np.int64))}

    def _by(self, table: pa.Table, name: str) -> np.ndarray:
        return partition_of([table[name].to_numpy()], self.partitions)


def _stars(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return each row, and the smallest row that has the same value in a column."""
    values, rows = table[name].to_numpy(), table["row"].to_numpy()
    order = np.lexsort((rows, values))
    values, rows = values[order], rows[order]
    return rows, rows[run_starts(values)]
