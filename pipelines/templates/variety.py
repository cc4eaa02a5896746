"""How much the words of a corpus vary: templates, instructions, and nouns of both turns."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from pipelines.templates.forms import Forms, medium_in
from pipelines.templates.pair_files import PairFiles
from pipelines.templates.template_file import user_turns


class Agreement(NamedTuple):
    """Pairs whose turns both name a medium, and those of them that name the same one."""

    both: int
    same: int


def entropy(items: Iterable[str]) -> float:
    """Return the entropy of items, as of the ids of templates, in bits; 0.0 of none.

    `2 ** entropy` equally frequent items would be as varied (Shannon 1948).

    >>> entropy("aabb"), entropy("aaaa")
    (1.0, 0.0)
    """
    return entropy_of(Counter(items))


def entropy_of(counts: Mapping[str, int]) -> float:
    """Return the entropy of items that are counted, in bits.

    >>> entropy_of({"a": 2, "b": 2})
    1.0
    """
    total = sum(counts.values())
    # Sorted: a sum of floats depends on its order.
    return sum(n / total * math.log2(total / n) for n in sorted(counts.values()))


def most_entropy(files: PairFiles, samples: int) -> float:
    """Return the entropy of the user's forms that so many samples have at most, in bits.

    All forms of a file as often, or each sample another one. A form that no caption of the corpus
    fits counts too.
    """
    return math.log2(min(user_forms(files), samples)) if samples else 0.0


def user_forms(files: PairFiles) -> int:
    """Return how many forms of the user's turn a template file can draw."""
    return len(files.user) if isinstance(files, Forms) else user_turns(files)


def repeats(instructions: Iterable[str]) -> int:
    """Count the instructions that an earlier one is equal to, but for case and white space.

    >>> repeats(["Draw a fox.", "draw a  fox.", "Draw a hen."])
    1
    """
    plain = [plain_text(text) for text in instructions]
    return len(plain) - len({*plain})


def plain_text(text: str) -> str:
    """Return an instruction as repeats are compared: without case and amounts of white space."""
    return " ".join(text.lower().split())


def medium_agreement(pairs: Iterable[tuple[str, str]], media: Collection[str]) -> Agreement:
    """Count pairs of turns that name a medium each, and the same one.

    The first word of `media` in a turn counts, so a turn is best given without its caption.

    >>> pairs = [("Draw an image.", "Your photo:"), ("A photo, please.", "Your photo:")]
    >>> medium_agreement([*pairs, ("A photo, please.", "Done.")], ["image", "photo"])
    Agreement(both=2, same=1)

    Args:
        pairs: user's turn and answer.
        media: words in lower case.
    """
    named = [(medium_in(user, media), medium_in(answer, media)) for user, answer in pairs]
    both = [(user, answer) for user, answer in named if user and answer]
    return Agreement(both=len(both), same=sum(user == answer for user, answer in both))
