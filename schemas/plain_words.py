"""Error messages of pydantic and PyYAML, in words for the author of a YAML file."""

import datetime
from collections.abc import Mapping
from typing import Any

import yaml

_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping (key: value)",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "string_type": "text",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than": ("gt", "a number over {}"),
    "greater_than_equal": ("ge", "a number of {} or more"),
    "less_than": ("lt", "a number under {}"),
    "less_than_equal": ("le", "a number of {} or less"),
}
_PATTERNS = {
    r"^[A-Za-z0-9_-]*$": "letters from A to Z, digits, _ and - only",
    r"^[A-Za-z0-9_-]+$": "letters from A to Z, digits, _ and - only, and at least one",
    r"^([0-9a-f]{64})?$": "64 hex digits in lower case",
    r"^#[0-9a-fA-F]{6}$": 'a colour as "#ffffff"',
    r"^[a-z0-9-]+$": "small letters, digits and - only",
    r"^[a-z0-9-]*$": "small letters, digits and - only",
    r"^[0-9.]+ ?[KMGT]i?B$": "a size as 16GB",
    r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$": "http:// or https://, without user, password or query",
}
_LISTS = ("list_type", "tuple_type")
_OF_MAPPINGS = ("sources", "tokenizers")  # keys of lists of mappings
_KINDS: dict[Any, str] = {dict: "a mapping", list: "a list", str: "text", bool: "true or false"}
MOST_CHARS = 200  # of a value


def explained(fault: Mapping[str, Any]) -> str:
    """Return the message for a wrong value: expected, got, and how to write it."""
    kind, found = fault["type"], fault["input"]
    if kind == "missing":
        return "is missing; add it"
    message = fault["msg"].removeprefix("Value error, ")
    if kind != "value_error":
        message = f"expected {what}" if (what := _expected(fault)) else message
    return f"{message}, got {shown(found)}{_remedy(fault)}"


def shown(value: Any) -> str:
    """Format a value as in YAML, cut if it is long.

    >>> shown(None), shown(True), shown("a b")
    ('nothing', 'true', "'a b'")
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.date):  # a datetime is a date too
        return f"the date {value}"
    return f"{value!r:.{MOST_CHARS}}"


def kind_of(value: Any) -> str:
    """Return the kind of a YAML value in words."""
    number = "a number" if isinstance(value, int | float) else f"a {type(value).__name__}"
    return _KINDS.get(type(value), number)


def not_yaml(error: yaml.YAMLError) -> str:
    """Return where a text is not valid YAML, and why."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        at = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
        if "'\\t'" in str(error.problem):
            return f"not YAML: {at}: a tab; write blanks instead"
        began = error.context_mark
        where = f" that began in line {began.line + 1}" if began and error.context else ""
        context = f" ({error.context}{where})" if error.context else ""
        return f"not YAML: {at}: {error.problem}{context}"
    if isinstance(error, yaml.reader.ReaderError):
        return f"not YAML: no text at byte {error.position:,}: {error.reason}; save it as UTF-8"
    return f"not YAML: {error}"


def _expected(fault: Mapping[str, Any]) -> str:
    """Return what is expected instead of a wrong value; '' to use pydantic's message."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind in _BOUNDS:
        key, text = _BOUNDS[kind]
        return text.format(f"{context[key]:g}")
    if kind == "literal_error":
        return context["expected"]
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"text that matches {context['pattern']}")
    if kind == "string_too_long":
        return f"at most {context['max_length']} characters"
    if kind == "too_short":
        least = context["min_length"]
        return f"a list of at least {least} item{'' if least == 1 else 's'}"
    return _EXPECTED.get(kind, "")


def _remedy(fault: Mapping[str, Any]) -> str:
    kind, found, context = fault["type"], fault["input"], fault.get("ctx", {})
    at = fault["loc"][-1] if fault["loc"] else ""
    number = isinstance(found, int | float) and not isinstance(found, bool)
    if context.get("class_name") == "Rule":
        bound = found if number else "N"
        return f"; write {{min: {bound}}}, {{max: {bound}}} or {{forbid: true}}"
    if kind in _LISTS and isinstance(found, str | int | float) and at not in _OF_MAPPINGS:
        return f"; write [{found if isinstance(found, str) else shown(found)}]"
    if kind == "string_type" and isinstance(found, str | int | float | datetime.date):
        plain = shown(found) if isinstance(found, bool) else found
        return f'; write "{plain}" in quotes'
    return ""
