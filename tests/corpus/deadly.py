"""Work that dies for certain keys, each in a way of its own; importable in child processes."""

import ctypes
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from filters.decode import DecodeError
from pipelines.engines.lasting_pool import tell_progress
from pipelines.runtime.active_images import active_images, most_at_once
from pipelines.runtime.decode_clock import within

# What becomes of the process, as `pipelines.runtime.crash_isolation` says it.
WAYS: dict[str, Callable[[], object]] = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),  # as the kernel does out of memory
    "SIGSEGV": lambda: ctypes.string_at(0),
    "SIGABRT": os.abort,
    "exit code 3": lambda: os._exit(3),
}
HOURS_S = 10_000
# In which nothing becomes of it.
HANGS: dict[str, Callable[[], object]] = {
    "hangs": lambda: time.sleep(HOURS_S),
    "hangs and keeps the lock": lambda: ctypes.PyDLL(None).sleep(HOURS_S),
}


def work(keys: Sequence[str], deadly: Mapping[str, str], batch: int = 1) -> dict[str, str]:
    """Take up keys in batches; return what became of each. `deadly` maps a key to its way.

    A way is also "together": SIGKILL where others are in the same batch.
    """
    became: dict[str, str] = {}
    size = most_at_once(batch)
    for start in range(0, len(keys), size):
        taken: list[str] = []
        for key in keys[start : start + size]:
            try:
                with active_images(key):
                    taken.append(key)
            except DecodeError as error:
                became[key] = str(error)
        if taken:
            with active_images(*taken):
                for key in taken:
                    _meet(deadly.get(key, ""), alone=len(taken) == 1)
                    became[key] = "done"
    return became


def _meet(way: str, *, alone: bool) -> None:
    if way == "together":
        way = "" if alone else "SIGKILL"
    if way:
        WAYS[way]()


def decode_each(keys: Sequence[str], slow: Mapping[str, str], limit_s: float) -> dict[str, str]:
    """Take up keys and work on each under a clock; `slow` maps a key to one of HANGS."""
    became: dict[str, str] = {}
    for key in keys:
        try:
            with active_images(key):
                became[key] = within(limit_s, lambda key=key: _hang(slow.get(key, "")))
        except DecodeError as error:
            became[key] = str(error)
    return became


def _hang(way: str) -> str:
    if way:
        HANGS[way]()
    return "done"


def hang_once(mark: str, way: str, limit_s: float) -> str:
    """Hang under a clock if a file is there, and remove it."""
    if not os.path.exists(mark):
        return "done"
    os.unlink(mark)
    return within(limit_s, lambda: _hang(way))


def die_once(mark: str) -> str:
    """Die if a file is there, and remove it."""
    if os.path.exists(mark):
        os.unlink(mark)
        WAYS["SIGKILL"]()
    return "done"


def die(way: str) -> None:
    """Die."""
    WAYS[way]()


def fail(message: str) -> None:
    """Raise an error."""
    raise ValueError(message)


def die_after_progress(diary: str) -> int:
    """Die the first five times, each time with something done; return how often it was called."""
    path = Path(diary)
    calls = len(path.read_bytes()) + 1 if path.exists() else 1
    path.write_bytes(b"x" * calls)
    tell_progress()
    if calls <= 5:
        os._exit(9)
    return calls


def visible_gpu(seconds: float) -> tuple[int, str]:
    """Return this process and the GPUs that it may see, after a while."""
    time.sleep(seconds)
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "all")
