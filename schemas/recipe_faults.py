"""Errors of a recipe in words: a line an error, with its path, the value and what is allowed."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from schemas.plain_words import explained, shown
from schemas.recipe import Recipe


def explain(fault: dict[str, Any]) -> str:
    """Return the line of an error that pydantic found."""
    parts = _path(fault["loc"])
    where = ".".join(str(part) for part in parts)
    if fault["type"].startswith("union_tag"):  # an error of the key that chooses the model
        return f"{where}: {explain_tag(fault)}"
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key; {suggest(str(parts[-1]), _allowed_keys(fault['loc'][:-1]))}"
    if not where:  # an error of the whole recipe, which is not shown
        return fault["msg"].removeprefix("Value error, ")
    if fault["loc"][-1] in _COLUMN:
        return f"{where}: expected a column's name or number, got {shown(fault['input'])}"
    return f"{where}: {explained(fault)}{meant(fault)}"


_COLUMN = ("str", "constrained-int")  # pydantic's names for the two types of a column
_TAGGED = ("sources", "tokenizers", "scorers", "voters")  # lists whose items have a tag
_TAGS = ("kind", "tokenizer", "score", "voter", "engine")  # keys that hold it


def _path(loc: tuple[int | str, ...]) -> list[int | str]:
    """Return the recipe keys of a fault's location, without the tags that pydantic adds.

    pydantic adds the kind of a source, tokenizer or scorer after its number, and of a value:
    sources.0.list.columns.url.str
    """
    parts = [part for n, part in enumerate(loc) if not (n > 1 and _is_tag(loc[n - 2 : n]))]
    return parts[:-1] if parts and parts[-1] in _COLUMN else parts


def _is_tag(before: Sequence[int | str]) -> bool:
    """Return whether a part is a tag, by the two parts before it."""
    return before[0] in _TAGGED and isinstance(before[1], int)


def meant(fault: Mapping[str, Any]) -> str:
    """Return a hint with the allowed value that is similar to a wrong one; '' if none is."""
    if fault["type"] != "literal_error" or not isinstance(fault["input"], str):
        return ""
    near = nearest(fault["input"], re.findall(r"'([^']*)'", fault["ctx"]["expected"]))
    return f"; did you mean {near}?" if near else ""


def explain_tag(fault: Mapping[str, Any]) -> str:
    """Return the error of the key that chooses between several models."""
    key = str(fault["ctx"]["discriminator"]).strip("'")
    if fault["type"] == "union_tag_not_found":
        return f"{key} is missing, got {shown(fault['input'])}"
    found, allowed = fault["ctx"]["tag"], fault["ctx"]["expected_tags"]
    near = nearest(found, re.findall(r"'([^']*)'", allowed))
    hint = f"did you mean {near}? " if near else ""
    return f"unknown {key} {found!r}; {hint}Allowed: {allowed}"


def nearest(found: str, allowed: Iterable[str]) -> str:
    """Return the allowed name that is similar to `found`, in any case; '' if none is.

    >>> nearest("Foldr", ["list", "folder"]), nearest("x", ["list", "folder"])
    ('folder', '')
    """
    names = {name.lower(): name for name in allowed}
    near = difflib.get_close_matches(found.lower(), names, n=1)
    return names[near[0]] if near else ""


def suggest(found: str, allowed: Iterable[str]) -> str:
    """Return a hint with the allowed names, and the one that is similar to `found`.

    >>> suggest("colour", ["color", "size"])
    'did you mean color? Allowed: color, size'
    """
    names = list(allowed)
    near = nearest(found, names)
    hint = f"did you mean {near}? " if near else ""
    return f"{hint}Allowed: {', '.join(names)}"


def _allowed_keys(path: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the model at `path`, a path of pydantic with discriminator tags."""
    model: type[BaseModel] = Recipe
    for part in path:
        model = _submodels(model).get(str(part), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def _submodels(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        for type_ in _models_in(field.annotation):
            found[_tag(type_) or name] = type_
    return found


def _tag(model: type[BaseModel]) -> str:
    """Return the tag by which pydantic's paths name a model, '' if it has none."""
    tags = (model.model_fields[key].annotation for key in _TAGS if key in model.model_fields)
    return next((get_args(tag)[0] for tag in tags if get_origin(tag) is Literal), "")


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
