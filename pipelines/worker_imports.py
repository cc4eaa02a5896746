"""What every local worker process needs, imported once by the server they are forked from."""

import logging

# Before Beam is imported, which logs the optional packages that it misses. Errors reach the driver.
logging.basicConfig(level=logging.CRITICAL)

import pipelines.report  # noqa: E402
import pipelines.stages  # noqa: E402, F401
