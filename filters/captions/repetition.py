"""How much of a text repeats itself, as a model does that is caught in a loop."""

from collections.abc import Hashable, Sequence

from filters.text import normalised_text
from filters.words import split_words

WORDS = 4  # of a sequence
CHARACTERS = 24  # of a sequence of characters, for loops without words and inside one


def repetition(text: str) -> float:
    """Return the share of sequences that stood before in a text, 0 to 1; the most of three counts.

    Counted are sequences of 4 words; of 4 words without numbers, for loops that count ("chair 1,
    chair 2"); and of 24 characters. A Chinese character is a word. The three take linear time.

    >>> repetition("A red fox stands in the snow and looks at a hen.")
    0.0
    >>> round(repetition("a dog and " * 10), 2)
    0.89
    """
    plain = normalised_text(text)
    words = split_words(plain)
    names = [word for word in words if not word.isnumeric()]
    runs = [plain[n : n + CHARACTERS] for n in range(len(plain) - CHARACTERS + 1)]
    return max(_repeated(_of_words(words)), _repeated(_of_words(names)), _repeated(runs))


def _of_words(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[n : n + WORDS]) for n in range(len(words) - WORDS + 1)]


def _repeated(sequences: Sequence[Hashable]) -> float:
    """Return the share of sequences that are not their first occurrence."""
    return 1 - len({*sequences}) / len(sequences) if sequences else 0.0
