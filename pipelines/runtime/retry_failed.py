"""Try rows again that failed temporarily: an outage, too little memory, a scorer with a bug.

A failed row is a committed fact like any other: nothing tries it again by itself. To have it tried,
the side-car of its shard is marked: it is then no longer fresh, and what it holds stays.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pipelines.runtime.sidecar import (
    Origin,
    each_shard,
    read_origin,
    read_table,
    sidecar_path,
    write_sidecar,
)
from schemas.store.storage import Storage

MARK = "retry "  # stands before the fingerprint of a marked side-car

_TEMPORARY = re.compile(
    r"timeout|connection_error|dns_error|tls_error|http_(408|425|429|5\d\d)"  # crawl
    r"|host_down|host_busy"
    r"|killed_worker|out_of_memory|unreadable_bytes|decode_timeout"
    r"|scorer_failed"  # an error of a scorer's code, which may be mended
    r"|unanswered"  # caption
)


def is_temporary(reason: str) -> bool:
    """Whether a row that failed with this reason may succeed another time.

    >>> is_temporary("http_503"), is_temporary("http_404"), is_temporary("killed_worker")
    (True, False, True)
    """
    return _TEMPORARY.fullmatch(reason) is not None


def temporarily_failed(failed: Mapping[str, int]) -> int:
    """Count the rows among {reason: rows} that may succeed another time."""
    return sum(rows for reason, rows in failed.items() if is_temporary(reason))


def mark_shards(store: Storage, folder: str, shards: Iterable[int]) -> int:
    """Mark the shards of a stage that have such rows; return how many rows those are."""
    return sum(each_shard(lambda shard: _mark(store, sidecar_path(folder, shard)), shards))


def is_marked(origin: Origin | None, fingerprint: str) -> bool:
    """Whether a side-car of this fingerprint waits for its failed rows to be tried again."""
    return origin is not None and origin.fingerprint == MARK + fingerprint


def _mark(store: Storage, path: str) -> int:
    origin = read_origin(store, path)
    rows = temporarily_failed(origin.counts.failed) if origin else 0
    if origin and rows and not origin.fingerprint.startswith(MARK):
        marked = replace(origin, fingerprint=MARK + origin.fingerprint)
        write_sidecar(store, path, read_table(store, path), marked)
    return rows
