"""One row that failed in a stage, for the message that too many did."""

from collections.abc import Iterable

from pipelines.runtime.sidecar import dead_letters_path, read_rejects
from schemas.store.storage import Storage

MOST_CHARS = 200  # of a detail
HINTS = {"private_address": "; to allow them, set crawl.allow_private_addresses: true"}


def first_failed(store: Storage, stage: str, error: str, shards: Iterable[int]) -> str:
    """Describe the first row that failed with an error, name its file, and say what to do.

    Reads dead letters until it finds one.
    """
    hint = HINTS.get(error, "")
    for shard in shards:
        rejects = read_rejects(store, stage, shard).to_pylist()
        found = [row for row in rejects if (row["outcome"], row["reason"]) == ("failed", error)]
        if found:
            path = f"{store.root.rstrip('/')}/{dead_letters_path(stage, shard)}"
            detail = " ".join(found[0]["detail"].split())[:MOST_CHARS]
            return f" (first: {detail}; see {path}{hint})"
    return hint
