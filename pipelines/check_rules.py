"""Check the rules of a recipe against the columns that there are, and pin their files of texts."""

import os
import re
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from filters.registry import SIGNALS, columns
from filters.scores.registry import columns_of
from filters.signal import Column
from filters.text_list import file_sha256, read_texts
from pipelines.runtime.values import LISTED
from schemas.recipe import Recipe
from schemas.recipe_faults import suggest
from schemas.rule_config import Rule
from schemas.store.storage import CorpusError

# Kinds of scorers whose columns begin with their name.
SCORER_KINDS = ("clip", "aesthetic", "nsfw", "watermark", "image_text", "faces", "language")
RULE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # of one with any_of: rows are dropped under it


def measured_columns(recipe: Recipe) -> tuple[Column, ...]:
    """Return the columns of the signals that a recipe measures."""
    return columns(name for name in recipe.measure.signals if name in SIGNALS)


def rule_faults(recipe: Recipe) -> Iterator[str]:
    """Find rules that cannot be applied, a line a fault."""
    types = rule_columns(recipe)
    yield from _faults_of_rules("select", recipe.select, types)
    for source in recipe.sources:
        yield from _faults_of_rules(f"sources.{source.name}.select", source.select, types)


def rule_columns(recipe: Recipe) -> dict[str, pa.DataType]:
    """Return the columns that rules can name, and their types."""
    scored = columns_of(recipe.score.scorers)
    return {
        **dict.fromkeys(LISTED, pa.string()),
        **{column.name: column.type for column in (*measured_columns(recipe), *scored)},
    }


def _faults_of_rules(
    where: str, rules: Mapping[str, Rule], types: Mapping[str, pa.DataType]
) -> Iterator[str]:
    for name, rule in rules.items():
        place = f"{where}.{name}"
        if rule.any_of:
            if name in types:
                yield f"{place}: any_of is not for one column; give the rule a name of its own"
            elif not RULE_NAME.fullmatch(name):
                yield f"{where}: {name!r:.80} is no name of a rule; use letters, digits, _ and -"
            for number, group in enumerate(rule.any_of):
                yield from _faults_of_rules(f"{place}.any_of.{number}", group, types)
        elif name not in types:
            yield f"{place}: not measured; {_hint(name) or suggest(name, types)}"
        else:
            yield from _type_faults(place, rule, types[name], types)


def _hint(name: str) -> str:
    """Return how the scores of a kind of scorer come about, if a name begins as theirs do."""
    for kind in SCORER_KINDS:
        if name == kind or name.startswith(f"{kind}_"):
            return f"add a scorer `score: {kind}` to score.scorers"
    return ""


def _type_faults(
    place: str, rule: Rule, type_: pa.DataType, types: Mapping[str, pa.DataType]
) -> Iterator[str]:
    """Bounds are for numbers, `forbid` for flags, and lists and patterns for texts."""
    bounded = not (rule.min is None and rule.max is None)
    of_texts = not (rule.in_ is None and rule.not_in is None and rule.matches is None)
    if pa.types.is_nested(type_):
        yield f"{place}: a list, of which a rule can say nothing"
    elif pa.types.is_string(type_):
        if bounded or rule.forbid:
            yield f"{place}: a text has in, not_in and matches"
        yield from _text_faults(place, rule)
    elif of_texts:
        yield f"{place}: in, not_in and matches are for texts"
    elif pa.types.is_boolean(type_):
        if bounded:
            yield f"{place}: a flag has no bounds; use forbid: true"
    elif rule.forbid:
        flags = [other for other, type_ in types.items() if pa.types.is_boolean(type_)]
        yield f"{place}: a number has bounds; forbid is for flags: {', '.join(flags)}"


def _text_faults(place: str, rule: Rule) -> Iterator[str]:
    if rule.matches is not None:
        try:
            pc.match_substring_regex(pa.array([""]), rule.matches)
        except pa.ArrowInvalid as error:
            yield f"{place}.matches: no regular expression of RE2: {error}"
    if rule.texts_file and is_here(rule.texts_file):
        try:
            read_texts(rule.texts_file, rule.texts_sha256)
        except CorpusError as error:
            yield f"{place}: {error}; for one text write [{os.path.basename(rule.texts_file)}]"


def is_here(path: str) -> bool:
    """Return whether a path is of this machine, so that no network is needed."""
    return "://" not in path or path.startswith("file://")


def pinned_rules(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Fill in the hashes of the files of texts, or check those given.

    Raises:
        CorpusError: as `read_texts`.
    """
    return {name: _pinned_rule(rule) for name, rule in rules.items()}


def _pinned_rule(rule: Rule) -> Rule:
    update: dict[str, object] = {"any_of": tuple(map(pinned_rules, rule.any_of))}
    if rule.texts_file:
        update["texts_sha256"] = file_sha256(rule.texts_file, rule.texts_sha256)
    return rule.model_copy(update=update)
