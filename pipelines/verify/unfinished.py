"""What a build that did not finish left behind, in words."""

from collections.abc import Iterator
from functools import reduce
from operator import add

from pipelines.report.build_log import last_stage, unfinished
from pipelines.report.funnel import in_words
from pipelines.runtime.sidecar import Counts, read_origins
from pipelines.sources.plan import read_plan
from pipelines.stage_table import sidecar_stages
from schemas.store.storage import CorpusError, Storage

DAMAGED = (CorpusError, OSError, ValueError, TypeError, LookupError, RecursionError)


def unfinished_build(store: Storage) -> str:
    """Describe an unfinished build by the log, and what to do.

    '' if the build finished or no log can be read: a damaged file is a fault of its own.
    """
    try:
        message = unfinished(store)
    except DAMAGED:
        return ""
    if not message:
        return ""
    if lost := _nothing_left(store):
        return f"{lost}; change the recipe or its sources, then build again"
    return f"{message}; run build again to finish it, then verify"


def _nothing_left(store: Storage) -> str:
    """Say where the rows went if the last stage of the last build kept none; else ''."""
    try:
        funnel = list(_funnel(store, last_stage(store)))
    except DAMAGED:
        return ""
    return "" if funnel[-1][1].kept else in_words(funnel)


def _funnel(store: Storage, last: str) -> Iterator[tuple[str, Counts]]:
    """Yield the counts of the stages up to `last`.

    Raises:
        CorpusError, OSError: a side-car is missing or damaged.
        ValueError: `last` has no side-cars.
    """
    stages = sidecar_stages()
    names = [stage.name for stage in stages.values()]
    shards = range(len(read_plan(store)))
    for folder, name in zip(stages, names[: names.index(last) + 1], strict=False):
        origins = read_origins(store, folder, shards)
        yield name, reduce(add, (origin.counts for origin in origins), Counts())
