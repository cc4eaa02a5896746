"""What every local worker process needs, imported once by the server they are forked from.

Beam is not among it: it stays in the process that started the build.
"""

import logging

# Errors reach the driver.
logging.basicConfig(level=logging.CRITICAL)

import imagehash  # noqa: E402, F401
import scipy.fftpack  # noqa: E402, F401
