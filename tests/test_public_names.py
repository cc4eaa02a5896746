"""Each package lists what users import from it; the list stays light, and is true."""

import ast
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest
from corpus import ROOT

PACKAGES = ("schemas", "filters", "model", "pipelines")
HEAVY = ("apache_beam", "torch", "pyarrow", "pydantic", "numpy", "PIL")

by_package = pytest.mark.parametrize("package", PACKAGES)


@by_package
def test_every_name_can_be_imported_and_is_no_module(package: str) -> None:
    listed = import_module(package)
    modules = {module.name for module in pkgutil.iter_modules(listed.__path__)}
    assert modules.isdisjoint(listed.__all__)
    for name in listed.__all__:
        assert not isinstance(getattr(listed, name), type(ast)), name


@by_package
def test_what_type_checkers_see_is_what_is_listed(package: str) -> None:
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = [a.asname or a.name for node in block.body for a in node.names]  # type: ignore[attr-defined]
    assert sorted(seen) == sorted(import_module(package).__all__)


@by_package
def test_importing_a_package_imports_nothing_heavy(package: str) -> None:
    code = f"import sys, {package}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@by_package
def test_a_name_that_is_not_there_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = import_module(package).nothing
    with pytest.raises(ImportError):
        exec(f"from {package} import nothing")


def test_names_stay_objects_after_the_modules_of_like_names_are_imported() -> None:
    code = (
        "import pipelines.build, pipelines.verify, filters.decode\n"
        "from pipelines import build_corpus, verify_corpus\n"
        "from filters import decode_image\n"
        "print(callable(build_corpus), callable(verify_corpus), callable(decode_image))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 3
