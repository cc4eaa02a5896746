"""The galleries of the page: pictures of rows, grouped by outcome and reason."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pipelines.report.page.examples import Example, Found, Thumbnail
from pipelines.report.page.formats import value
from pipelines.report.page.records import Choice, Group, Summary
from schemas.rule_config import Rule

MOST_DROPPED = 96  # thumbnails of dropped rows, of all reasons together
REASONS = {
    "repeated_url": "the same address, listed twice",
    "same_bytes": "the same file, byte by byte",
    "near_duplicate": "perceptual hashes within the recipe's distance",
    "contaminated": "has this prompt or image of the benchmark",
    "balance": "of common entries alone, and not drawn",
    "balance_unmatched": "has no entry of the list",
    "quota": "beyond the source's quota",
    "text_repeats": "too many rows have its text",
    "max_per_text": "beyond the most rows of a text",
    "max_per_host": "beyond the most rows of a host",
    "max_per_author": "beyond the most rows of an author",
}


class Picture(NamedTuple):
    """A row, its thumbnail and a note."""

    example: Example
    thumbnail: Thumbnail
    note: str = ""


class Duplicate(NamedTuple):
    """A duplicate beside its representative."""

    dropped: Picture
    kept: Picture | None
    distance: int  # bits


class Gallery(NamedTuple):
    """Pictures of rows with the same reason."""

    reason: str
    rows: int
    meaning: str
    pictures: tuple[Any, ...]


class Pictures:
    """A maker of pictures from the examples of a summary."""

    def __init__(
        self, summary: Summary, found: Found, draw: Callable[[Example], Thumbnail]
    ) -> None:
        self._summary = summary
        self._found = found
        self._draw = draw

    def of(self, group: Group, most: int | None = None, signal: str = "") -> tuple[Picture, ...]:
        """Return the pictures of a group, each with its value of `signal` if one is named."""
        choices = self._summary.examples.get(group, ())[:most]
        drawn = (self._picture(self._found.at(c.shard, c.key), signal) for c in choices)
        return tuple(picture for picture in drawn if picture)

    def duplicate(self, choice: Choice) -> Duplicate | None:
        """Return the pictures of a duplicate and its representative."""
        dropped = self._picture(self._found.at(choice.shard, choice.key))
        kept = self._picture(self._found.representative(choice.kept_key))
        return dropped and Duplicate(dropped, kept, choice.distance)

    def _picture(self, example: Example | None, signal: str = "") -> Picture | None:
        if example is None:
            return None
        has_value = signal in example.values
        note = f"{signal} = {value(example.values[signal])}" if has_value else example.matched
        return Picture(example, self._draw(example), note)


def dropped_galleries(
    counts: Mapping[str, int], rules: Mapping[str, Rule], pictures: Pictures
) -> list[Gallery]:
    """Return a gallery for each reason of rules and caps, in the order of `counts`."""
    by_reason = _rules_by_reason(rules)
    most = max(1, MOST_DROPPED // max(1, len(counts)))
    galleries: list[Gallery] = []
    for reason, rows in counts.items():
        meaning = REASONS.get(reason.partition(":")[0], "")
        signal, meaning = by_reason.get(reason, ("", meaning))
        shown = pictures.of(Group("dropped", reason), most, signal)
        galleries.append(Gallery(reason, rows, meaning, shown))
    return galleries


def duplicate_galleries(
    summary: Summary, counts: Mapping[str, int], pictures: Pictures
) -> list[Gallery]:
    """Return a gallery for each reason of dedup, each row with its representative."""
    galleries: list[Gallery] = []
    for reason, rows in counts.items():
        choices = summary.examples.get(Group("duplicate", reason), ())
        duplicates = tuple(shown for choice in choices if (shown := pictures.duplicate(choice)))
        galleries.append(Gallery(reason, rows, REASONS.get(reason, ""), duplicates))
    return galleries


def _rules_by_reason(rules: Mapping[str, Rule]) -> dict[str, tuple[str, str]]:
    """Map each reason of `filters.rules.judge` to its signal and the rule in words."""
    found: dict[str, tuple[str, str]] = {}
    for name, rule in rules.items():
        start = f"the recipe asks for {name} of at"
        if rule.any_of:
            found[name] = "", "the row passes no group of the rule"
        if rule.forbid:
            found[name] = name, f"the recipe forbids {name}"
        if rule.min is not None:
            found[f"{name}_min"] = name, f"{start} least {value(rule.min)}"
        if rule.max is not None:
            found[f"{name}_max"] = name, f"{start} most {value(rule.max)}"
        if rule.in_ is not None:
            found[f"{name}_in"] = name, f"{name} is not in the recipe's list"
        if rule.not_in is not None:
            found[f"{name}_not_in"] = name, f"{name} is in the recipe's list"
        if rule.matches is not None:
            found[f"{name}_matches"] = name, f"{name} does not match {rule.matches}"
    return found
