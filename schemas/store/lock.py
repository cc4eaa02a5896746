"""One build at a time in a folder: a second one is refused, and told who holds it.

In a local folder the lock is the kernel's, by `filelock`, and ends with its holder. That knows no
object stores: there the lock is an object, created only if it is absent. It is taken over from a
process of this machine that has ended, and otherwise stands until `--force-unlock` breaks it. It
bounds accidents; it is no consensus.
"""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import filelock
from pydantic import TypeAdapter, ValidationError

from schemas.store.storage import CorpusError, Storage

LOCK_NAME = ".lock"


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that holds a corpus, as its lock says."""

    host: str
    pid: int
    since: str
    machine: str  # a boot of a machine, and where its processes are counted; '' if unknown
    started: str  # the process, in ticks since that boot
    lock: str  # drawn

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    @property
    def has_ended(self) -> bool:
        """Whether it was a process of this machine, and is no more."""
        return self.machine == _machine() != "" and self.started != _started(self.pid)


def this_process() -> Holder:
    """Return this process as a holder."""
    return Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=_machine(),
        started=_started(os.getpid()),
        lock=uuid4().hex,
    )


@contextmanager
def build_lock(store: Storage, *, force_unlock: bool = False) -> Iterator[None]:
    """Hold the corpus for one build.

    Args:
        store: of the corpus.
        force_unlock: whether to break the lock of another.

    Raises:
        CorpusError: if another build holds it, or broke the lock of this one.
    """
    me = this_process()
    with _kernel_lock(store, force_unlock) if store.is_local else nullcontext():
        if store.is_local:
            _path(store).write_bytes(_HOLDER.dump_json(me))
        else:
            _create(store, me, force_unlock)
        try:
            yield
        finally:
            holder = holder_of(store)
            if holder == me and store.is_local:
                os.truncate(_path(store), 0)  # the kernel's lock is of a file that stays
            elif holder == me:
                store.remove(LOCK_NAME)
    if holder != me:
        raise CorpusError(
            f"{store.root}: {holder or 'someone'} took the lock over while this build ran, and "
            "both wrote; let one finish, then build once more"
        )


def holder_of(store: Storage) -> Holder | None:
    """Read who holds a corpus, or held it when it was killed; None if nobody does.

    Raises:
        CorpusError: if what lies there is no lock of ours.
    """
    try:
        held = store.read(LOCK_NAME)
        return _HOLDER.validate_json(held) if held else None
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise CorpusError(
            f"{store.root}: {LOCK_NAME} is not a lock of this program; move it away"
        ) from error


_HOLDER = TypeAdapter(Holder)


@contextmanager
def _kernel_lock(store: Storage, force_unlock: bool) -> Iterator[None]:
    path = _path(store)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CorpusError(
            f"{store.root}: this folder cannot be made ({error.strerror}); give --out one on a "
            "disk that can be written"
        ) from error
    holder = holder_of(store)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if not force_unlock:
            raise _refusal(store, holder) from None
        _say_broken(store, holder)
        path.unlink(missing_ok=True)  # who holds it holds a file without a name from here on
        lock.acquire(timeout=0)
    try:
        yield
    finally:
        lock.release()


def _create(store: Storage, me: Holder, force_unlock: bool) -> None:
    while not store.create(LOCK_NAME, _HOLDER.dump_json(me)):
        if (holder := holder_of(store)) is None:  # it was released just now
            continue
        if not (force_unlock or holder.has_ended):
            raise _refusal(store, holder)
        _say_broken(store, holder)
        store.remove(LOCK_NAME)
        force_unlock = False  # whoever is faster is not meant


def _path(store: Storage) -> Path:
    return Path(store.locate(LOCK_NAME)[1])


def _refusal(store: Storage, holder: Holder | None) -> CorpusError:
    return CorpusError(
        f"{store.root}: another build holds {store.locate(LOCK_NAME)[1]}: "
        f"{holder or 'one that has just begun'}; if it is dead: --force-unlock"
    )


def _say_broken(store: Storage, holder: Holder | None) -> None:
    ended = ", which has ended" if holder and holder.has_ended else ""
    print(f"{store.root}: broke the lock of {holder or 'another'}{ended}", file=sys.stderr)


def _machine() -> str:
    """Name the boot of this machine and the space that its processes are counted in."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return ""


def _started(pid: int) -> str:
    """Return when a process of this machine started; '' if there is none."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]
