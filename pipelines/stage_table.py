"""The stages of a build, in order: the only list of them.

A stage is a file of `pipelines/stages`, and its class has its name: `vq_tokens.py` holds VqTokens.
What else is known of a stage, its class says. Nothing heavy is imported before a class is asked
for.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.runtime.stage import SidecarStage, Stage
    from schemas.recipe import Recipe

STAGES = (
    "ingest",
    "crawl",
    "measure",
    "score",
    "select",
    "dedup",
    "caption",
    "pair",
    "vq_tokens",
    "shard",
    "report",
)
# What an option of Beam may be prefixed by, as in --crawl.num_workers=2: the job that it is for, or
# `gpu`, for the jobs that ask for an accelerator.
JOBS = (*STAGES, "gpu")


def stage_class(name: str) -> "type[Stage]":
    """Return the class of a stage."""
    module = import_module(f"pipelines.stages.{name}")
    return getattr(module, name.title().replace("_", ""))


def about(name: str) -> str:
    """Return what a stage does, in the words that its file begins with; nothing is imported."""
    import pydoc

    spec = find_spec(f"pipelines.stages.{name}")
    line = pydoc.synopsis(spec.origin, {}) if spec and spec.origin else None
    return (line or "").removeprefix(f"{name}: ").removesuffix(".")


def make_stages(recipe: "Recipe") -> "tuple[Stage, ...]":
    """Return the stages as a recipe has them; the rows of each are what the one before kept."""
    from pipelines.runtime.stage import SidecarStage

    made: list[Stage] = []
    rows_of = ""
    for name in STAGES:
        made.append(stage := stage_class(name).from_recipe(recipe, rows_of))
        rows_of = stage.folder if isinstance(stage, SidecarStage) else rows_of
    return tuple(made)


@cache
def sidecar_stages() -> "dict[str, type[SidecarStage]]":
    """Return {folder: class} of the stages that write side-cars, in order."""
    from pipelines.runtime.stage import SidecarStage

    classes = map(stage_class, STAGES)
    return {c.folder: c for c in classes if issubclass(c, SidecarStage)}


def retried_stages() -> Sequence[str]:
    """Name the stages whose failed rows may succeed another time."""
    return [c.name for c in sidecar_stages().values() if getattr(c, "retries", False)]
