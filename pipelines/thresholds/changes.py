"""Changes of a built recipe that stored values can answer: rules, caps and quotas."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from pipelines.check_recipe import pin_decisions
from pipelines.out_folder import RECIPE
from pipelines.report.build_log import last_stage, log_warnings
from pipelines.runtime.console import CONSOLE
from pipelines.stage_table import STAGES
from schemas.plain_words import not_yaml
from schemas.recipe import DedupConfig, Recipe
from schemas.recipe_file import RecipeError, load_recipe
from schemas.rule_config import Rule
from schemas.store.storage import CorpusError, Storage
from schemas.strict_yaml import load_yaml

ALLOWED = "select, sources.NAME.select, sources.NAME.quota and dedup"


def changed_recipes(
    store: Storage, overrides: Sequence[str], patch: Mapping[str, Any]
) -> tuple[Recipe, Recipe]:
    """Return the recipe of a corpus, and the same with changes, both checked as `build` does.

    Files that rules and dedup name are read as they are now, as the next build reads them.

    Args:
        store: the corpus.
        overrides: `dotted.path=value` items.
        patch: values by dotted path.

    Raises:
        RecipeError: a change is of another key than ALLOWED, or the recipe cannot be used.
        CorpusError: there is no corpus whose rows were scored.
    """
    for key in (*patch, *(item.partition("=")[0] for item in overrides)):
        if not _is_allowed(key):
            raise RecipeError(
                f"{key}: what-if cannot change it, because stored values do not say what a build "
                f"would make of it; it changes {ALLOWED}"
            )
    if not store.exists(RECIPE):
        raise CorpusError(f"{store.root}: no {RECIPE}; expected the folder of a corpus")
    for line in log_warnings(store):
        CONSOLE.warning(line)
    if not finished(store, "select"):
        raise CorpusError(
            f"{store.root}: the last build did not finish select; run it again, with --until "
            "select if nothing more is wanted"
        )
    fs, path = store.locate(RECIPE)
    url = fs.unstrip_protocol(path)
    present, changed = load_recipe(url), load_recipe(url, overrides, patch)
    return pin_decisions(_unpinned(present)), pin_decisions(_unpinned(changed))


def finished(store: Storage, stage: str) -> bool:
    """Return whether the last build finished a stage; true where no log says otherwise."""
    last = last_stage(store)
    return not last or (last in STAGES and STAGES.index(last) >= STAGES.index(stage))


def patch_of(overrides: Sequence[str], patch: Mapping[str, Any]) -> str:
    """Return a recipe patch as YAML: values by dotted path, the later ones last.

    >>> print(patch_of(["select.aesthetic.min=5"], {"dedup.max_per_text": 50}), end="")
    dedup.max_per_text: 50
    select.aesthetic.min: 5
    """
    return yaml.safe_dump(
        {**patch, **dict(map(_value, overrides))}, sort_keys=False, allow_unicode=True
    )


def _value(item: str) -> tuple[str, Any]:
    path, _, value = item.partition("=")
    try:
        return path, load_yaml(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"override {item!r}: value is {not_yaml(error)}") from error


def _is_allowed(key: str) -> bool:
    first, *rest = key.split(".")
    if first == "sources":
        return len(rest) > 1 and rest[1] in ("select", "quota")
    return first in ("select", "dedup")


def _unpinned(recipe: Recipe) -> Recipe:
    """Forget the hashes of the last build, so that files are pinned as they are now."""
    sources = tuple(
        source.model_copy(update={"select": _forgotten(source.select)}) for source in recipe.sources
    )
    return recipe.model_copy(
        update={
            "select": _forgotten(recipe.select),
            "sources": sources,
            "dedup": _lists_forgotten(recipe.dedup),
        }
    )


def _lists_forgotten(config: DedupConfig) -> DedupConfig:
    of_benchmark = {"prompts_sha256": "", "images_sha256": ""}
    return config.model_copy(
        update={
            "against": tuple(
                each.model_copy(update={"manifest_sha256": ""}) for each in config.against
            ),
            "benchmarks": tuple(each.model_copy(update=of_benchmark) for each in config.benchmarks),
            "balance": config.balance and config.balance.model_copy(update={"entries_sha256": ""}),
        }
    )


def _forgotten(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    return {
        name: rule.model_copy(
            update={"texts_sha256": "", "any_of": tuple(map(_forgotten, rule.any_of))}
        )
        for name, rule in rules.items()
    }
