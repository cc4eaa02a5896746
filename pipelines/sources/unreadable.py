"""Sources that cannot be read: all of a recipe are named at once, before any work."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from schemas.source_config import Source
from schemas.store.errors import CorpusError, UserError

T = TypeVar("T")


class UnreadableSourcesError(CorpusError):
    """Some sources cannot be read; a line for each, with its name, kind and path.

    Args:
        why: by name of the source.
    """

    def __init__(self, why: Mapping[str, str]) -> None:
        super().__init__("\n".join(why.values()))
        self.why = why


def of_each(sources: Iterable[Source], look: Callable[[Source], T]) -> dict[str, T]:
    """Call a function on every source, also after one that cannot be read; results by name.

    Raises:
        UnreadableSourcesError: the function raised an error that the user can fix.
        OSError: for another reason, such as a full disk.
    """
    found: dict[str, T] = {}
    why: dict[str, str] = {}
    for source in sources:
        try:
            found[source.name] = look(source)
        except (UserError, FileNotFoundError, PermissionError) as error:
            why[source.name] = _told(source, error)
    if why:
        raise UnreadableSourcesError(why)
    return found


def _told(source: Source, error: Exception) -> str:
    """Say which source cannot be read, and why; errors that do not name its path get it."""
    why = str(error) if source.path in str(error) else f"{source.path}: {error}"
    return f"source {source.name} ({source.kind}): {why}"
