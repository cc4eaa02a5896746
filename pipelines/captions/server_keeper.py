"""Keeps a server for the processes of one machine, and ends it when the last of them is gone.

Run as a program by its path, so it imports the standard library only:

    python -I server_keeper.py FOLDER PROGRAM ARGUMENTS...

Every user of the server holds a shared lock on FOLDER/users, which the kernel frees when the user
ends, killed or not. The keeper tries to get the same lock exclusively: once it has it, no user is
left. It holds the lock until the server has ended; a user that comes meanwhile waits for the lock,
and then starts another server.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

USERS = "users"
ABOUT = "server.json"  # which server runs
LOG = "log"
LOOK_S = 0.2  # between two looks for users
END_S = 20.0  # for a server to end by itself

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def keep(folder: Path, command: list[str]) -> int:
    """Run a server until it ends or nobody uses it; return its exit status."""
    with (folder / LOG).open("ab") as log:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    with (folder / USERS).open("a") as users:
        while server.poll() is None:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                end(server)
                break
            time.sleep(LOOK_S)
        # Processes that it started, as vLLM's engine, may outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        (folder / ABOUT).unlink(missing_ok=True)  # before the lock is freed
    return server.returncode


def end(server: subprocess.Popen[bytes]) -> None:
    """End a server, by force if it does not end by itself."""
    server.terminate()
    try:
        server.wait(END_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def end_with_parent() -> None:
    """Have the kernel end this process when its parent, the keeper, is killed; on Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1]), sys.argv[2:]))
