"""What every local worker process needs, imported once by the server they are forked from.

Beam is not among it: it stays in the process that started the build.
"""

import logging

# Errors reach the driver.
logging.basicConfig(level=logging.CRITICAL)

import imagehash  # noqa: E402, F401
import scipy.fftpack  # noqa: E402, F401

import pipelines.fetch.fetcher  # noqa: E402
import pipelines.report.job  # noqa: E402
import pipelines.sources.folders.reader  # noqa: E402
import pipelines.sources.hub.reader  # noqa: E402
import pipelines.sources.lists.reader  # noqa: E402
import pipelines.sources.tars.reader  # noqa: E402
import pipelines.stage_table  # noqa: E402, F401
