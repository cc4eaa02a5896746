"""Attempts at work that may kill its worker: each leaves a mark until it has ended.

A mark that is found says that an earlier attempt died, of an image or because someone killed it.
Then the work is done in a watched child (`pipelines.runtime.watched`), which costs a second, loses
no worker and finds the image. This works on every engine, because the mark lies in the corpus. It
costs two small operations of the store a shard.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from uuid import uuid4

from pipelines.runtime.ownership import marks
from pipelines.runtime.watched import call_watched
from schemas.keys import shard_name
from schemas.store.storage import Storage

FOLDER = ".attempts"


@contextmanager
def attempt(
    store: Storage, stage: str, shard: int, *, decodes: bool = True
) -> Iterator[Callable[..., Any]]:
    """Mark a shard as begun until the body has committed it; give what to make calls with.

    That takes a function and its arguments, all picklable; what it does must be free to begin anew,
    and its images be taken up with `pipelines.runtime.in_hand`. Work that decodes no image leaves
    no mark.
    """
    if not decodes:
        yield _call
        return
    path = f"{FOLDER}/{stage}/{shard_name(shard)}"
    first = store.create(path, uuid4().hex.encode())
    try:
        yield _call if first else partial(call_watched, f"{stage} of shard {shard}")
    except Exception:
        # A worker that can tell of its error is not dead. The error is what matters.
        with suppress(Exception):
            store.remove(path)
        raise
    store.remove(path)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def begun_attempts(store: Storage, stage: str) -> set[str]:
    """Return the shards of a stage that have a mark."""
    return marks(store.listing(f"{FOLDER}/{stage}"))


def forget_attempts(store: Storage, stage: str) -> None:
    """Remove the marks of a stage that has ended: of shards that were committed by the dying."""
    for name in begun_attempts(store, stage):
        store.remove(f"{FOLDER}/{stage}/{name}")
