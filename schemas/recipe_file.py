"""Reading of recipes, with errors in the words of the recipe."""

import difflib
import logging
import os.path
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError

from schemas.plain_words import explained, kind_of, not_yaml, shown
from schemas.recipe import DedupConfig, Recipe, Source
from schemas.rule_config import Rule
from schemas.store.errors import UserError
from schemas.store.retries import open_fs
from schemas.strict_yaml import RepeatedKeyError, load_yaml

# Keys of earlier releases, and their present names.
TEXT_REPEATS = "text_repeats"
RENAMED = {"max_dead_fraction": "max_failed_fraction"}
T = TypeVar("T", bound=BaseModel)
_WARNINGS = logging.getLogger("vargpt-corpus")


class RecipeError(UserError, ValueError):
    """A recipe that cannot be used: one line per error, with path, value and allowed values."""


def load_recipe(path: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read and validate a recipe; paths in it are relative to its folder.

    Args:
        path: YAML file, any fsspec URL.
        overrides: `dotted.path=value` items, values in YAML, list items by number or name
            (`sources.web.base_url=http://...`).

    Raises:
        RecipeError: the file is missing, not YAML, or not a recipe.
        CorpusError: the store is unknown or cannot be reached.
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
    except (ValueError, OSError) as error:  # an invalid date, or the disk fails
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
    """Validate the content of a recipe.

    Raises:
        RecipeError: the recipe has errors; one line per error.
    """
    try:
        return Recipe.model_validate(_renamed(data, name))
    except ValidationError as error:
        # Leave out that a tuple with wrong items is also reported as too short.
        faults = [dict(f) for f in error.errors() if f["type"] != "too_short" or not f["input"]]
        lines = dict.fromkeys(_explain(fault) for fault in faults)
        raise RecipeError("\n".join(f"{name}: {line}" for line in lines)) from error


def dump_recipe(recipe: Recipe) -> str:
    """Return a recipe as YAML; `load_recipe` reads it back to an equal recipe.

    It has only the columns that the recipe names, because named columns must be in the files.
    """
    data = recipe.model_dump(mode="json")
    for source, fields in zip(recipe.sources, data["sources"], strict=True):
        fields["columns"] = source.columns.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _renamed(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Replace the keys of earlier releases by their names of today.

    Raises:
        RecipeError: if a key is given under both names.
    """
    for old, new in RENAMED.items():
        if old in data and new in data:
            raise RecipeError(f"{name}: {old} is now called {new}, and both are given; give one")
    fields = {_current(key, name): value for key, value in data.items()}
    return _moved_text_repeats(fields, name)


def _moved_text_repeats(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """Move the rule on repeated texts, which `select` had, to `dedup`."""
    select = fields.get("select")
    if not isinstance(select, dict) or TEXT_REPEATS not in select:
        return fields
    rules = dict(cast(dict[str, Any], select))
    rule = rules.pop(TEXT_REPEATS)
    moved: dict[str, Any] = dict(fields.get("dedup") or {})
    for old, new in (("max", "max_text_repeats"), ("cap", "max_per_text")):
        if isinstance(rule, dict) and old in rule:
            moved[new] = rule[old]
            path = f"select.{TEXT_REPEATS}.{old}"
            _WARNINGS.warning("%s: %s is now called dedup.%s", name, path, new)
    return {**fields, "select": rules, "dedup": moved}


def _current(path: str, where: str) -> str:
    """Return a dotted path with the present name of its first key; warn about an old name."""
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


def _path(loc: tuple[int | str, ...]) -> list[int | str]:
    """Return the recipe keys of a fault's location, without the tags that pydantic adds.

    pydantic adds the kind of a source or tokenizer, and of a value: sources.0.list.columns.url.str
    """
    tag = len(loc)  # index of the tag
    if loc[:1] == ("sources",):
        tag = 2
    elif loc[:2] == ("vq_tokens", "tokenizers"):
        tag = 3
    parts = [part for n, part in enumerate(loc) if n != tag]
    return parts[:-1] if parts and parts[-1] in _COLUMN else parts


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
    return list(model.model_fields)


def _submodels(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        for type_ in _models_in(field.annotation):
            kind = type_.model_fields.get("kind")  # of a source; pydantic's path has its tag
            found[get_args(kind.annotation)[0] if kind else name] = type_
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def override(data: dict[str, Any], item: str) -> None:
    """Set one value in the content of a recipe, in place, by `dotted.path=value`.

    Raises:
        RecipeError: the item has no `=`, its value is no YAML, or its path does not exist.
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
    """Return the number of a list item, given its number or name."""
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
    content = f"it has {', '.join(known)}{hint}" if items else "it has no parts"
    raise RecipeError(f"override {override!r}: nothing named {part!r} there, {content}")


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
        update: dict[str, Any] = {"path": path}
        if source.kind == "folder":
            update["list"] = resolve(source.list)
        update["select"] = _resolved_rules(source.select, resolve)
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
    lists = tuple(
        known.model_copy(update={"path": resolve(known.path)})
        for known in recipe.crawl.known_hashes
    )
    changes = {
        "sources": tuple(sources),
        "crawl": recipe.crawl.model_copy(update={"known_hashes": lists}),
        "dedup": _resolved_dedup(recipe.dedup, resolve),
        "score": _resolved_files(recipe.score, resolve),
        "select": _resolved_rules(recipe.select, resolve),
        "vq_tokens": vq_tokens,
        "pair": pair,
    }
    return recipe.model_copy(update=changes)


def _resolved_dedup(config: DedupConfig, resolve: Callable[[str], str]) -> DedupConfig:
    earlier = tuple(each.model_copy(update={"path": resolve(each.path)}) for each in config.against)
    benchmarks = tuple(_resolved_files(each, resolve) for each in config.benchmarks)
    balance = _resolved_files(config.balance, resolve) if config.balance else None
    return config.model_copy(
        update={"against": earlier, "benchmarks": benchmarks, "balance": balance}
    )


def _resolved_rules(rules: Mapping[str, Rule], resolve: Callable[[str], str]) -> dict[str, Rule]:
    """Resolve the files of texts that rules name."""
    found: dict[str, Rule] = {}
    for name, rule in rules.items():
        update: dict[str, Any] = {
            field: resolve(texts)
            for field in ("in_", "not_in")
            if isinstance(texts := getattr(rule, field), str)
        }
        update["any_of"] = tuple(_resolved_rules(group, resolve) for group in rule.any_of)
        found[name] = rule.model_copy(update=update)
    return found


def _resolved_files(model: T, resolve: Callable[[str], str]) -> T:
    """Resolve each file that has a field for its hash; a tag of weights stays."""
    update: dict[str, Any] = {}
    for name in type(model).model_fields:
        value: Any = getattr(model, name)
        if isinstance(value, BaseModel):
            update[name] = _resolved_files(value, resolve)
        elif isinstance(value, tuple):
            each = cast(tuple[Any, ...], value)
            models = all(isinstance(one, BaseModel) for one in each)
            update[name] = tuple(_resolved_files(one, resolve) for one in each) if models else each
        elif f"{name}_sha256" in type(model).model_fields and _is_file(value, resolve):
            update[name] = resolve(value)
    return model.model_copy(update=update)


def _is_file(path: str, resolve: Callable[[str], str]) -> bool:
    """Return whether weights are a file, and not the tag of a model."""
    return bool(path) and (
        "/" in path or os.path.splitext(path)[1] != "" or os.path.exists(resolve(path))
    )


def _is_local(path: str, resolved: str) -> bool:
    """Return whether a dataset is a local path, and not a name on the Hub.

    A Hub name is `name` or `owner/name`; an existing file or folder has precedence.
    """
    if path.startswith((".", "/", "~")) or path.count("/") > 1 or any(c in path for c in "*?[{"):
        return True
    return "://" not in resolved and os.path.exists(resolved)
