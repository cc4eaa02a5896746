"""What rules read of a row: measured signals, scores, and the columns of the list."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from filters.host import host_of
from pipelines.runtime.sidecar import column, read_table, rows_with, sidecar_path
from schemas.store.storage import Storage

HOST = "host"
# Columns of `sources/` that rules can name, and the host of the URL.
LISTED = ("source", "url", "text", "title", "licence", "author", HOST)


def read_values(
    store: Storage,
    shard: int,
    keys: "pa.Array[Any]",
    names: Collection[str],
    folders: Sequence[str] = ("signals", "scores"),
) -> pa.Table:
    """Read the named columns of some rows of a shard, and their keys, in key order.

    Args:
        store: the corpus.
        shard: number of the side-cars.
        keys: of the rows, in key order.
        names: of columns of LISTED or of a side-car in `folders`.
        folders: where columns are looked for that are not listed.
    """
    found: dict[str, Any] = {"key": keys}
    listed = [name for name in names if name in LISTED]
    if listed:
        found |= _listed(store, shard, keys, listed)
    others = [name for name in names if name not in LISTED]
    for folder in folders if others else ():
        table = read_table(store, sidecar_path(folder, shard), ["key", *others])
        table = rows_with(table, keys).drop_columns("key")
        found |= dict(zip(table.column_names, table.columns, strict=True))
    return pa.table(found)


def _listed(
    store: Storage, shard: int, keys: "pa.Array[Any]", names: Sequence[str]
) -> Mapping[str, Any]:
    wanted = {"url" if name == HOST else name for name in names}
    table = rows_with(read_table(store, sidecar_path("sources", shard), ["key", *wanted]), keys)
    found: dict[str, Any] = {name: table[name] for name in names if name != HOST}
    if HOST in names:
        found[HOST] = pa.array(map(host_of, column(table, "url")), pa.string())
    return found
