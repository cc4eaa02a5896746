"""Read a recipe, and say what is wrong with it in its own words."""

import difflib
import logging
import os.path
import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError

from schemas.plain_words import explained, kind_of, not_yaml, shown
from schemas.recipe import Recipe, Source
from schemas.store.errors import UserError
from schemas.store.retries import open_fs
from schemas.strict_yaml import RepeatedKeyError, load_yaml

# Keys of earlier releases, and their names now.
RENAMED = {"max_dead_fraction": "max_failed_fraction"}
_WARNINGS = logging.getLogger("vargpt-corpus")


class RecipeError(UserError, ValueError):
    """A recipe that cannot be used: a line a fault, with its path, value and what is allowed."""


def load_recipe(path: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read and validate a recipe; relative paths in it are taken from its own folder.

    Args:
        path: YAML file, any fsspec URL.
        overrides: `dotted.path=value` items, values in YAML, list items by number or name
            (`sources.web.base_url=http://...`).

    Raises:
        RecipeError: if it is missing, not YAML, or not a recipe.
        CorpusError: if its store is unknown or cannot be asked.
    """
    path = os.path.expanduser(path)
    try:
        data: Any = load_yaml(_read(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RecipeError(f"{path}: no such recipe") from error
    except RepeatedKeyError as error:
        lines = str(error).splitlines()
        raise RecipeError("\n".join(f"{path}: {line}" for line in lines)) from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: {not_yaml(error)}") from error
    except IsADirectoryError as error:
        raise RecipeError(f"{path}: is a folder; give the YAML file itself") from error
    except PermissionError as error:
        raise RecipeError(f"{path}: may not be read by this user") from error
    except (ValueError, OSError) as error:  # a date that is none, or the disk fails
        raise RecipeError(f"{path}: {error}") from error
    if data is None:
        raise RecipeError(f"{path}: is empty; expected a mapping that begins as `name: my-corpus`")
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: expected a mapping (key: value), found {kind_of(data)}")
    fields = _renamed(cast(dict[str, Any], data), path)
    for item in overrides:
        override(fields, item)
    recipe = parse_recipe(fields, name=path)
    return _resolved(recipe, os.path.dirname(path))


def parse_recipe(data: Mapping[str, Any], *, name: str = "recipe") -> Recipe:
    """Validate a recipe already read.

    Raises:
        RecipeError: with a line a fault.
    """
    try:
        return Recipe.model_validate(_renamed(data, name))
    except ValidationError as error:
        # A tuple whose items are wrong is reported as too short besides: noise.
        faults = [dict(f) for f in error.errors() if f["type"] != "too_short" or not f["input"]]
        lines = dict.fromkeys(_explain(fault) for fault in faults)
        raise RecipeError("\n".join(f"{name}: {line}" for line in lines)) from error


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe as YAML that `load_recipe` reads back to an equal one.

    Columns stand there if the recipe names them, because those must then be in the files.
    """
    data = recipe.model_dump(mode="json")
    for source, fields in zip(recipe.sources, data["sources"], strict=True):
        fields["columns"] = source.columns.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _renamed(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Put the names of today in the place of keys of earlier releases."""
    return {_current(key, name): value for key, value in data.items()}


def _current(path: str, where: str) -> str:
    """Return a dotted path with the name that its first key has today, and warn of an old one."""
    first, dot, rest = path.partition(".")
    if first not in RENAMED:
        return path
    _WARNINGS.warning("%s: %s is now called %s", where, first, RENAMED[first])
    return f"{RENAMED[first]}{dot}{rest}"


def _read(path: str) -> bytes:
    fs, name = open_fs(path)
    return fs.cat_file(name)


def _explain(fault: dict[str, Any]) -> str:
    parts = _path(fault["loc"])
    where = ".".join(str(part) for part in parts)
    if fault["type"].startswith("union_tag"):  # of the key that says which model it is
        return f"{where}: {explain_tag(fault)}"
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key; {suggest(str(parts[-1]), _allowed_keys(fault['loc'][:-1]))}"
    if not where:  # of the whole recipe, which is not worth showing
        return fault["msg"].removeprefix("Value error, ")
    if fault["loc"][-1] in _COLUMN:
        return f"{where}: expected a column's name or number, got {shown(fault['input'])}"
    return f"{where}: {explained(fault)}{meant(fault)}"


_COLUMN = ("str", "constrained-int")  # the two ways to name one, as pydantic calls them


def _path(loc: tuple[int | str, ...]) -> list[int | str]:
    """Return the keys that a fault lies under, without what pydantic puts among them.

    It counts the kind of a source or tokenizer, and of a value: sources.0.list.columns.url.str
    """
    tag = len(loc)  # its place
    if loc[:1] == ("sources",):
        tag = 2
    elif loc[:2] == ("vq_tokens", "tokenizers"):
        tag = 3
    parts = [part for n, part in enumerate(loc) if n != tag]
    return parts[:-1] if parts and parts[-1] in _COLUMN else parts


def meant(fault: Mapping[str, Any]) -> str:
    """Say which of the allowed values a wrong one was probably meant to be; '' if none is near."""
    if fault["type"] != "literal_error" or not isinstance(fault["input"], str):
        return ""
    near = nearest(fault["input"], re.findall(r"'([^']*)'", fault["ctx"]["expected"]))
    return f"; did you mean {near}?" if near else ""


def explain_tag(fault: Mapping[str, Any]) -> str:
    """Say what is wrong with the key that tells which of several models a mapping is."""
    key = str(fault["ctx"]["discriminator"]).strip("'")
    if fault["type"] == "union_tag_not_found":
        return f"{key} is missing, got {shown(fault['input'])}"
    found, allowed = fault["ctx"]["tag"], fault["ctx"]["expected_tags"]
    near = nearest(found, re.findall(r"'([^']*)'", allowed))
    hint = f"did you mean {near}? " if near else ""
    return f"unknown {key} {found!r}; {hint}Allowed: {allowed}"


def nearest(found: str, allowed: Iterable[str]) -> str:
    """Return what `found` was probably meant to be, whatever its case; '' if nothing is near.

    >>> nearest("Foldr", ["list", "folder"]), nearest("x", ["list", "folder"])
    ('folder', '')
    """
    names = {name.lower(): name for name in allowed}
    near = difflib.get_close_matches(found.lower(), names, n=1)
    return names[near[0]] if near else ""


def suggest(found: str, allowed: Iterable[str]) -> str:
    """Say what may stand in the place of `found`, and what was probably meant.

    >>> suggest("colour", ["color", "size"])
    'did you mean color? Allowed: color, size'
    """
    names = list(allowed)
    near = nearest(found, names)
    hint = f"did you mean {near}? " if near else ""
    return f"{hint}Allowed: {', '.join(names)}"


def _allowed_keys(path: tuple[int | str, ...]) -> list[str]:
    """List the keys of the model at `path`; discriminator tags stand in pydantic's paths."""
    model: type[BaseModel] = Recipe
    for part in path:
        model = _submodels(model).get(str(part), model)
    return list(model.model_fields)


def _submodels(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        for type_ in _models_in(field.annotation):
            kind = type_.model_fields.get("kind")  # of a source, whose tag stands in the path
            found[get_args(kind.annotation)[0] if kind else name] = type_
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def override(data: dict[str, Any], item: str) -> None:
    """Set one value of a recipe that was read, in place, by `dotted.path=value`.

    Raises:
        RecipeError: no such item, no YAML, or nothing of that name on the way.
    """
    path, equals, value = item.partition("=")
    if not equals:
        raise RecipeError(f"override {item!r}: expected dotted.path=value")
    try:
        given: Any = load_yaml(value)
    except (yaml.YAMLError, ValueError) as error:
        why = not_yaml(error) if isinstance(error, yaml.YAMLError) else error
        raise RecipeError(f"override {item!r}: value is {why}") from error
    path = _current(path, f"override {item!r}")
    *parents, last = path.split(".")
    node: Any = data
    for part in parents:
        if isinstance(node, dict):
            node = cast(dict[str, Any], node).setdefault(part, {})
        else:
            node = node[_position(node, part, item)]
    node[last if isinstance(node, dict) else _position(node, last, item)] = given


def _position(node: Any, part: str, override: str) -> int:
    """Find an item of a list by its number or its name."""
    items = cast(list[Any], node) if isinstance(node, list) else []
    names = [
        cast(dict[str, Any], item).get("name") if isinstance(item, dict) else None for item in items
    ]
    for number, name in enumerate(names):
        if part in (str(number), name):
            return number
    known = [str(name) for name in names]
    near = nearest(part, known)
    hint = f"; did you mean {near}?" if near else ""
    there = f"it has {', '.join(known)}{hint}" if items else "it has no parts"
    raise RecipeError(f"override {override!r}: nothing named {part!r} there, {there}")


def _resolved(recipe: Recipe, folder: str) -> Recipe:
    def resolve(path: str) -> str:
        path = os.path.expanduser(path)
        if not path or "://" in path or os.path.isabs(path):
            return path
        protocol, mark, place = folder.rpartition("://")
        if mark:
            return f"{protocol}://{posixpath.normpath(posixpath.join(place, path))}"
        return os.path.abspath(os.path.join(folder, path))

    sources: list[Source] = []
    for source in recipe.sources:
        path = resolve(source.path)
        if source.kind == "huggingface" and not _is_local(source.path, path):
            path = source.path
        update = {"path": path}
        if source.kind == "folder":
            update["list"] = resolve(source.list)
        sources.append(source.model_copy(update=update))
    tokenizers = tuple(
        tokenizer.model_copy(update={"checkpoint": resolve(tokenizer.checkpoint)})
        if tokenizer.checkpoint
        else tokenizer
        for tokenizer in recipe.vq_tokens.tokenizers
    )
    vq_tokens = recipe.vq_tokens.model_copy(update={"tokenizers": tokenizers})
    pair = recipe.pair
    if pair.templates.endswith((".yaml", ".yml")):
        pair = pair.model_copy(update={"templates": resolve(pair.templates)})
    changes = {"sources": tuple(sources), "vq_tokens": vq_tokens, "pair": pair}
    return recipe.model_copy(update=changes)


def _is_local(path: str, resolved: str) -> bool:
    """Whether a dataset is meant to lie on this machine, and is no name on the Hub.

    A Hub name is `name` or `owner/name`, and gives way to a file or folder beside the recipe.
    """
    if path.startswith((".", "/", "~")) or path.count("/") > 1 or any(c in path for c in "*?[{"):
        return True
    return "://" not in resolved and os.path.exists(resolved)
