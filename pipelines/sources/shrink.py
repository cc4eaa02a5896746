"""Rows that sources had and have no more: a plan that loses many stops, until told to go on.

A download that failed leaves a list of a few rows, and what a build makes of it takes the place of
what it made of all.
"""

from collections.abc import Mapping

from pipelines.runtime.console import CONSOLE
from pipelines.runtime.counting import counted
from schemas.store.storage import CorpusError

LARGEST_LOSS = 10  # a tenth of all rows; more stops


def losses(before: Mapping[str, int], now: Mapping[str, int | None]) -> list[str]:
    """Say which sources lost rows, if that is more than a tenth of all or a whole source.

    Args:
        before: rows by source, as they were accepted last.
        now: rows by source; None where only reading it tells.

    >>> losses({"web": 100}, {"web": 90})
    []
    >>> losses({"web": 100}, {"web": 89})
    ['web had 100 rows and has 89']
    """
    fewer = {
        name: rows
        for name, had in before.items()
        if (rows := now.get(name, 0)) is not None and rows < had
    }
    lost = sum(before[name] - rows for name, rows in fewer.items())
    if lost * LARGEST_LOSS <= sum(before.values()) and all(fewer.values()):
        return []
    return [_said(name, before[name], rows, name in now) for name, rows in fewer.items()]


def fewer_rows(before: Mapping[str, int], now: Mapping[str, int | None]) -> list[str]:
    """Say which sources have fewer rows than before, a line each.

    >>> fewer_rows({"web": 25, "old": 1}, {"web": 19})
    ['web: 6 rows fewer than before (25 -> 19)', 'old: 1 row fewer than before (1 -> 0)']
    """
    return [
        f"{name}: {counted(had - rows, 'row')} fewer than before ({had:,} -> {rows:,})"
        for name, had in before.items()
        if (rows := now.get(name, 0)) is not None and rows < had
    ]


def check_shrink(
    before: Mapping[str, int], now: Mapping[str, int | None], *, allow: bool = False
) -> None:
    """Stop where many rows were lost; say where a few were.

    Raises:
        CorpusError: if more than a tenth of all rows is gone, or a whole source, and that was not
            allowed.
    """
    said = losses(before, now)
    if said and not allow:
        raise CorpusError(
            "the sources lost more than a tenth of all rows together, or one of them lost all of "
            f"its own: {'; '.join(said)}. The corpus is as it was. If a download "
            "failed, mend it; if this is meant, go on with --allow-shrink"
        )
    for line in fewer_rows(before, now):
        CONSOLE.info(line)


def _said(name: str, before: int, now: int, in_recipe: bool) -> str:
    if not in_recipe:
        return f"{name} had {counted(before, 'row')} and is no longer in the recipe"
    return (
        f"{name} had {counted(before, 'row')} and has {now:,}"
        if now
        else f"{name} had {counted(before, 'row')} and has none"
    )
