"""Check for lost rows: a plan that loses many rows stops the build, unless that is allowed.

A failed download may leave a list with few rows, and the build would replace a large corpus by a
small one.
"""

from collections.abc import Mapping

from pipelines.runtime.console import CONSOLE
from pipelines.runtime.counting import counted
from schemas.store.storage import CorpusError

LARGEST_LOSS = 10  # a tenth of all rows; more stops


def losses(before: Mapping[str, int], now: Mapping[str, int | None]) -> list[str]:
    """List the sources that lost rows, if that is over a tenth of all rows or a whole source.

    Args:
        before: rows by source, as last accepted.
        now: rows by source; None if unknown before reading.

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
    return [_loss_text(name, before[name], rows, name in now) for name, rows in fewer.items()]


def fewer_rows(before: Mapping[str, int], now: Mapping[str, int | None]) -> list[str]:
    """List the sources with fewer rows than before, one line each.

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
    """Refuse a plan that lost many rows; report a few lost rows.

    Raises:
        CorpusError: more than a tenth of all rows or a whole source was lost, and `allow` is False.
    """
    lost = losses(before, now)
    if lost and not allow:
        raise CorpusError(
            "the sources lost more than a tenth of all rows together, or one of them lost all of "
            f"its own: {'; '.join(lost)}. The corpus is unchanged. If a download "
            "failed, repair it; if this is intended, continue with --allow-shrink"
        )
    for line in fewer_rows(before, now):
        CONSOLE.info(line)


def _loss_text(name: str, before: int, now: int, in_recipe: bool) -> str:
    if not in_recipe:
        return f"{name} had {counted(before, 'row')} and is no longer in the recipe"
    return (
        f"{name} had {counted(before, 'row')} and has {now:,}"
        if now
        else f"{name} had {counted(before, 'row')} and has none"
    )
