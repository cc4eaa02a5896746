"""Crash isolation: work that may kill its worker is done again in a child, until none dies of it.

A shard that is begun leaves a mark in the corpus until it is committed, for two small operations of
the store. A mark that is found says that an earlier attempt died, of an image or because someone
killed it. Then the shard is done in a child process, which tells which images are active
(`pipelines.runtime.active_images`). When it dies, those are tried one by one in further children;
one that has killed `DEATHS` of them is refused from then on with `killed_worker`, and the shard is
done again. A child that an image holds past its time limit ends itself by the kernel's timer
(`pipelines.runtime.decode_clock`), and that image is refused with `decode_timeout` at once. This
works on every engine, costs a second, and loses no worker.

pebble and loky run a call in a process that may die, pebble with a deadline too. Neither can say
which image of a call was active, and the deadline is one of the call, where here each image has its
own. What they would save is the start of a process.
"""

import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipelines.engines.lasting_pool import DEATHS, die_with_parent, fork_server
from pipelines.runtime.active_images import (
    DECODE_TIMEOUT,
    KILLED_WORKER,
    DecodePolicy,
    be_watched,
)
from pipelines.runtime.decode_clock import TIMER, too_late
from pipelines.runtime.ownership import marks
from schemas.keys import shard_name
from schemas.store.storage import CorpusError, Storage

FOLDER = ".attempts"  # of the marks
# Of one call; where more of them crash it, it is the machine rather than the images.
MOST_CRASHING = 20


@contextmanager
def attempt(
    store: Storage, stage: str, shard: int, *, decodes: bool = True
) -> Iterator[Callable[..., Any]]:
    """Mark a shard as begun until the body has committed it; yield a function that makes calls.

    It takes a function and its arguments, all picklable. The function must be safe to repeat, and
    name its images with `active_images`. Work that decodes no image leaves no mark.
    """
    if not decodes:
        yield _call
        return
    path = f"{FOLDER}/{stage}/{shard_name(shard)}"
    first = store.create(path, uuid4().hex.encode())
    try:
        yield _call if first else partial(call_isolated, f"{stage} of shard {shard}")
    except Exception:
        # A worker that can tell of its error is not dead. The error is what matters.
        with suppress(Exception):
            store.remove(path)
        raise
    store.remove(path)


def forget_attempts(store: Storage, stage: str) -> None:
    """Remove the marks of a stage that has ended: of shards that were committed by the dying."""
    for name in marks(store.listing(f"{FOLDER}/{stage}")):
        store.remove(f"{FOLDER}/{stage}/{name}")


def call_isolated(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a picklable call returns, or raise what it raises, however often it dies.

    Args:
        what: the name of the call in an error.
        function: what to call; it must be safe to repeat with the same arguments.
        arguments: of the function.

    Raises:
        CorpusError: if its process dies by no image, or by more than `MOST_CRASHING`.
    """
    return CrashBisection(what=what, function=function, arguments=arguments).result()


@dataclass(kw_only=True)
class _Run:
    """What a child process told, and how it ended."""

    answer: tuple[Any, Exception | None] | None = None  # None if it died
    active: frozenset[str] = frozenset()
    timeout_s: float = 0.0
    cause: str = ""  # of death

    def hear(self, what: str, said: Any) -> None:
        if what == "answer":
            self.answer = said
        else:
            self.active, self.timeout_s = said


@dataclass(kw_only=True)
class CrashBisection:
    """One call, made until it gets through without the images that crash it."""

    what: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    crashing_keys: dict[str, tuple[str, str]] = field(default_factory=dict)  # -> reason, detail
    late: set[str] = field(default_factory=set)  # of those, the ones that took too long
    deaths: Counter[str] = field(default_factory=Counter)  # with that image alone active

    def result(self) -> Any:
        """Return what the call returns, or raise what it raises."""
        unexplained = 0
        while (run := self._run()).answer is None:
            known = self._known
            self._count(run)
            self._try_each(run.active)
            unexplained += self._known == known
            if unexplained == DEATHS:
                raise CorpusError(
                    f"{self.what}: its process died {DEATHS} times ({run.cause}), and by no one "
                    "image; SIGKILL is what the system sends when memory runs out: build again "
                    "with more of it a worker, or with fewer --processes"
                )
        value, error = run.answer
        if error is not None:
            raise error
        return value

    @property
    def _known(self) -> int:
        return self.deaths.total() + len(self.late)

    def _try_each(self, suspects: frozenset[str]) -> None:
        """Try suspects one after the other until all that is left of them is harmless."""
        while left := suspects - self.crashing_keys.keys():
            run = self._run(only=left)
            if run.answer is not None or not run.active:
                return
            self._count(run)

    def _count(self, run: _Run) -> None:
        """Put a death down to the image that was active, if it was one alone."""
        if len(run.active) != 1:
            return
        [key] = run.active
        if run.cause == TIMER:
            self.late.add(key)
            self.crashing_keys[key] = DECODE_TIMEOUT, too_late(run.timeout_s)
            return
        self.deaths[key] += 1
        if self.deaths[key] >= DEATHS:
            detail = f"killed the worker {DEATHS} times ({run.cause})"
            self.crashing_keys[key] = KILLED_WORKER, detail
        if (crashing := len(self.crashing_keys) - len(self.late)) > MOST_CRASHING:
            raise CorpusError(
                f"{self.what}: {crashing} images killed its process, the last {key} "
                f"({run.cause}): so many are rather the machine's fault; nothing of them is kept"
            )

    def _run(self, only: frozenset[str] | None = None) -> _Run:
        context = fork_server(self.function.__module__)
        ours, childs = context.Pipe(duplex=False)
        policy = DecodePolicy(crashing_keys=self.crashing_keys, only=only)
        child = context.Process(
            target=_be_child, args=(childs, policy, self.function, self.arguments)
        )
        child.start()
        childs.close()
        run = _Run()
        try:
            with suppress(EOFError, OSError):  # the end of the line, perhaps within a message
                while run.answer is None:
                    run.hear(*ours.recv())
        except BaseException:
            child.kill()
            raise
        finally:
            ours.close()
            child.join()
        run.cause = _cause(child.exitcode)
        return run


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit code {exitcode}"


def _be_child(
    line: Connection, policy: DecodePolicy, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    """Make the call and send ("answer", (value, error)); the parent's death is ours."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent()
    with suppress(OSError):  # where memory runs out, the kernel shall take this process first
        Path("/proc/self/oom_score_adj").write_text("1000")
    be_watched(line, policy)
    try:
        answer = function(*arguments), None
    except Exception as error:
        error.add_note(traceback.format_exc())
        answer = None, error
    line.send(("answer", answer))
