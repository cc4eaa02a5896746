"""The galleries of the page: pictures of rows, grouped by outcome and reason."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pipelines.dedup.rows import NEAR_DUPLICATE, SAME_BYTES
from pipelines.report.page.examples import Example, Found, Thumbnail
from pipelines.report.page.formats import value
from pipelines.report.page.records import Choice, Group, Summary
from schemas.rule_config import Rule
from schemas.subsets import PREFERENCE, Subset

MOST_DROPPED = 96  # thumbnails of dropped rows, of all reasons together
REASONS = {
    "repeated_url": "the same address as its representative",
    "same_bytes": "the same file, byte by byte",
    "near_duplicate": "perceptual hashes within the recipe's distance",
    "semantic_duplicate": "embeddings within the recipe's eps",
    "contaminated": "has this prompt or image of the benchmark",
    "balance": "of common entries alone, and not drawn",
    "balance_unmatched": "has no entry of the list",
    "quota": "beyond the source's quota",
    "text_repeats": "too many rows have its text",
    "max_per_text": "beyond the most rows of a text",
    "max_per_image": "beyond the most rows of equal bytes",
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
    kept: Picture | None  # None if it lies in an earlier corpus
    kept_key: str
    kept_in: str  # name of the earlier corpus; '' for this corpus
    distance: int  # bits
    is_direct: bool  # as far as the distance shows; else a later step removed what it was found for


class Pair(NamedTuple):
    """A sample with all its images, each with what it is of the sample: source, chosen, ..."""

    example: Example
    images: tuple[Picture, ...]  # in the order in which the messages mark them


class Gallery(NamedTuple):
    """Pictures of rows with the same reason."""

    reason: str
    rows: int
    meaning: str
    pictures: tuple[Any, ...]


class Pictures:
    """A maker of pictures from the examples of a summary."""

    def __init__(
        self,
        summary: Summary,
        found: Found,
        draw: Callable[[Example], Thumbnail],
        phash_distance: int | None = None,
    ) -> None:
        self._summary = summary
        self._found = found
        self._draw = draw
        # The largest distance that each reason alone allows, bits.
        self._largest = {SAME_BYTES: 0, NEAR_DUPLICATE: phash_distance or 0}

    def of(self, group: Group, most: int | None = None, signal: str = "") -> tuple[Picture, ...]:
        """Return the pictures of a group, each with its value of `signal` if one is named."""
        choices = self._summary.examples.get(group, ())[:most]
        drawn = (self._picture(self._found.at(c.shard, c.key), signal) for c in choices)
        return tuple(picture for picture in drawn if picture)

    def pairs(self, subset: Subset) -> tuple[Pair, ...]:
        """Return samples of a subset."""
        choices = self._summary.examples.get(Group("pair", subset.name), ())
        found = (self._found.at(choice.shard, choice.key) for choice in choices)
        return tuple(self._pair(example, subset) for example in found if example)

    def _pair(self, example: Example, subset: Subset) -> Pair:
        scores = dict(zip(PREFERENCE.images, example.scores, strict=False))
        images: list[Picture] = []
        for member in subset.images:
            role = member.removesuffix("jpg").removesuffix(".")
            is_main = member == subset.main_image
            shown = example if is_main else example.of_image(role)
            note = role or ("edited" if subset.further else "")
            if subset.is_pairs and member in scores:
                note = f"{note}, score {value(scores[member])}"
            images.append(Picture(example, self._draw(shown), note))
        return Pair(example, tuple(images))

    def duplicate(self, choice: Choice, reason: str) -> Duplicate | None:
        """Return the pictures of a duplicate and its representative."""
        dropped = self._picture(self._found.at(choice.shard, choice.key))
        kept = None
        if not choice.kept_in:
            kept = self._picture(self._found.representative(choice.kept_key))
        is_direct = choice.distance <= self._largest.get(reason, 64)
        where = (choice.kept_key, choice.kept_in, choice.distance, is_direct)
        return dropped and Duplicate(dropped, kept, *where)

    def _picture(self, example: Example | None, signal: str = "") -> Picture | None:
        if example is None:
            return None
        has_value = signal in example.values
        note = f"{signal} = {value(example.values[signal])}" if has_value else example.matched
        return Picture(example, self._draw(example), note)


def dropped_galleries(
    counts: Mapping[str, int], rules: Iterable[Mapping[str, Rule]], pictures: Pictures
) -> list[Gallery]:
    """Return a gallery for each reason of rules and caps, in the order of `counts`.

    `rules` are those of each source.
    """
    by_reason = _rules_by_reason(rules)
    most = max(1, MOST_DROPPED // max(1, len(counts)))
    galleries: list[Gallery] = []
    for reason, rows in counts.items():
        meaning = REASONS.get(reason.partition(":")[0], "")
        signal, meaning = by_reason.get(reason, ("", meaning))
        shown = pictures.of(Group("dropped", reason), most, signal)
        galleries.append(Gallery(reason, rows, meaning, shown))
    return galleries


class Threshold(NamedTuple):
    """Pictures of the rows nearest to a bound on a score, on both sides of it."""

    reason: str
    meaning: str
    kept: tuple[Picture, ...]
    dropped: tuple[Picture, ...]


def threshold_galleries(
    summary: Summary, rules: Iterable[Mapping[str, Rule]], pictures: Pictures
) -> list[Threshold]:
    """Return the rows nearest to each bound on a score, in the order of the rules.

    `rules` are those of each source.
    """
    found: list[Threshold] = []
    for reason, (name, meaning) in _rules_by_reason(rules).items():
        kept, dropped = Group("just_kept", reason), Group("just_dropped", reason)
        if {kept, dropped} & summary.examples.keys():
            shown = [pictures.of(group, signal=name) for group in (kept, dropped)]
            found.append(Threshold(reason, meaning, *shown))
    return found


def duplicate_galleries(
    summary: Summary, counts: Mapping[str, int], pictures: Pictures
) -> list[Gallery]:
    """Return a gallery for each reason of dedup, each row with its representative."""
    galleries: list[Gallery] = []
    for reason, rows in counts.items():
        choices = summary.examples.get(Group("duplicate", reason), ())
        pairs = (pictures.duplicate(choice, reason) for choice in choices)
        duplicates = tuple(pair for pair in pairs if pair)
        meanings = filter(None, [REASONS.get(reason), *_in_earlier(summary, reason)])
        galleries.append(Gallery(reason, rows, "; ".join(meanings), duplicates))
    return galleries


def _in_earlier(summary: Summary, reason: str) -> Iterable[str]:
    """Yield how many rows have their representative in each earlier corpus."""
    for (why, corpus), rows in sorted(summary.in_earlier.items()):
        if why == reason:
            yield f"{rows:,} with a representative in {corpus}"


def _rules_by_reason(rules: Iterable[Mapping[str, Rule]]) -> dict[str, tuple[str, str]]:
    """Map each reason of `filters.rules.judge` to its column, and the sources' rules in words."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, rule in (item for of_source in rules for item in of_source.items()):
        for reason, meaning in _meanings(name, rule).items():
            _, meanings = found.setdefault(reason, ("" if rule.any_of else name, []))
            meanings += [] if meaning in meanings else [meaning]
    return {reason: (name, "; ".join(meanings)) for reason, (name, meanings) in found.items()}


def _meanings(name: str, rule: Rule) -> dict[str, str]:
    """Map each reason of a rule to what it asks for."""
    start = f"the recipe asks for {name} of at"
    asked = {
        name: rule.any_of and "the row passes no group of the rule",
        f"{name}_min": rule.min is not None and f"{start} least {value(rule.min)}",
        f"{name}_max": rule.max is not None and f"{start} most {value(rule.max)}",
        f"{name}_in": rule.in_ is not None and f"{name} is not in the recipe's list",
        f"{name}_not_in": rule.not_in is not None and f"{name} is in the recipe's list",
        f"{name}_matches": rule.matches is not None and f"{name} does not match {rule.matches}",
    }
    asked |= {name: f"the recipe forbids {name}"} if rule.forbid else {}
    return {reason: meaning for reason, meaning in asked.items() if meaning}
