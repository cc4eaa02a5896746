"""Reading of recipes, with errors in the words of the recipe."""

import logging
import os.path
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from schemas.caption_config import CaptionConfig, TransformersEngine, VllmEngine
from schemas.plain_words import kind_of, not_yaml, shown
from schemas.recipe import DedupConfig, Recipe
from schemas.recipe_faults import explain, nearest
from schemas.rule_config import Rule
from schemas.score_config import LOCAL_DIR
from schemas.source_config import Source
from schemas.store.errors import UserError
from schemas.store.retries import open_fs
from schemas.strict_yaml import RepeatedKeyError, load_yaml

# Keys of earlier releases, and their present names.
RENAMED = {
    "max_dead_fraction": "max_failed_fraction",
    "select.text_repeats.max": "dedup.max_text_repeats",
    "select.text_repeats.cap": "dedup.max_per_text",
}
T = TypeVar("T", bound=BaseModel)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WARNINGS = logging.getLogger("vargpt-corpus")


class RecipeError(UserError, ValueError):
    """A recipe that cannot be used: one line per error, with path, value and allowed values."""


def load_recipe(
    path: str, overrides: Iterable[str] = (), patch: Mapping[str, Any] | None = None
) -> Recipe:
    """Read and validate a recipe; paths in it are relative to its folder.

    Args:
        path: YAML file, any fsspec URL.
        overrides: `dotted.path=value` items, values in YAML, list items by number or name
            (`sources.web.base_url=http://...`).
        patch: values by dotted path, set before the overrides.

    Raises:
        RecipeError: the file is missing, not YAML, or not a recipe.
        CorpusError: the store is unknown or cannot be reached.
    """
    path = os.path.expanduser(path)
    fields = _renamed(_read_mapping(path, "a recipe", "name: my-corpus"), path)
    for place, value in (patch or {}).items():
        _put(fields, place, value, f"patch {place!r}")
    for item in overrides:
        override(fields, item)
    recipe = parse_recipe(fields, name=path)
    return _resolved(recipe, os.path.dirname(path))


def read_patch(path: str) -> dict[str, Any]:
    """Read a recipe patch: a mapping from dotted paths of a recipe to values.

    Raises:
        RecipeError: the file is missing, or not such a mapping.
        CorpusError: the store is unknown or cannot be reached.
    """
    path = os.path.expanduser(path)
    patch = _read_mapping(path, "a recipe patch", "select.short_side.min: 384")
    wrong = [key for key in cast(dict[Any, Any], patch) if not isinstance(key, str)]
    if wrong:
        raise RecipeError(f"{path}: expected dotted paths as keys, found {shown(wrong[0])}")
    return patch


def _read_mapping(path: str, what: str, example: str) -> dict[str, Any]:
    try:
        data: Any = load_yaml(_read(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RecipeError(f"{path}: no such {what.split(' ', 1)[1]}") from error
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
        raise RecipeError(f"{path}: is empty; expected a mapping that begins as `{example}`")
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: expected a mapping (key: value), found {kind_of(data)}")
    return cast(dict[str, Any], data)


def parse_recipe(data: Mapping[str, Any], *, name: str = "recipe") -> Recipe:
    """Validate the content of a recipe.

    Raises:
        RecipeError: the recipe has errors; one line per error.
    """
    if halves := [*_half_characters(data, ())]:
        raise RecipeError("\n".join(f"{name}: {line}" for line in halves))
    try:
        return Recipe.model_validate(_renamed(data, name))
    except ValidationError as error:
        # Leave out that a tuple with wrong items is also reported as too short.
        faults = [dict(f) for f in error.errors() if f["type"] != "too_short" or not f["input"]]
        lines = dict.fromkeys(explain(fault) for fault in faults)
        raise RecipeError("\n".join(f"{name}: {line}" for line in lines)) from error


def _half_characters(value: Any, where: tuple[str, ...]) -> Iterator[str]:
    """Yield a line for each text with a lone surrogate, which can be neither hashed nor sent."""
    if isinstance(value, Mapping):
        for key, item in cast(Mapping[Any, Any], value).items():
            yield from _half_characters(str(key), where)
            yield from _half_characters(item, (*where, str(key)))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(cast(Sequence[Any], value)):
            yield from _half_characters(item, (*where, str(number)))
    elif isinstance(value, str) and (found := _SURROGATE.search(value)):
        code = f"\\u{ord(found[0]):04x}"
        place = ".".join(where).encode("ascii", "backslashreplace").decode()
        yield f"{place}: {code} is half a character; write the whole one, or \\U and 8 hex digits"


def dump_recipe(recipe: Recipe) -> str:
    """Return a recipe as YAML; `load_recipe` reads it back to an equal recipe.

    It has only the columns that the recipe names, because named columns must be in the files.
    """
    data = recipe.model_dump(mode="json")
    for source, fields in zip(recipe.sources, data["sources"], strict=True):
        named = source.columns.model_dump(mode="json", exclude_unset=True)
        (fields["of"] if source.kind == "edits" else fields)["columns"] = named
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _renamed(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Replace the keys of earlier releases by their names of today.

    Raises:
        RecipeError: if a key is given under both names.
    """
    fields = dict(data)
    for old, new in RENAMED.items():
        value = _taken(fields, old.split("."))
        if value is None:
            continue
        section, _, key = new.rpartition(".")
        there = fields.get(section) or {} if section else fields
        if not isinstance(there, dict):  # a fault that the model names
            continue
        if key in there:
            raise RecipeError(f"{name}: {old} is now called {new}, and both are given; give one")
        _WARNINGS.warning("%s: %s is now called %s", name, old, new)
        if section:
            fields[section] = {**there, key: value}
        else:
            fields[key] = value
    return fields


def _taken(fields: dict[str, Any], path: Sequence[str]) -> Any:
    """Take a value out of nested mappings, which are copied; None if it is not there.

    A mapping that has nothing else goes with it.
    """
    first, *rest = path
    found = fields.get(first)
    if not rest:
        return fields.pop(first, None)
    if not isinstance(found, dict):
        return None
    inner = dict(cast(dict[str, Any], found))
    value = _taken(inner, rest)
    if value is not None:
        fields[first] = inner
        if not inner:
            del fields[first]
    return value


def _current(path: str, where: str) -> str:
    """Return a dotted path with the present name of its key; warn about an old name."""
    for old, new in RENAMED.items():
        if path == old or path.startswith(f"{old}."):
            _WARNINGS.warning("%s: %s is now called %s", where, old, new)
            return f"{new}{path.removeprefix(old)}"
    return path


def _read(path: str) -> bytes:
    fs, name = open_fs(path)
    return fs.cat_file(name)


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
    _put(data, path, given, f"override {item!r}")


def _put(data: dict[str, Any], path: str, given: Any, where: str) -> None:
    """Set the value of a dotted path; `where` begins the error's message."""
    *parents, last = _current(path, where).split(".")
    node: Any = data
    for part in parents:
        if isinstance(node, dict):
            node = cast(dict[str, Any], node).setdefault(part, {})
        else:
            node = node[_position(node, part, where)]
    node[last if isinstance(node, dict) else _position(node, last, where)] = given


def _position(node: Any, part: str, where: str) -> int:
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
    raise RecipeError(f"{where}: nothing named {part!r} there, {content}")


def _resolved(recipe: Recipe, folder: str) -> Recipe:
    def resolve(path: str) -> str:
        path = os.path.expanduser(path)
        if not path or "://" in path or os.path.isabs(path):
            return path
        protocol, mark, place = folder.rpartition("://")
        if mark:
            return f"{protocol}://{posixpath.normpath(posixpath.join(place, path))}"
        return os.path.abspath(os.path.join(folder, path))

    sources = tuple(_resolved_source(source, resolve) for source in recipe.sources)
    tokenizers = tuple(
        tokenizer.model_copy(update={"checkpoint": resolve(tokenizer.checkpoint)})
        if tokenizer.checkpoint
        else tokenizer
        for tokenizer in recipe.vq_tokens.tokenizers
    )
    vq_tokens = recipe.vq_tokens.model_copy(update={"tokenizers": tokenizers})
    pair = recipe.pair
    for field in ("templates", "edit_forms", "understand_forms"):
        if (name := getattr(pair, field)).endswith((".yaml", ".yml")):
            pair = pair.model_copy(update={field: resolve(name)})
    lists = tuple(
        known.model_copy(update={"path": resolve(known.path)})
        for known in recipe.crawl.known_hashes
    )
    changes = {
        "sources": sources,
        "caption": _resolved_caption(recipe.caption, resolve),
        "crawl": recipe.crawl.model_copy(update={"known_hashes": lists}),
        "dedup": _resolved_dedup(recipe.dedup, resolve),
        "score": _resolved_files(recipe.score, resolve),
        "select": _resolved_rules(recipe.select, resolve),
        "vq_tokens": vq_tokens,
        "pair": pair,
    }
    return recipe.model_copy(update=changes)


def _resolved_source(source: Source, resolve: Callable[[str], str]) -> Source:
    select = _resolved_rules(source.select, resolve)
    if source.kind == "edits":
        of = _resolved_source(source.of, resolve)
        return source.model_copy(update={"of": of, "select": select})
    path = resolve(source.path)
    if source.kind == "huggingface" and not _is_local(source.path, path):
        path = source.path
    update: dict[str, Any] = {"path": path, "select": select}
    if source.kind == "folder":
        update["list"] = resolve(source.list)
    return source.model_copy(update=update)


def _resolved_caption(config: CaptionConfig, resolve: Callable[[str], str]) -> CaptionConfig:
    """Resolve the folders of models that workers load; a name on the Hub stays."""
    engines = tuple(
        engine.model_copy(update={"model": path})
        if isinstance(engine, TransformersEngine | VllmEngine)
        and _is_local(engine.model, path := resolve(engine.model))
        else engine
        for engine in config.engines
    )
    cache = resolve(config.cache) if config.cache else None
    return config.model_copy(update={"cache": cache, "engines": engines})


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
        elif name == "model" and str(value).startswith(LOCAL_DIR):
            update[name] = f"{LOCAL_DIR}{resolve(value.removeprefix(LOCAL_DIR))}"
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
