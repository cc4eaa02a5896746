"""The pages of recipes: every key with its type, limits, default and meaning."""

import inspect
from collections.abc import Iterator

from pydantic import BaseModel

from reference_pages.markdown import code, table
from reference_pages.models import keys_of, models_in, title


def recipe() -> str:
    """Write the page of the recipe."""
    from schemas.recipe import Recipe

    return (
        "# Recipe\n\n"
        "A recipe is one YAML file. Unknown keys and repeated keys are refused. "
        "`vargpt-corpus recipe RECIPE` checks a recipe and prints it with its defaults; "
        "`--set PATH=VALUE` changes one value. This page is written from `schemas/recipe.py`, "
        "`rule_config.py`, `score_config.py` and `list_config.py`.\n\n"
        f"## The file\n\n{_keys(Recipe)}\n{''.join(_sections(Recipe))}"
    )


def training() -> str:
    """Write the page of the recipes of training."""
    from model.training.recipe import Recipe

    return (
        "# Training recipe\n\n"
        "Each stage of training is a YAML file in `model/training/recipes/`; "
        "`vargpt-corpus train STAGE --set KEY=VALUE` changes one value. See "
        "[Train a VARGPT](../how-to/train.md). This page is written from "
        "`model/training/recipe.py` and `published.py`.\n\n"
        f"## The file\n\n{_keys(Recipe)}\n{''.join(_sections(Recipe))}"
    )


def _sections(model: type[BaseModel]) -> Iterator[str]:
    """Yield the sections of the models below a model, each once, in order."""
    todo, seen = [model], {model}
    while todo:
        model = todo.pop(0)
        found = [part for f in model.model_fields.values() for part in models_in(f.annotation)]
        for part in [part for part in dict.fromkeys(found) if part not in seen]:
            seen.add(part)
            todo.append(part)
            about = inspect.cleandoc(part.__doc__ or "")
            yield f"\n## {title(part)}\n\n{about}\n\n{_keys(part)}"


def _keys(model: type[BaseModel]) -> str:
    rows = [[code(key.name), key.kind, key.default, key.meaning] for key in keys_of(model)]
    return table(["key", "value", "default", "meaning"], rows, "recipe")
