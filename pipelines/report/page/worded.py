"""How varied the words of pairs are, by subset: forms, repeats, and turns that agree.

The counts of parts add up. Whole instructions are as many as samples, so the different ones are
sampled: those with the smallest hashes are counted, of the whole corpus exactly as of its parts.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import nsmallest
from operator import add
from typing import Any, NamedTuple

from filters.captions.named_words import GENERAL_MEDIA, MEDIA
from filters.content_words import content_words
from filters.phrase import without_stop
from pipelines.report.page.joined import joined
from pipelines.templates.forms import Forms
from pipelines.templates.pair_files import PairFiles, field_of, load_pair_file
from pipelines.templates.variety import (
    Agreement,
    entropy_of,
    medium_agreement,
    most_entropy,
    plain_text,
    user_forms,
)
from pipelines.templates.written import MODEL
from schemas.markers import IMAGE, IMAGE_GEN
from schemas.recipe import PairConfig
from schemas.subsets import SUBSETS

MOST_TEXTS = 4096  # different instructions that are counted
MOST_FORMS = 10  # forms that are shown
FORM_CHARS = 200
NOUNS = MEDIA | GENERAL_MEDIA
_NOUN_WORDS = frozenset(content_words(" ".join(sorted(NOUNS))))


@dataclass(frozen=True, slots=True, kw_only=True)
class WordCounts:
    """The words of the samples of one subset in a part of a corpus; `WordCounts()` is of none."""

    samples: int = 0
    forms: Mapping[str, int] = field(default_factory=dict)  # user's forms, by id: t2i-v2/u3
    models: Mapping[str, int] = field(default_factory=dict)  # engine and prompt of user's turns
    # Of the instructions with the smallest hashes, how many samples have each.
    texts: Mapping[str, int] = field(default_factory=dict)
    # Samples whose first question and first answer share a word: one of the caption where there is
    # a caption, of listed conversations any.
    shared: int = 0
    # Nouns of images in both turns, captions left out.
    media: Agreement = field(default_factory=lambda: Agreement(both=0, same=0))

    def plus(self, other: "WordCounts") -> "WordCounts":
        """Return the counts of two parts that share no sample; associative and commutative."""
        return WordCounts(
            samples=self.samples + other.samples,
            forms=joined(self.forms, other.forms, add),
            models=joined(self.models, other.models, add),
            texts=_few(joined(self.texts, other.texts, add)),
            shared=self.shared + other.shared,
            media=Agreement(*map(add, self.media, other.media)),
        )

    @property
    def listed(self) -> int:
        """Samples whose instruction is as it was listed: conversations, and edits with a mark."""
        return self.samples - sum(self.forms.values()) - sum(self.models.values())

    @property
    def repeated(self) -> float:
        """The share of samples whose instruction another sample had before, 0 to 1.

        Exact up to `MOST_TEXTS` different instructions. Of more it is estimated from a sample of
        these, drawn by hash (bottom-k sketch: Cohen and Kaplan, PODC 2007).
        """
        counted = sum(self.texts.values())
        return 1 - len(self.texts) / counted if counted else 0.0

    @property
    def is_estimated(self) -> bool:
        """Whether there may be more instructions than are counted."""
        return len(self.texts) == MOST_TEXTS


def word_counts(pairs: Iterable[Mapping[str, Any]], captions: Mapping[str, str]) -> WordCounts:
    """Count the words of some samples.

    Args:
        pairs: rows of `pairs/`.
        captions: caption, edit or prompt by key; of these samples alone.
    """
    forms: Counter[str] = Counter()
    models: Counter[str] = Counter()
    texts: Counter[str] = Counter()
    turns: list[tuple[str, str]] = []
    samples = shared = 0
    for pair in pairs:
        if pair["key"] not in captions:
            continue
        samples += 1
        user, answer = _first_turns(pair["messages"])
        texts[blake2b(plain_text(user).encode(), digest_size=8).hexdigest()] += 1
        caption = captions[pair["key"]]
        both = _telling(user) & _telling(answer)
        shared += bool(both & _telling(caption) if caption else both)
        turns.append((_without(caption, user), _without(caption, answer)))
        name, *parts = pair["template"].split("/")
        if len(parts) == 2 and parts[0].startswith(MODEL):
            models[parts[0].removeprefix(MODEL)] += 1
        elif len(parts) == 2:
            forms[f"{name}/{parts[0]}"] += 1
    return WordCounts(
        samples=samples,
        forms=forms,
        models=models,
        texts=_few(texts),
        shared=shared,
        media=medium_agreement(turns, NOUNS),
    )


class WordLine(NamedTuple):
    """The words of a subset in the report."""

    subset: str
    counts: WordCounts
    forms: int  # that its file can draw
    entropy: float | None  # of the forms, bits; None where no form was drawn
    most_entropy: float  # that they can have, bits
    frequent: tuple[tuple[str, str, int], ...]  # id of a form, its words if it is whole, samples


def word_lines(counts: Mapping[str, WordCounts], config: PairConfig) -> list[WordLine]:
    """Return a line for each subset, in the order of SUBSETS.

    Raises:
        CorpusError: a template file of the recipe is missing.
    """
    lines: list[WordLine] = []
    for name in SUBSETS:
        if not (found := counts.get(name, WordCounts())).samples:
            continue
        files = load_pair_file(config, field_of(SUBSETS[name]))
        order = sorted(found.forms.items(), key=lambda form: (-form[1], form[0]))
        lines.append(
            WordLine(
                subset=name,
                counts=found,
                forms=user_forms(files),
                entropy=entropy_of(found.forms) if found.forms else None,
                most_entropy=most_entropy(files, sum(found.forms.values())),
                frequent=tuple(
                    (form, _words_of(files, form), rows) for form, rows in order[:MOST_FORMS]
                ),
            )
        )
    return lines


def _words_of(files: PairFiles, form: str) -> str:
    """Return the words of a form of a list; '' of a grammar, whose id names its parts."""
    number = form.rpartition("/u")[2]
    is_whole = isinstance(files, Forms) and number.isdecimal() and int(number) < len(files.user)
    return files.user[int(number)][:FORM_CHARS] if is_whole else ""


def _first_turns(messages: Iterable[Mapping[str, str]]) -> tuple[str, str]:
    """Return the first question and the first answer without marks of images."""
    found = {
        message["role"]: message["content"].replace(IMAGE, "").replace(IMAGE_GEN, "").strip()
        for message in reversed([*messages])
    }
    return found.get("user", ""), found.get("assistant", "")


def _telling(text: str) -> set[str]:
    return {*content_words(text)} - _NOUN_WORDS


def _without(caption: str, turn: str) -> str:
    """Return a turn in lower case without its caption, which a form may have fitted.

    Texts are strangers': a search that ignores case by itself takes the cube of a repeated word.
    """
    words = without_stop(caption).lower()
    return turn.lower().replace(words, " ") if words else turn.lower()


def _few(texts: Mapping[str, int]) -> Mapping[str, int]:
    return {text: texts[text] for text in nsmallest(MOST_TEXTS, texts)}
