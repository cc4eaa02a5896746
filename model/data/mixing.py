"""Which source the next sample comes from: shares are kept at every moment, not on average."""

from collections.abc import Iterator, Sequence


def mixture(
    taken: Sequence[int], weights: Sequence[float], limits: Sequence[int | None]
) -> Iterator[int]:
    """Yield the number of the source to draw from, again and again.

    The next source is the one whose draws are the fewest for its weight: least
    (taken + 1/2) / weight, the first on a tie (Sainte-Lague's way of sharing out seats). It hangs
    on nothing but `taken`, which is therefore all there is to resume from. A source that reached
    its limit drops out, and the others keep their proportions.

    Args:
        taken: samples drawn of each source so far.
        weights: positive, in any unit.
        limits: samples to draw of each source in all; None for no end.

    >>> from itertools import islice
    >>> list(islice(mixture([0, 0], [3, 1], [None, None]), 8))
    [0, 0, 1, 0, 0, 0, 1, 0]
    """
    drawn = list(taken)
    while True:
        left = [
            number for number, limit in enumerate(limits) if limit is None or drawn[number] < limit
        ]
        if not left:
            return
        chosen = min(left, key=lambda number: (drawn[number] + 0.5) / weights[number])
        drawn[chosen] += 1
        yield chosen
