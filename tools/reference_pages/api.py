"""The pages of the Python API: the public names of each package, from the docstrings."""

import ast
import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]


def api(package: str) -> Callable[[], str]:
    """Return a function that writes the page of a package's public names."""

    def write() -> str:
        listed = import_module(package)
        doc = inspect.cleandoc(listed.__doc__ or "").removesuffix(" `__all__` is for users.")
        parts = [f"# {package}\n\n{doc}\n\n```python\nfrom {package} import NAME\n```\n"]
        for name, (module, attribute) in sorted(public_names(package).items()):
            parts.append(
                f"\n## {name}\n\nAn Arrow schema: [its columns](../side-cars.md).\n"
                if module == "schemas.tables"
                else f"\n::: {module}.{attribute}\n    options:\n      heading: {name}\n"
                f"      toc_label: {name}\n      heading_level: 2\n"
            )
        return "".join(parts)

    return write


def public_names(package: str) -> dict[str, tuple[str, str]]:
    """Return {public name: (module, name in it)} of a package."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    return {
        alias.asname or alias.name: (str(node.module), alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
