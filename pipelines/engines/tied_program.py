"""A program that ends with the process that started it, even where that one is killed.

A driver that is killed cannot stop its job server, which would wait for jobs for ever. Here the
server's process leaves a child behind that watches both, and becomes the server.
"""

import os
import select
import signal
import sys
from contextlib import suppress


def tied(command: list[str]) -> list[str]:
    """Return the command line that runs a program tied to this process.

    Its process, output and exit code are the program's own. Off Linux that is the command as it is.
    """
    if not hasattr(os, "pidfd_open"):
        return command
    return [sys.executable, "-m", __name__, str(os.getpid()), *command]


def _end_with(starter: int, program: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at a terminal: for the two to make of it
    with suppress(ProcessLookupError):  # has ended already
        it = os.pidfd_open(program)
        with suppress(ProcessLookupError):
            select.select([it, os.pidfd_open(starter)], [], [])
        signal.pidfd_send_signal(it, signal.SIGKILL)


def _main(starter: int, command: list[str]) -> None:
    program = os.getpid()
    if os.fork():
        os.execvp(command[0], command)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # who reads the program's output waits for its end
        os.dup2(nowhere, stream)
    _end_with(starter, program)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
