"""One build at a time in a folder: a second one refuses."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import filelock

from schemas.store.storage import CorpusError, Storage

LOCK_NAME = ".lock"
HEARTBEAT_S = 30.0
# An object-store lock whose holder has not been heard of for this long may be taken over.
EXPIRY_S = 300.0
# Two builds that take over at once have both written after this long; the later write holds.
SETTLE_S = 3.0


@contextmanager
def build_lock(store: Storage) -> Iterator[None]:
    """Hold the corpus for one build.

    A local lock is the kernel's and dies with its holder. An object store has none: there the
    lock is an object created exclusively, refreshed every 30 s, taken over when 5 minutes old.
    It bounds accidents, clocks that differ by minutes apart; it is no consensus.

    Raises:
        CorpusError: if another build holds it, or took it over from this one.
    """
    with _local_lock(store) if store.is_local else _object_lock(store):
        yield


@contextmanager
def _local_lock(store: Storage) -> Iterator[None]:
    _, path = store.locate(LOCK_NAME)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        raise CorpusError(
            f"{store.root}: this folder cannot be made ({error.strerror}); give --out one on a "
            "disk that can be written"
        ) from error
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
    owner = f"process {os.getpid()} on {socket.gethostname()}, since {time.time():.6f}"
    _take(store, owner)
    stop = threading.Event()
    beat = threading.Thread(target=_keep_alive, args=(store, owner, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        holder = _holder(store)["owner"]
        if holder == owner:
            store.remove(LOCK_NAME)
    if holder != owner:
        raise CorpusError(
            f"{store.root}: {holder or 'someone'} took the lock over while this build ran, and "
            "both wrote; let one finish, then build once more"
        )


def _take(store: Storage, owner: str) -> None:
    if store.create(LOCK_NAME, _claim(owner)):
        return
    _, path = store.locate(LOCK_NAME)
    holder = _holder(store)
    age_s = time.time() - holder["heartbeat"]
    if holder["owner"] and age_s < EXPIRY_S:
        raise CorpusError(
            f"{store.root}: another build holds it ({holder['owner']}, last heard of {age_s:.0f} s "
            f"ago); one that died is forgotten after {EXPIRY_S:.0f} s, or remove {path}"
        )
    store.commit_bytes(LOCK_NAME, _claim(owner))
    time.sleep(SETTLE_S)
    if (winner := _holder(store)["owner"]) != owner:
        raise CorpusError(f"{store.root}: another build ({winner}) was first to take over {path}")


def _keep_alive(store: Storage, owner: str, stop: threading.Event) -> None:
    """Refresh the lock until told to stop, or until it is another's."""
    while not stop.wait(HEARTBEAT_S):
        try:
            if _holder(store)["owner"] != owner:
                return
            store.commit_bytes(LOCK_NAME, _claim(owner))
        # File systems raise anything; there are nine more beats before the lock expires.
        except Exception:
            continue


def _claim(owner: str) -> bytes:
    return json.dumps({"owner": owner, "heartbeat": time.time()}).encode()


def _holder(store: Storage) -> dict[str, Any]:
    """Read who holds the lock; the owner is '' if nobody does.

    Raises:
        CorpusError: if what lies there is no lock of ours.
    """
    try:
        held = json.loads(store.read(LOCK_NAME))
        return {"owner": str(held["owner"]), "heartbeat": float(held["heartbeat"])}
    except FileNotFoundError:
        return {"owner": "", "heartbeat": 0.0}
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{store.root}: {LOCK_NAME} is not a lock of this program; move it away"
        ) from error
