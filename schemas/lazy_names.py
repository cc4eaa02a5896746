"""Lazy public names of a package: a module is imported at the first use of its name."""

import ast
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any


def lazily(package: str, file: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package.

    The imports under `if TYPE_CHECKING:` are the list of the package's names. Type checkers and
    editors use them directly; at run time they are parsed from the file.

    Args:
        package: name of the package.
        file: its `__init__.py`.
    """

    @cache
    def places() -> dict[str, tuple[str, str]]:
        block = next(node for node in ast.parse(Path(file).read_text()).body if is_block(node))
        return {
            alias.asname or alias.name: (str(node.module), alias.name)
            for node in ast.walk(block)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

    def is_block(node: ast.stmt) -> bool:
        return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"

    def find(name: str) -> Any:
        if name.startswith("__") or name not in places():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, attribute = places()[name]
        return getattr(import_module(module), attribute)

    return find
