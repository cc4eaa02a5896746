"""Read a recipe, and say what is wrong with it in its own words."""

import difflib
import os.path
from collections.abc import Iterable, Mapping
from typing import Any

import fsspec
import yaml
from pydantic import BaseModel, ValidationError

from schemas.recipe import Recipe


class RecipeError(ValueError):
    """A recipe that cannot be used; the message has a line a fault: path, value, what is allowed."""


def load_recipe(path: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read and validate a recipe; relative paths in it are taken from its own folder.

    Args:
        path: YAML file, any fsspec URL.
        overrides: `dotted.path=value` items, values in YAML, list items by number or name
            (`sources.web.base_url=http://...`).

    Raises:
        RecipeError: if it is missing, not YAML, or not a recipe.
    """
    try:
        with fsspec.open(path, "rb") as file:
            data = yaml.safe_load(file)  # type: ignore[arg-type]
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: expected a mapping, found {type(data).__name__}")
    for override in overrides:
        _override(data, override)
    recipe = parse_recipe(data, name=path)
    return _resolved(recipe, os.path.dirname(path))


def parse_recipe(data: Mapping[str, Any], *, name: str = "recipe") -> Recipe:
    """Validate a recipe already read.

    Raises:
        RecipeError: with a line a fault.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        # A tuple whose items are wrong is reported as too short besides: noise.
        faults = [dict(f) for f in error.errors() if f["type"] != "too_short" or not f["input"]]
        lines = [_explain(fault) for fault in faults]
        raise RecipeError("\n".join(f"{name}: {line}" for line in lines)) from error


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe as YAML that `load_recipe` reads back to an equal one."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _explain(fault: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "(top)"
    if fault["type"] == "extra_forbidden":
        allowed = _allowed_keys(fault["loc"][:-1])
        near = difflib.get_close_matches(str(fault["loc"][-1]), allowed, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{where}: unknown key{hint} Allowed: {', '.join(allowed)}"
    shown = "" if fault["type"] == "missing" else f", got {fault['input']!r}"
    return f"{where}: {fault['msg']}{shown}"


def _allowed_keys(path: tuple[int | str, ...]) -> list[str]:
    """List the keys of the model at `path`; discriminator tags stand in pydantic's paths."""
    model: type[BaseModel] | None = Recipe
    for part in path:
        if model is None:
            return []
        model = _submodels(model).get(str(part), model)
    return list(model.model_fields) if model else []


def _submodels(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        for type_ in _models_in(field.annotation):
            kind = type_.model_fields.get("kind")
            tag = kind.annotation.__args__[0] if kind is not None else name  # type: ignore[union-attr]
            found[str(tag)] = type_
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = getattr(annotation, "__args__", ())
    return [model for part in inner for model in _models_in(part)]


def _override(data: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    if not equals:
        raise RecipeError(f"override {override!r}: expected dotted.path=value")
    *parents, last = path.split(".")
    node: Any = data
    for part in parents:
        node = _step(node, part, override)
    if isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = yaml.safe_load(value)
    elif isinstance(node, dict):
        node[last] = yaml.safe_load(value)
    else:
        raise RecipeError(f"override {override!r}: nothing at {path!r}")


def _step(node: Any, part: str, override: str) -> Any:
    if isinstance(node, dict):
        return node.setdefault(part, {})
    for number, item in enumerate(node if isinstance(node, list) else ()):
        if part == str(number) or (isinstance(item, dict) and item.get("name") == part):
            return item
    raise RecipeError(f"override {override!r}: nothing at {part!r}")


def _resolved(recipe: Recipe, folder: str) -> Recipe:
    def resolve(path: str) -> str:
        if not path or "://" in path or os.path.isabs(path):
            return path
        joined = os.path.join(folder, path)
        return joined if "://" in folder else os.path.abspath(joined)

    sources = []
    for source in recipe.sources:
        update: dict[str, str] = {}
        if source.kind != "huggingface" or source.path.startswith((".", "/")):
            update["path"] = resolve(source.path)
        if source.kind == "folder":
            update["list"] = resolve(source.list)
        sources.append(source.model_copy(update=update))
    vq_tokens = recipe.vq_tokens
    if vq_tokens.checkpoint:
        checkpoint = resolve(vq_tokens.checkpoint)
        vq_tokens = vq_tokens.model_copy(update={"checkpoint": checkpoint})
    pair = recipe.pair
    if pair.templates.endswith((".yaml", ".yml")):
        pair = pair.model_copy(update={"templates": resolve(pair.templates)})
    changes = {"sources": tuple(sources), "vq_tokens": vq_tokens, "pair": pair}
    return recipe.model_copy(update=changes)
