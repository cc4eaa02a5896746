"""File systems of object stores: what may pass is tried again, what will not is said.

gcsfs and s3fs try a request again by themselves, 5 or 6 times in up to half a minute: after 429
and 5xx, connections that were reset, bodies that were cut short. What they give up is tried again
here after longer pauses, so that a store may be away for a minute or two.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import fsspec
from fsspec.config import conf
from fsspec.implementations.local import LocalFileSystem
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_chain,
    wait_fixed,
)

from schemas.store.errors import CorpusError, StoreError
from schemas.store.store_errors import StoreFault, store_fault

PAUSES_S = (5.0, 15.0, 45.0)
# gcsfs alone would wait for ever for an answer; s3fs waits 15 s for each of its bytes. A request
# moves 50 MB at most.
GCS_REQUEST_S = 300.0

_PUTS = ("pipe_file", "put_file")
_CALLS = (
    *_PUTS,
    "cat_file",
    "cat_ranges",
    "exists",
    "find",
    "get_file",
    "glob",
    "info",
    "isdir",
    "ls",
    "rm_file",
    "size",
)

# gcsfs logs tracebacks of what it raises, and a logger without a handler prints them.
logging.getLogger("gcsfs").addHandler(logging.NullHandler())


def open_fs(url: str) -> tuple[Any, str]:
    """Return the file system of a URL or a local path, and the full path on it.

    Raises:
        CorpusError: if its client is not installed, or stumbles over its settings.
    """
    options: dict[str, Any] = {}
    if url.startswith(("gs://", "gcs://")):
        options = {"requests_timeout": GCS_REQUEST_S, **conf.get("gcs", {}), **conf.get("gs", {})}
    try:
        fs, path = fsspec.core.url_to_fs(url, **options)
    except Exception as error:  # of a client that reads what the user has set; a KeyError is one
        raise CorpusError(f"{url}: cannot be opened: {type(error).__name__}: {error}") from error
    return (fs if isinstance(fs, LocalFileSystem) else _patient(fs)), path


class _FaultError(Exception):
    """One try of a call failed at the store; the client's own error is its cause."""

    def __init__(self, fault: StoreFault) -> None:
        super().__init__(fault.said)
        self.fault = fault


class PatientFileSystem:
    """An fsspec file system whose calls are tried again, and whose faults name the URL.

    Its calls raise StoreError for what does not pass: no access, no credentials, no bucket, or a
    store that is away for longer than the client's own tries and the pauses between ours.

    Args:
        fs: the file system.
        pauses_s: between the tries of a call.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        fs: Any,
        *,
        pauses_s: Sequence[float] = PAUSES_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.fs = fs
        self._pauses_s, self._sleep = pauses_s, sleep

    def __getattr__(self, name: str) -> Any:
        return partial(self._call, name) if name in _CALLS else getattr(self.fs, name)

    @contextmanager
    def open(self, path: str, mode: str = "rb") -> Iterator[Any]:
        """Open a file to read; what the client gives up while it is read is not tried again."""
        with self._call("open", path, mode) as file:
            try:
                yield file
            except Exception as error:
                if fault := store_fault(error):
                    raise self._final(path, fault) from error
                raise

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        path = arguments[1] if name == "put_file" else arguments[0]
        tries = Retrying(
            retry=retry_if_exception(_may_pass),
            wait=wait_chain(*map(wait_fixed, (*self._pauses_s, 0))),  # 0 after the last try
            stop=stop_after_attempt(len(self._pauses_s) + 1),
            before_sleep=partial(self._tell, path),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return tries(self._try, name, path, arguments, options)
        except _FaultError as error:
            raise self._final(path, error.fault) from error.__cause__

    def _try(self, name: str, path: Any, arguments: Any, options: Any) -> Any:
        try:
            return getattr(self.fs, name)(*arguments, **options)
        except Exception as error:  # the clients' errors have no class in common
            fault = self._no_bucket(path, error) if name in _PUTS else None
            if fault := fault or store_fault(error):
                raise _FaultError(fault) from error
            raise

    def _tell(self, path: str | list[str], state: RetryCallState) -> None:
        """Print why a call failed, and when it is tried again."""
        error: Any = state.outcome and state.outcome.exception()
        number, pause_s = state.attempt_number, state.upcoming_sleep
        told = f"try {number} of {len(self._pauses_s) + 1}, again in {pause_s:.0f} s"
        print(f"{self._url(path)}: {error.fault.said}; {told}", file=sys.stderr)

    def _no_bucket(self, path: str, error: Exception) -> StoreFault | None:
        """Explain why a write finds nothing: there is no bucket, or a long upload was forgotten.

        The latter is what a store says that had done the last part, if its answer was lost.
        """
        if not isinstance(error, FileNotFoundError) or error.errno is not None:
            return None
        bucket = path.split("/")[0]
        if self.exists(bucket):
            return StoreFault(True, "the store lost an upload")
        return StoreFault(False, f"there is no bucket {bucket!r}, or it may not be seen")

    def _final(self, path: str | list[str], fault: StoreFault) -> StoreError:
        return StoreError(f"{self._url(path)}: {fault.said}; what was committed is kept")

    def _url(self, path: str | list[str]) -> str:
        return self.fs.unstrip_protocol(path if isinstance(path, str) else path[0])


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, _FaultError) and error.fault.is_temporary


@cache
def _patient(fs: Any) -> PatientFileSystem:
    """Wrap each file system once, so that what lies on the same one can be told."""
    return PatientFileSystem(fs)
