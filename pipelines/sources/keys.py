"""Check of the keys in a source's .json texts: each key of the recipe must occur."""

from collections.abc import Iterable

from pipelines.runtime.console import CONSOLE
from pipelines.sources.columns import (
    MAX_NAMES,
    FoundColumns,
    fields_in,
    keys_of,
    require_columns,
    without_captions,
)
from pipelines.sources.listing import json_columns, json_object
from pipelines.sources.names import suffix_of
from schemas.source_config import Columns
from schemas.store.storage import CorpusError

# Samples that are examined for the default text key, which a recipe need not name.
MOST_LOOKED = 200


class SeenKeys:
    """The keys in the texts of a source, which are examined until each mapped key was seen."""

    def __init__(self, source: str, columns: Columns, *, url: bool) -> None:
        """Expect the keys that a recipe names; `url`: whether the URL's key is among them."""
        self.source, self.columns = source, columns
        self._wanted = {
            field
            for field, path in columns.explicit().items()
            if path != "" and (url or field != "url")
        }
        self._names: dict[str, None] = {}
        self._fields: set[str] = set()
        self.looked = 0
        self._any_json = self._any_txt = False
        self.has_texts = not columns.expects_text  # True also if none are required

    @property
    def is_wanting(self) -> bool:
        """Whether another sample must be examined."""
        if self._wanted - self._fields:
            return True
        has_text = (
            not self.columns.expects_text or self._any_txt or self._fields & {"text", "title"}
        )
        return not has_text and self.looked < MOST_LOOKED

    def look(self, texts: Iterable[tuple[str, bytes]]) -> None:
        """Examine the texts of one sample: (file name, contents)."""
        self.looked += 1
        for name, body in texts:
            self.has_texts = True
            if suffix_of(name) == ".txt":
                self._any_txt = True  # a text, but without keys
                continue
            self._any_json = True
            try:
                row = json_object(body.decode("utf-8-sig"))
            except ValueError:  # reported with the row
                continue
            if len(self._names) < MAX_NAMES:
                self._names |= dict.fromkeys(keys_of(row, self.columns))
            self._fields |= fields_in(row, json_columns(row, self.columns))

    def require(self) -> None:
        """Check that every key of the recipe was seen.

        Raises:
            CorpusError: a key was not seen; lists the keys found.
        """
        missing = sorted(self._wanted - self._fields)
        if missing and not self._any_json:
            shown = ", ".join(f"{field}: {self.columns.column(field)}" for field in missing)
            raise CorpusError(
                f"source {self.source}: columns: {{{shown}}} are keys of .json files beside the "
                "images, and it has none; take them out of the recipe"
            )
        if self.looked and not self.has_texts:
            what = "no image has a .txt or .json of its name beside it, so it has no captions"
            CONSOLE.warning(without_captions(f"source {self.source}: {what}"))
        if self._names:
            by_txt = {"text"} if self._any_txt and "text" not in self._wanted else set()
            fields = self._fields | by_txt
            seen = FoundColumns(file=self.source, names=list(self._names), fields=fields)
            require_columns(self.source, self.columns, [seen], url=False)
