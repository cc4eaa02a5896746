"""A server that one process of a machine starts, and all its processes use."""

import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from filters.captioner import EngineError
from pipelines.captions import server_keeper
from pipelines.captions.server_keeper import ABOUT, LOG, USERS

LAST_LINES: Final = 20  # of a log, in an error

_STARTING = "starting"


class SharedServer:
    """A server on this machine, used until `close` or the end of this process.

    Args:
        folder: of its locks, its log and its port; the same for all that share the server.
        command: returns the command that starts it on a port.
    """

    def __init__(self, folder: Path, command: Callable[[int], Sequence[str]]) -> None:
        with _locked(folder / _STARTING):
            self._lock = (folder / USERS).open("a")  # it is freed when this process ends
            fcntl.flock(self._lock, fcntl.LOCK_SH)  # waits for a server that is being ended
            about = _running(folder) or self._start(folder, command)
            # Opened now: another server may write one of the same name when this one has ended.
            self._log = (folder / LOG).open(errors="replace")
        self.port: int = about["port"]
        self._keeper = psutil.Process(about["pid"])

    def check_alive(self) -> None:
        """Check that the server has not ended.

        Raises:
            EngineError: it has; with the end of its log.
        """
        if not self.is_alive():
            self._log.seek(0)
            lines = "".join(deque(self._log, LAST_LINES))
            raise EngineError(
                f"caption: the server on port {self.port} has ended; its log, {self._log.name}, "
                f"ends with:\n{lines}"
            )

    def is_alive(self) -> bool:
        """Return whether the server, or rather its keeper, has not ended."""
        return _is_alive(self._keeper)

    def close(self) -> None:
        """Use the server no longer; the last user's end is its end."""
        self._lock.close()

    def _start(self, folder: Path, command: Callable[[int], Sequence[str]]) -> dict[str, Any]:
        (folder / LOG).unlink(missing_ok=True)
        port = free_port()
        with (folder / LOG).open("ab") as log:
            self._started = subprocess.Popen(  # kept, so that its end leaves no zombie
                [sys.executable, "-I", server_keeper.__file__, str(folder), *command(port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        keeper = psutil.Process(self._started.pid)
        about = {"port": port, "pid": keeper.pid, "created": keeper.create_time()}
        (folder / ABOUT).write_text(json.dumps(about))
        return about


def server_folder(*parts: str) -> Path:
    """Return the folder of a server that is told from others by its parts; only we may enter it.

    Raises:
        EngineError: the folder is somebody else's.
    """
    top = Path(tempfile.gettempdir()) / f"vargpt-corpus-servers-{os.getuid()}"
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
    top.mkdir(mode=0o700, exist_ok=True)
    about = top.lstat()
    if about.st_uid != os.getuid() or top.is_symlink() or about.st_mode & 0o077:
        raise EngineError(f"{top}: is not a folder of this user alone; remove it")
    folder = top / digest
    folder.mkdir(exist_ok=True)
    return folder


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def _running(folder: Path) -> dict[str, Any] | None:
    """Return port and process of the server that runs, None if there is none."""
    try:
        about = json.loads((folder / ABOUT).read_text())
        keeper = psutil.Process(about["pid"])
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    is_same = keeper.create_time() == about["created"]
    return about if is_same and _is_alive(keeper) else None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
