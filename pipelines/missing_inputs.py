"""What build --dry-run says where files or sources of a recipe are not there: all that is missing.

A build refuses at the first step, so what its stages would do is not known.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.runtime.counting import counted
from pipelines.sources.readers import make_reader
from pipelines.sources.unreadable import UnreadableSourcesError, of_each
from schemas.recipe import Recipe
from schemas.source_config import Source
from schemas.store.storage import Storage


def print_missing(recipe: Recipe, files: Sequence[str], known: Mapping[str, str]) -> None:
    """Print every missing file, every source that cannot be read, and the rows of the others.

    Args:
        recipe: of the build.
        files: a line for each file that is missing or cannot be used.
        known: a line for each source that is already known to be unreadable, by name.
    """
    why = dict(known)
    rows: dict[str, int | None] = {}
    left = [source for source in recipe.sources if source.name not in why]
    with tempfile.TemporaryDirectory() as folder:
        for source in left:
            try:
                rows |= of_each([source], lambda source: _rows(recipe, source, Path(folder)))
            except UnreadableSourcesError as error:
                why |= error.why
    for line in files:
        print(f"missing: {line}")
    for source in recipe.sources:
        if source.name in why:
            print(f"missing: {why[source.name]}")
        else:
            print(f"source {source.name}: {rows_text(rows[source.name])}")
    parts = [counted(len(files), "file")] if files else []
    parts += [f"{len(why)} of {counted(len(recipe.sources), 'source')}"] if why else []
    print(f"missing are {' and '.join(parts)}; a build refuses until they are there")


def rows_text(rows: int | None) -> str:
    """Say how many rows a source has; None if that is not known before reading."""
    return "rows are counted when it is read" if rows is None else counted(rows, "row")


def _rows(recipe: Recipe, source: Source, aside: Path) -> int | None:
    """Count the rows of a source as a plan does."""
    reader = make_reader(source, recipe.crawl)
    reader.version()  # finds what is missing before anything is counted
    units = reader.plan(recipe.rows_per_shard, Storage(str(aside))).units
    rows = [unit.rows for unit in units]
    return None if None in rows else sum(filter(None, rows))
