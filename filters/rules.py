"""Rules: comparison of stored signals with the recipe's thresholds."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.recipe import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a row is kept, and the first rule that dropped it ('' if none)."""

    kept: bool
    reason: str


KEEP = Verdict(kept=True, reason="")


def judge(
    values: Mapping[str, float | int | bool], rules: Mapping[str, Rule], *, drawn: float = 0.0
) -> Verdict:
    """Apply `rules` in order and stop at the first that a value breaks.

    The reason is the signal's name and the broken bound, such as `short_side_min` or
    `text_chars_max`. For a forbidden flag it is the name alone: `text_url`.

    Args:
        values: by signal.
        rules: by signal, in order.
        drawn: a number in [0, 1) from the row's key, for caps.

    Raises:
        KeyError: a rule names a signal that was not measured.
    """
    for name, rule in rules.items():
        value = values[name]
        if rule.forbid and value:
            return Verdict(kept=False, reason=name)
        if rule.min is not None and not value >= rule.min:
            return Verdict(kept=False, reason=f"{name}_min")
        if rule.max is not None and not value <= rule.max:
            return Verdict(kept=False, reason=f"{name}_max")
        if rule.cap is not None and drawn * value >= rule.cap:
            return Verdict(kept=False, reason=f"{name}_cap")
    return KEEP
