"""Imported first by the server that workers are forked from: Ctrl-C is for the build to act upon.

The server ends when the build does. Without this, one that is still importing prints a traceback.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
