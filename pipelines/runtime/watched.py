"""Make a call in a child process, outlive the child, and find the images that kill it.

The child says which images it has in hand (`pipelines.runtime.in_hand`). When it dies, those are
tried one by one in further children; one that has killed `DEATHS` of them is refused from then on
with `killed_worker`, and the call is made again. A child that works on one image past its clock is
killed from here, which no decoder can put off, and that image is refused with `decode_timeout` at
once. All else about the call is as if it were made here.
"""

import multiprocessing
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipelines.engines.lasting_pool import DEATHS, die_with_parent
from pipelines.runtime.in_hand import (
    DECODE_TIMEOUT,
    KILLED_WORKER,
    Orders,
    be_watched,
    beyond_help_s,
    too_late,
)
from schemas.store.storage import CorpusError

# Of one call; where more of them kill, it is the machine rather than the images.
MOST_KILLERS = 20
# Imported once, by the server that the children are forked from.
PRELOAD = ("pipelines.stages.measure", "pipelines.stages.vq_tokens", "pipelines.shards.write_shard")


def call_watched(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a picklable call returns, or raise what it raises, however often it dies.

    Args:
        what: the name of the call in an error.
        function: what to call; with the same arguments it must be free to begin anew.
        arguments: of the function.

    Raises:
        CorpusError: if its process dies by no image, or by more than `MOST_KILLERS`.
    """
    return _Inquest(what=what, function=function, arguments=arguments).result()


@dataclass(frozen=True, kw_only=True)
class _End:
    """How a child ended."""

    answer: tuple[Any, Exception | None] | None  # None if it died
    in_hand: frozenset[str] = frozenset()
    cause: str = ""  # of death
    late_s: float | None = None  # the limit that it was killed for


@dataclass(kw_only=True)
class _Inquest:
    what: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    killers: dict[str, tuple[str, str]] = field(default_factory=dict)  # key -> reason, detail
    late: set[str] = field(default_factory=set)  # of those, the ones that took too long
    deaths: Counter[str] = field(default_factory=Counter)  # with that image alone in hand

    def result(self) -> Any:
        unexplained = 0
        while (end := self._run()).answer is None:
            known = self._known
            self._count(end)
            self._try_each(end.in_hand)
            unexplained += self._known == known
            if unexplained == DEATHS:
                raise CorpusError(
                    f"{self.what}: its process died {DEATHS} times ({end.cause}), and by no one "
                    "image; SIGKILL is what the system sends when memory runs out: build again "
                    "with more of it a worker, or with fewer --processes"
                )
        return _value(*end.answer)

    @property
    def _known(self) -> int:
        return self.deaths.total() + len(self.late)

    def _try_each(self, suspects: frozenset[str]) -> None:
        """Take up suspects one after the other until all that is left of them is harmless."""
        while asked := suspects - self.killers.keys():
            end = self._run(only=asked)
            if end.answer is not None or not end.in_hand:
                return
            self._count(end)

    def _count(self, end: _End) -> None:
        """Put a death down to the image that was in hand, if it was one alone."""
        if len(end.in_hand) != 1:
            return
        [key] = end.in_hand
        if end.late_s is not None:
            self.late.add(key)
            self.killers[key] = DECODE_TIMEOUT, too_late(end.late_s)
            return
        self.deaths[key] += 1
        if self.deaths[key] >= DEATHS:
            self.killers[key] = KILLED_WORKER, f"killed the worker {DEATHS} times ({end.cause})"
        if (killers := len(self.killers) - len(self.late)) > MOST_KILLERS:
            raise CorpusError(
                f"{self.what}: {killers} images killed its process, the last {key} "
                f"({end.cause}): so many are rather the machine's fault; nothing of them is kept"
            )

    def _run(self, only: frozenset[str] | None = None) -> _End:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOAD))
        ours, childs = context.Pipe(duplex=False)
        orders = Orders(killers=self.killers, only=only)
        child = context.Process(
            target=_be_child, args=(childs, orders, self.function, self.arguments)
        )
        child.start()
        childs.close()
        heard = _Heard()
        try:
            heard.listen(ours)
        except BaseException:
            child.kill()
            raise
        finally:
            if heard.late_s is not None:
                child.kill()
            ours.close()
            child.join()
        return _End(
            answer=heard.answer,
            in_hand=frozenset(heard.in_hand),
            cause=_cause(child.exitcode),
            late_s=heard.late_s,
        )


@dataclass(kw_only=True)
class _Heard:
    """What a child has said."""

    answer: tuple[Any, Exception | None] | None = None
    in_hand: set[str] = field(default_factory=set)
    clocks: dict[int, tuple[float, float]] = field(default_factory=dict)  # thread -> end, seconds
    late_s: float | None = None  # the limit of a clock that has run out

    def listen(self, line: Connection) -> None:
        """Follow a child to its answer, its death, or the end of one of its clocks."""
        with suppress(EOFError, OSError):  # the end of the line, perhaps within a message
            while self.answer is None:
                end, seconds = min(self.clocks.values(), default=(None, None))
                if not line.poll(None if end is None else max(0.0, end - time.monotonic())):
                    self.late_s = seconds
                    return
                self._hear(*line.recv())

    def _hear(self, what: str, said: Any) -> None:
        if what == "answer":
            self.answer, self.in_hand = said, set()
        elif what == "up":
            self.in_hand |= {*said}
        elif what == "down":
            self.in_hand -= {*said}
        else:
            thread, seconds = said
            self.clocks.pop(thread, None)
            if seconds is not None:
                self.clocks[thread] = time.monotonic() + beyond_help_s(seconds), seconds


def _value(value: Any, error: Exception | None) -> Any:
    if error is not None:
        raise error
    return value


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit code {exitcode}"


def _be_child(
    line: Connection, orders: Orders, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    """Make the call and send ("answer", (value, error)); the watcher's death is ours."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent()
    with suppress(OSError):  # where memory runs out, the kernel shall take this process first
        Path("/proc/self/oom_score_adj").write_text("1000")
    be_watched(line, orders)
    try:
        answer = function(*arguments), None
    except Exception as error:
        error.add_note(traceback.format_exc())
        answer = None, error
    line.send(("answer", answer))
