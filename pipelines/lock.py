"""One build at a time in a folder: a second one refuses and says who holds it."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import filelock

from pipelines.storage import CorpusError, Storage

LOCK_NAME = ".lock"
HEARTBEAT_S = 30.0
# An object-store lock whose holder has not been heard of for this long may be taken over.
EXPIRY_S = 300.0


@contextmanager
def build_lock(store: Storage) -> Iterator[None]:
    """Hold the corpus for one build.

    A local lock is the kernel's and dies with its holder. An object store has none: there the
    lock is an object created exclusively, refreshed every 30 s, taken over when 5 minutes old.

    Raises:
        CorpusError: if another build holds it.
    """
    with _local_lock(store) if store.is_local else _object_lock(store):
        yield


@contextmanager
def _local_lock(store: Storage) -> Iterator[None]:
    _, path = store.locate(LOCK_NAME)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise CorpusError(f"{store.root}: another build holds {path}") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _object_lock(store: Storage) -> Iterator[None]:
    _create(store)
    stop = threading.Event()
    beat = threading.Thread(target=_keep_alive, args=(store, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        with suppress(FileNotFoundError):
            store.remove(LOCK_NAME)


def _create(store: Storage) -> None:
    _, path = store.locate(LOCK_NAME)
    try:
        store.fs.pipe_file(path, _claim(), mode="create")
        return
    except FileExistsError:
        holder = _holder(store)
    if time.time() - holder["heartbeat"] < EXPIRY_S:
        who = f"process {holder['process']} on {holder['host']}"
        raise CorpusError(f"{store.root}: another build holds it ({who}); or remove {path}")
    store.fs.pipe_file(path, _claim())


def _keep_alive(store: Storage, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        store.commit_bytes(LOCK_NAME, _claim())


def _claim() -> bytes:
    who = {"host": socket.gethostname(), "process": os.getpid(), "heartbeat": time.time()}
    return json.dumps(who).encode()


def _holder(store: Storage) -> dict[str, Any]:
    try:
        return json.loads(store.read(LOCK_NAME))
    except (FileNotFoundError, ValueError):
        return {"host": "?", "process": 0, "heartbeat": 0.0}
