"""Rules: comparison of stored values with the recipe's thresholds, many rows at a time."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache, reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from filters.text_list import read_texts
from schemas.rule_config import Rule

pc: Any = pyarrow.compute  # its stubs do not accept Python values and lists of kinds
HOST = "host"  # the column whose values also match their parent domains
NOTHING_BROKEN = np.int16(2**15 - 1)  # more than any recipe has reasons
_PARENTS = 8  # levels of a host that are compared


def judge(values: pa.Table, rules: Mapping[str, Rule]) -> "pa.Array[Any]":
    """Apply rules in order to each row; return the first that a row breaks, '' for none.

    The reason is the column's name and what was broken, such as `short_side_min`, `host_not_in` or
    `text_chars_max`. For a forbidden flag it is the name alone: `text_url`. For a rule with
    `any_of` it is the name of the rule. A value that is NaN or null breaks every rule.

    Args:
        values: a column for each name that the rules have.
        rules: by column, in order.

    Raises:
        KeyError: a rule names a column that is not in `values`.
    """
    broken, reasons = first_broken(values, rules)
    numbers = pa.array(np.minimum(broken, len(reasons)))
    return pc.take(pa.array([*reasons, ""], pa.string()), numbers)


def first_broken(
    values: pa.Table, rules: Mapping[str, Rule], done: dict[str, list[Any]] | None = None
) -> tuple[NDArray[np.int16], list[str]]:
    """Return of each row the number of the first reason of `judge`, NOTHING_BROKEN for none.

    Args:
        values: a column for each name that the rules have.
        rules: by column, in order.
        done: what rules made of the same values, to be used again and added to.

    Returns:
        The numbers, int16 `[n]`, and the reasons that they count, in the order of the rules.

    Raises:
        KeyError: a rule names a column that is not in `values`.
    """
    done, reasons = {} if done is None else done, list[str]()
    broken = np.full(values.num_rows, NOTHING_BROKEN, np.int16)
    for name, rule in rules.items():
        for reason, passes in _done(name, rule, values, done):
            # Without a branch a row: ten times as fast as np.where.
            number = np.int16(len(reasons))
            numbers = passes.astype(np.int16) * (NOTHING_BROKEN - number) + number
            broken = np.minimum(broken, numbers)
            reasons.append(reason)
    return broken, reasons


def reason_count(rules: Mapping[str, Rule]) -> int:
    """Return the number of reasons that rules can give."""
    return sum(1 if rule.any_of else _bounds(rule) for rule in rules.values())


def _bounds(rule: Rule) -> int:
    given = (rule.min, rule.max, rule.in_, rule.not_in, rule.matches)
    return rule.forbid + sum(value is not None for value in given)


def passing(values: pa.Table, rules: Mapping[str, Rule]) -> "pa.Array[Any]":
    """Return whether each row passes all rules."""
    checks = [ok for name, rule in rules.items() for _, ok in _checks(name, rule, values)]
    return reduce(pc.and_, checks, pa.repeat(True, values.num_rows))


def columns_in(rules: Mapping[str, Rule]) -> list[str]:
    """Return the columns that rules read, each once, in order."""
    found: list[str] = []
    for name, rule in rules.items():
        found += [inner for group in rule.any_of for inner in columns_in(group)]
        found += [] if rule.any_of else [name]
    return list(dict.fromkeys(found))


def measured_first(
    rules: Mapping[str, Rule], scored: Collection[str]
) -> tuple[dict[str, Rule], dict[str, Rule]]:
    """Return the rules that read no score, and those that do, each in the recipe's order."""
    cheap = {
        name: rule
        for name, rule in rules.items()
        if not any(column in scored for column in columns_in({name: rule}))
    }
    return cheap, {name: rule for name, rule in rules.items() if name not in cheap}


def _done(name: str, rule: Rule, values: pa.Table, done: dict[str, list[Any]]) -> list[Any]:
    of = f"{name} {rule.model_dump_json()}"
    if of not in done:
        checks = _checks(name, rule, values)
        done[of] = [(reason, ok.to_numpy(zero_copy_only=False)) for reason, ok in checks]
    return done[of]


def _checks(name: str, rule: Rule, values: pa.Table) -> Iterator[tuple[str, Any]]:
    """Yield each thing that a rule asks for: the reason if it is not so, and whether it is."""
    if rule.any_of:
        groups = [passing(values, group) for group in rule.any_of]
        yield name, reduce(pc.or_, groups)
        return
    column = values[name].combine_chunks()
    for reason, ok in _of_column(name, rule, column):
        yield reason, pc.fill_null(ok, False) if ok.null_count else ok


def _of_column(name: str, rule: Rule, column: Any) -> Iterator[tuple[str, Any]]:
    if rule.forbid:
        yield name, pc.invert(column)
    if rule.min is not None:
        yield f"{name}_min", pc.greater_equal(column, rule.min)
    if rule.max is not None:
        yield f"{name}_max", pc.less_equal(column, rule.max)
    if rule.in_ is not None:
        yield f"{name}_in", _is_in(name, column, _texts(rule.in_, rule))
    if rule.not_in is not None:
        is_out = pc.invert(_is_in(name, column, _texts(rule.not_in, rule)))
        yield f"{name}_not_in", pc.and_(is_out, column.is_valid())
    if rule.matches is not None:
        yield f"{name}_matches", pc.match_substring_regex(column, rule.matches)


def _is_in(name: str, column: Any, texts: Any) -> Any:
    if name != HOST:
        return pc.is_in(column, texts)
    texts = pc.utf8_lower(texts)
    found, host = pc.is_in(column, texts), column
    for _ in range(_PARENTS):
        host = pc.replace_substring_regex(host, r"^[^.]*\.?", "")
        found = pc.or_(found, pc.and_(pc.not_equal(host, ""), pc.is_in(host, texts)))
    return found


def _texts(texts: Iterable[str] | str, rule: Rule) -> Any:
    if isinstance(texts, str):
        return _listed(texts, rule.texts_sha256)
    return pa.array(texts, pa.string())


@cache
def _listed(path: str, sha256: str) -> Any:
    return pa.array(read_texts(path, sha256), pa.string())
