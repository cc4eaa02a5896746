"""The reference of a recipe, from its pydantic models: types and limits, defaults, and comments.

The meaning of a key is the comment beside it in the source, or the one above it.
"""

import ast
import inspect
import io
import re
import tokenize
import types
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

PLAIN = {
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    str: "text",
    Any: "any value",
}
# A string's pattern, in words.
PATTERNS = {
    r"^[A-Za-z0-9_-]+$": "of letters, digits, `_` and `-`",
    r"^[A-Za-z0-9_-]*$": "of letters, digits, `_` and `-`",
    r"^([0-9a-f]{64})?$": "of 64 hex digits, or empty",
    r"^#[0-9a-fA-F]{6}$": "as `#ffffff`",
    r"^[a-z0-9-]+$": "of small letters, digits and `-`",
    r"^[a-z0-9-]*$": "of small letters, digits and `-`",
    r"^[0-9.]+ ?[KMGT]i?B$": "as `16GB`",
    r"^[\w.]+:[\w.]+$": "as `module:name`",
    r"^[A-Z_][A-Z0-9_]*$": "of capital letters, digits and `_`",
    r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$": "as `http://host:8000/v1`",
}


class Key(NamedTuple):
    """The entry of a key in the reference."""

    name: str
    kind: str  # type and limits, Markdown
    default: str  # Markdown; 'required' if there is none
    meaning: str  # Markdown


def keys_of(model: type[BaseModel]) -> list[Key]:
    """Return the keys of a model, in order."""
    return [
        Key(
            field.alias or name,
            kind_of(field.annotation, field.metadata),
            default_of(field),
            meaning(model, name) or _about(field.annotation) or _about_kind(model, field),
        )
        for name, field in model.model_fields.items()
    ]


def _about(annotation: Any) -> str:
    """Return the first line of a model's docstring, '' if there is no model."""
    models = [*models_in(annotation)]
    return (models[0].__doc__ or "").partition("\n")[0] if len(models) == 1 else ""


def _about_kind(model: type[BaseModel], field: FieldInfo) -> str:
    """Return the first line of the model's docstring for a key with one allowed value, else ''."""
    only = get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
    return (model.__doc__ or "").partition("\n")[0] if only else ""


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in a type, in order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def kind_of(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Return the allowed values of a type, in Markdown.

    >>> kind_of(int, [Ge(1), Le(9)]), kind_of(str | None)
    ('whole number, 1 to 9', 'text or `null`')
    """
    base = _base(annotation)
    limits = [limit for each in metadata for limit in (getattr(each, "metadata", None) or [each])]
    return ", ".join([base, *_limits(limits)])


def _base(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind_of(parts[0], parts[1:])
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        models = [*models_in(annotation)]
        if len(models) == len(parts):
            return "one of " + ", ".join(link(model) for model in models)
        return " or ".join("`null`" if part is type(None) else _base(part) for part in parts)
    if origin is tuple:
        return f"list: {_base(parts[0])}"
    if origin is dict:
        return f"mapping: {_base(parts[0])} to {_base(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return link(annotation)
    return PLAIN[annotation]


def _limits(metadata: Sequence[Any]) -> Iterator[str]:
    found = {type(each): each for each in metadata}
    low, high = found.get(Ge), found.get(Le)
    if low and high:
        yield f"{low.ge:,} to {high.le:,}"
    elif low:
        yield f"{low.ge:,} or more"
    elif high:
        yield f"{high.le:,} or less"
    if Gt in found:
        yield f"over {found[Gt].gt:,}"
    if Lt in found:
        yield f"under {found[Lt].lt:,}"
    if MinLen in found:
        yield f"at least {found[MinLen].min_length}"
    if MaxLen in found:
        yield f"at most {found[MaxLen].max_length} characters"
    for each in metadata:
        if pattern := getattr(each, "pattern", None):
            yield PATTERNS[pattern]


def default_of(field: FieldInfo) -> str:
    """Return a field's default as YAML."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return ""
    return f"`{_yaml(default)}`"


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_yaml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, BaseModel):
        return _yaml(value.model_dump(exclude_defaults=True))
    return f"{value:,}".replace(",", "_") if isinstance(value, int) else str(value) or '""'


def link(model: type[BaseModel]) -> str:
    """Return a link to the heading of a model."""
    return f"[{title(model)}](#{title(model).lower().replace(' ', '-')})"


def title(model: type[BaseModel]) -> str:
    """Return the heading of a model: the name of its class in words.

    >>> class VqTokensConfig(BaseModel): pass
    >>> title(VqTokensConfig)
    'Vq tokens'
    """
    words = re.findall(r"[A-Z][a-z]+", model.__name__.removesuffix("Config"))
    return " ".join(words).capitalize()


def meaning(model: type[BaseModel], key: str) -> str:
    """Return the comment of a key in its class or a base class; '' if it has none."""
    bases = (base for base in model.__mro__ if key in inspect.get_annotations(base))
    return next(filter(None, (_comments(base).get(key, "") for base in bases)), "")


@cache
def _comments(base: type) -> dict[str, str]:
    """Return the comments of a class's annotated names."""
    source = inspect.getsource(inspect.getmodule(base) or base)
    lines = comment_lines(source)
    return {
        node.target.id: comment_at(lines, node)
        for made in ast.walk(ast.parse(source))
        if isinstance(made, ast.ClassDef) and made.name == base.__name__
        for node in made.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


class Comment(NamedTuple):
    """A comment of a source file."""

    text: str
    alone: bool  # whether the line has only the comment


def comment_lines(source: str) -> dict[int, Comment]:
    """Return the comments of a source by line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: Comment(
            token.string.removeprefix("#").strip(), not token.line[: token.start[1]].strip()
        )
        for token in tokens
        if token.type == tokenize.COMMENT and not token.string.startswith("# pyright:")
    }


def comment_at(lines: dict[int, Comment], node: ast.expr | ast.stmt) -> str:
    """Return the comment in the lines of a node, else the comment lines right above it."""
    for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
        if number in lines and not lines[number].alone:
            return lines[number].text
    above: list[str] = []
    number = node.lineno - 1
    while number in lines and lines[number].alone:
        above.insert(0, lines[number].text)
        number -= 1
    return " ".join(above)
