"""Find the prompts of a benchmark in texts, so that nothing is trained on that is evaluated with.

A text is contaminated if it contains 8 words of a prompt in a row, or all words of a prompt that
has fewer. Case, punctuation and the words of TEMPLATE_WORDS count on neither side. So a text that
equals a prompt is found, and so is one that adds words before or after it.

A prompt with fewer than MIN_WORDS words left cannot be told from any caption of its subject: "a
photo of a dog" has one. Such prompts never match; `PromptIndex.too_short` counts them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from filters.text import normalised_text
from filters.words import split_words

MIN_WORDS: Final = 3  # of a prompt that can match
# Words of templates ("a photo of", "there is") and words without a meaning of their own. Words that
# tell two prompts of a benchmark apart stay: numbers, colours, "not", and places such as "under".
TEMPLATE_WORDS: Final = frozenset(
    re.split(
        r"\s+",
        "a an the this that these those there it its and or of in on at to by for from with as "
        "is are was were be being has have "
        "photo photos photograph photographs picture pictures image images",
    )
)
_NO_LETTER = re.compile(r"[\W_]+")


def content_words(text: str) -> list[str]:
    """Return the words of a text that are compared, in order.

    >>> content_words("A photo of the red fox, on a T-shirt.")
    ['red', 'fox', 't', 'shirt']
    """
    words = (_NO_LETTER.sub("", word) for word in split_words(normalised_text(text)))
    return [word for word in words if word and word not in TEMPLATE_WORDS]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptIndex:
    """The runs of words that contaminate a text."""

    runs: Mapping[int, Mapping[str, str]]  # by number of words: the words -> a prompt with them
    prompts: int  # given, each once
    too_short: int  # of them, those that never match

    @classmethod
    def of(cls, prompts: Iterable[str], *, words: int = 8) -> "PromptIndex":
        """Index prompts; a run of `words` words of one contaminates a text.

        About 100 bytes a word of the prompts, of Python's memory.
        """
        runs: dict[int, dict[str, str]] = {}
        distinct = dict.fromkeys(prompts)
        too_short = 0
        for prompt in distinct:
            found = content_words(prompt)
            if len(found) < MIN_WORDS:
                too_short += 1
                continue
            length = min(words, len(found))
            for run in _runs(found, length):
                runs.setdefault(length, {}).setdefault(run, prompt)
        return cls(runs=dict(sorted(runs.items())), prompts=len(distinct), too_short=too_short)

    def find(self, text: str) -> str | None:
        """Return a prompt that contaminates a text; None if there is none."""
        return self.find_words(content_words(text))

    def find_words(self, words: list[str]) -> str | None:
        """Return a prompt that contaminates a text with these `content_words`, or None."""
        for length, prompts in self.runs.items():
            for run in _runs(words, length):
                if run in prompts:
                    return prompts[run]
        return None


def _runs(words: list[str], length: int) -> Iterator[str]:
    return (" ".join(words[n : n + length]) for n in range(len(words) - length + 1))
