"""What engines wrote, in the report: styles, lengths, refused captions, flags, tokens, money."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from operator import add
from typing import Any, NamedTuple

from filters.captions.instructions import INSTRUCTION, LEAD_IN
from filters.captions.languages import MIN_LETTERS, SURE, LanguageOf
from filters.cleaning import without_controls
from filters.words import count_words
from pipelines.captions.bill import money_of
from pipelines.report.page.joined import joined
from pipelines.runtime.sidecar import Used, add_used
from schemas.caption_config import CaptionConfig
from schemas.keys import rank

MOST_REFUSED = 3  # examples of each engine and reason
REFUSED_CHARS = 300
TOO_SHORT = f"under {MIN_LETTERS} letters"
UNSURE = f"under {SURE:.0%} sure"
WORD_BINS = (5, 10, 20, 40, 80, 160)  # most words of each bin of lengths but the last


class Flagged(NamedTuple):
    """Rows whose answer to a question is yes, and rows with an answer."""

    yes: int = 0
    answered: int = 0

    def plus(self, other: "Flagged") -> "Flagged":
        """Add up."""
        return Flagged(self.yes + other.yes, self.answered + other.answered)


class Refused(NamedTuple):
    """A text that a gate refused, chosen as an example."""

    rank: str
    text: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionCounts:
    """The captions of a part of a corpus; `CaptionCounts()` is that of no rows."""

    styles: Mapping[str, int] = field(default_factory=dict)  # of the chosen captions of samples
    lengths: Mapping[tuple[str, int], int] = field(default_factory=dict)  # style, number of bin
    # Of the chosen captions of samples: ISO 639 codes, UNSURE and TOO_SHORT; empty if not counted.
    languages: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, Used] = field(default_factory=dict)  # by engine
    # By engine and reason; of an instruction the reason begins with "instruction: ".
    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    examples: Mapping[tuple[str, str], tuple[Refused, ...]] = field(default_factory=dict)
    flags: Mapping[str, Flagged] = field(default_factory=dict)  # by question


def counts_of(
    rows: Iterable[Mapping[str, Any]],
    kept: Collection[str],
    used: Mapping[str, Used],
    language_of: LanguageOf | None,
) -> CaptionCounts:
    """Count the rows of a side-car of captions.

    Args:
        rows: of the side-car.
        kept: keys of samples.
        used: of its footer.
        language_of: detects languages; None if they are not counted.
    """
    styles: Counter[str] = Counter()
    lengths: Counter[tuple[str, int]] = Counter()
    languages: Counter[str] = Counter()
    examples: dict[tuple[str, str], list[Refused]] = {}
    flags: dict[str, Flagged] = {}
    for row in rows:
        if row["key"] in kept:
            styles[row["caption_style"]] += 1
            lengths[row["caption_style"], _bin(row["caption"])] += 1
            if language_of:
                languages[_language(*language_of(row["caption"]))] += 1
        for each in (*row["written"], *row["instructions"]):
            if each["engine"] and each["reason"]:
                found = examples.setdefault((each["engine"], _reason(each)), [])
                said = (without_controls(each[name]) for name in ("text", "detail"))
                text, detail = (words[:REFUSED_CHARS] for words in said)
                found.append(Refused(rank(row["key"], "report refused"), text, detail))
        for flag in row["flags"]:
            before = flags.get(flag["name"], Flagged())
            flags[flag["name"]] = before.plus(Flagged(int(flag["value"]), 1))
    return CaptionCounts(
        styles=styles,
        lengths=lengths,
        languages=languages,
        used=used,
        refused={place: len(found) for place, found in examples.items()},
        examples={place: _few(found) for place, found in examples.items()},
        flags=flags,
    )


def merged(a: CaptionCounts, b: CaptionCounts) -> CaptionCounts:
    """Return the counts of two parts that share no row; associative and commutative."""
    return CaptionCounts(
        styles=joined(a.styles, b.styles, add),
        lengths=joined(a.lengths, b.lengths, add),
        languages=joined(a.languages, b.languages, add),
        used=add_used(a.used, b.used),
        refused=joined(a.refused, b.refused, add),
        examples=joined(a.examples, b.examples, lambda these, those: _few([*these, *those])),
        flags=joined(a.flags, b.flags, Flagged.plus),
    )


class EngineLine(NamedTuple):
    """An engine in the report."""

    name: str
    used: Used
    money: float | None  # None where the recipe has no prices
    refused: tuple[tuple[str, int, tuple[Refused, ...]], ...]  # reason, texts, examples


def engine_lines(counts: CaptionCounts, config: CaptionConfig) -> list[EngineLine]:
    """Return a line an engine, in the order of the recipe."""
    lines: list[EngineLine] = []
    for engine in config.engines:
        used = counts.used.get(engine.name, Used())
        reasons = sorted(reason for name, reason in counts.refused if name == engine.name)
        lines.append(
            EngineLine(
                name=engine.name,
                used=used,
                money=money_of(used, engine),
                refused=tuple(
                    (
                        reason,
                        counts.refused[engine.name, reason],
                        counts.examples[engine.name, reason],
                    )
                    for reason in reasons
                ),
            )
        )
    return lines


def length_lines(counts: CaptionCounts) -> list[tuple[str, list[int]]]:
    """Return the captions of each style by bins of their length in words."""
    bins = range(len(WORD_BINS) + 1)
    return [
        (style, [counts.lengths.get((style, number), 0) for number in bins])
        for style in sorted(counts.styles)
    ]


def bin_names() -> list[str]:
    """Return the names of the bins of lengths.

    >>> bin_names()[0], bin_names()[1], bin_names()[-1]
    ('1 to 5', '6 to 10', 'over 160')
    """
    starts = (1, *(most + 1 for most in WORD_BINS))
    names = [f"{first} to {most}" for first, most in zip(starts, WORD_BINS, strict=False)]
    return [*names, f"over {WORD_BINS[-1]}"]


def _reason(written: Mapping[str, Any]) -> str:
    """Return why a text was refused, with the kind of text if it is no caption."""
    is_caption = written["style"] not in (INSTRUCTION, LEAD_IN)
    return written["reason"] if is_caption else f"{written['style']}: {written['reason']}"


def _bin(caption: str) -> int:
    words = count_words(caption)
    return sum(words > most for most in WORD_BINS)


def language_lines(counts: CaptionCounts) -> list[tuple[str, int]]:
    """Return languages and how many captions are in each, the most frequent first."""
    return sorted(counts.languages.items(), key=lambda line: (-line[1], line[0]))


def _language(code: str, probability: float) -> str:
    if not code:
        return TOO_SHORT
    return code if probability >= SURE else UNSURE


def _few(found: Iterable[Refused]) -> tuple[Refused, ...]:
    return tuple(sorted(found)[:MOST_REFUSED])
