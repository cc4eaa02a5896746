"""Imports point one way: from a room to those below it, and never in a circle."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from corpus import ROOT

# From the top to the bottom; a room imports itself and those that stand after it.
ROOMS = (
    "pipelines.__main__",
    "pipelines.cli",
    "pipelines.thresholds",
    "pipelines.verify",
    "pipelines.preferences",
    "pipelines.export",
    "pipelines.training",
    "pipelines",
    "pipelines.stages",
    "pipelines.report",
    "pipelines.templates",
    "pipelines.splits",
    "pipelines.dedup",
    "pipelines.sources",
    "pipelines.shards",
    "pipelines.tokens",
    "pipelines.scores",
    "pipelines.captions",
    "pipelines.runtime",
    "pipelines.engines",
    "pipelines.fetch",
    "pipelines.recipes",
    "model.training",
    "model.preferences",
    "model.vargpt",
    "model.captioner_training",
    "model.clip_training",
    "model.image_text",
    "model.data",
    "model.tokenizer_training",
    "model.tokenizers",
    "model",
    "filters.captions",
    "filters.edits",
    "filters.scores",
    "filters",
    "schemas",
    "schemas.store",
)


def module_of(file: Path) -> str:
    """Name the module of a file.

    >>> module_of(Path("model/data/__init__.py")), module_of(Path("model/data/text.py"))
    ('model.data', 'model.data.text')
    """
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")


PACKAGES = ("pipelines", "model", "filters", "schemas")
# But for the lists of what the packages offer to users, which name modules of all rooms.
MODULES = {
    module_of(file.relative_to(ROOT)): file
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
    if file != ROOT / package / "__init__.py"
}


@cache
def nodes(file: Path) -> list[ast.AST]:
    """Parse a file."""
    return [*ast.walk(ast.parse(file.read_text()))]


def imports(file: Path) -> Iterator[str]:
    """Yield the modules of ours that a file imports anywhere, in functions too."""
    for node in nodes(file):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if (name := inner if inner in MODULES else str(node.module)) in MODULES:
                    yield name


def room_of(module: str) -> str:
    """Return the room that a module stands in: the longest name of one that it begins with."""
    return max((r for r in ROOMS if f"{module}.".startswith(f"{r}.")), key=len)


def test_a_module_imports_its_own_room_and_rooms_below() -> None:
    above = [
        f"{module}: {name}"
        for module, file in MODULES.items()
        for name in imports(file)
        if ROOMS.index(room_of(name)) < ROOMS.index(room_of(module))
    ]
    assert above == []


def test_modules_import_from_modules_and_not_from_the_lists_for_users() -> None:
    found = [
        f"{module}: {node.module}.{alias.name}"
        for module, file in MODULES.items()
        for node in nodes(file)
        if isinstance(node, ast.ImportFrom) and node.module in PACKAGES
        for alias in node.names
        if f"{node.module}.{alias.name}" not in MODULES
    ]
    assert found == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        module: {name for name in imports(file) if name != module}
        for module, file in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")
