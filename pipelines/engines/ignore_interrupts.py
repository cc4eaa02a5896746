"""Ignores Ctrl-C in the server that workers are forked from; imported there first.

The server ends with the build. Without this, a server that is still importing prints a traceback.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
