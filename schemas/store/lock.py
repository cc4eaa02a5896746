"""The lock of a corpus: a second build in the same folder is refused, with the holder's name.

In a local folder it is a kernel lock (`filelock`), which ends with its holder. On an object store
it is an object, created only if it is absent. A lock of an ended process of this machine is taken
over; any other lock stays until `--force-unlock` breaks it. This prevents accidents; it is no
consensus protocol.
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
    """The process that holds a corpus, stored in the lock."""

    host: str
    pid: int
    since: str
    machine: str  # boot id and process namespace of the machine; '' if unknown
    started: str  # start of the process, in ticks since the boot
    lock: str  # random id

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    @property
    def has_ended(self) -> bool:
        """Whether the holder was a process of this machine that has ended."""
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
        store: store of the corpus.
        force_unlock: whether to break another build's lock.

    Raises:
        CorpusError: another build holds the corpus, or broke this build's lock.
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
                os.truncate(_path(store), 0)  # the kernel lock needs the file itself to stay
            elif holder == me:
                store.remove(LOCK_NAME)
    if holder != me:
        raise CorpusError(
            f"{store.root}: {holder or 'someone'} took the lock over while this build ran, and "
            "both wrote; let one finish, then build once more"
        )


def holder_of(store: Storage) -> Holder | None:
    """Return the present or killed holder of a corpus; None if there is none.

    Raises:
        CorpusError: the file is no lock of this program.
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
            f"{store.root}: this folder cannot be made ({error.strerror}); name a folder on a disk "
            "that can be written"
        ) from error
    holder = holder_of(store)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if not force_unlock:
            raise _refusal(store, holder) from None
        _report_broken(store, holder)
        path.unlink(missing_ok=True)  # the holder now holds a deleted file
        lock.acquire(timeout=0)
    try:
        yield
    finally:
        lock.release()


def _create(store: Storage, me: Holder, force_unlock: bool) -> None:
    while not store.create(LOCK_NAME, _HOLDER.dump_json(me)):
        if (holder := holder_of(store)) is None:  # it was released in the meantime
            continue
        if not (force_unlock or holder.has_ended):
            raise _refusal(store, holder)
        _report_broken(store, holder)
        store.remove(LOCK_NAME)
        force_unlock = False  # do not break the lock of a faster process too


def _path(store: Storage) -> Path:
    return Path(store.locate(LOCK_NAME)[1])


def _refusal(store: Storage, holder: Holder | None) -> CorpusError:
    return CorpusError(
        f"{store.root}: another build holds {store.locate(LOCK_NAME)[1]}: "
        f"{holder or 'one that has just begun'}; if it is dead: --force-unlock"
    )


def _report_broken(store: Storage, holder: Holder | None) -> None:
    ended = ", which has ended" if holder and holder.has_ended else ""
    print(f"{store.root}: broke the lock of {holder or 'another'}{ended}", file=sys.stderr)


def _machine() -> str:
    """Return boot id and process namespace of this machine."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return ""


def _started(pid: int) -> str:
    """Return the start of a process of this machine; '' if there is no such process."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]
