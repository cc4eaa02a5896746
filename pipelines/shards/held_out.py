"""The list of held-out samples, `shards/held_out.parquet`: one file, with their groups."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from pipelines.runtime.exchange import Slice, receive
from pipelines.runtime.sidecar import (
    Counts,
    column,
    make_origin,
    read_origin,
    read_table,
    write_sidecar,
)
from schemas.store.storage import Storage
from schemas.tables import HELD_OUT

PATH = "shards/held_out.parquet"
STAGE = "shard"  # that writes it


def write_held_out(store: Storage, fingerprint: str, table: pa.Table) -> None:
    """Write the list; `fingerprint` is that of the side-cars that it was drawn from."""
    table = table.sort_by("key")
    counts = Counts(rows_in=len(table), kept=len(table))
    write_sidecar(store, PATH, table, make_origin(STAGE, fingerprint, table, counts))


def write_drawn(group: tuple[int, Iterable[Slice]], store: Storage, fingerprint: str) -> None:
    """Write the list from the slices of one partition."""
    _, slices = group
    write_held_out(store, fingerprint, receive(store, slices)["held"])


def write_if_none(store: Storage, fingerprint: str) -> None:
    """Write an empty list unless one was drawn from side-cars of this fingerprint."""
    if not is_drawn(store, fingerprint):
        write_held_out(store, fingerprint, HELD_OUT.empty_table())


def is_drawn(store: Storage, fingerprint: str) -> bool:
    """Whether the list was drawn from side-cars of a fingerprint."""
    found = read_origin(store, PATH)
    return found is not None and found.fingerprint == fingerprint


def held_out_keys(store: Storage) -> pa.Array:
    """Return the keys of the held-out samples of all subsets, in order."""
    return read_table(store, PATH, ["key"])["key"].combine_chunks()


def held_out_counts(store: Storage, share: float) -> Mapping[str, int]:
    """Return the number of held-out samples of each subset; none are held out at a share of 0."""
    return Counter(column(read_table(store, PATH, ["subset"]), "subset")) if share else {}


def held_out_line(store: Storage, share: float) -> dict[str, Any]:
    """Return what the manifest says of held-out samples; {} at a share of 0."""
    if not share:
        return {}
    groups = column(read_table(store, PATH, ["group"]), "group")
    return {"held_out": {"share": share, "samples": len(groups), "groups": len({*groups})}}
