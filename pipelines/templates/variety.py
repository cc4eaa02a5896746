"""How much the words of a corpus vary: templates, instructions, and nouns of both turns."""

import math
from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

from pipelines.templates.forms import medium_in


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
    counts = Counter(items)
    total = sum(counts.values())
    # Sorted: a sum of floats depends on its order.
    return sum(n / total * math.log2(total / n) for n in sorted(counts.values()))


def repeats(instructions: Iterable[str]) -> int:
    """Count the instructions that an earlier one is equal to, but for case and white space.

    >>> repeats(["Draw a fox.", "draw a  fox.", "Draw a hen."])
    1
    """
    plain = [" ".join(text.lower().split()) for text in instructions]
    return len(plain) - len({*plain})


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
