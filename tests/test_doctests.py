"""Examples in docstrings say what is so."""

import doctest
from importlib import import_module

import pytest
from corpus import ROOT

FILES = [
    file.relative_to(ROOT)
    for package in ("pipelines", "filters", "schemas", "model", "tools")
    for file in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in file.read_text()
]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_the_examples_of_a_module_are_true(file) -> None:
    parts = file.with_suffix("").parts
    name = ".".join(parts[1:] if parts[0] == "tools" else parts)
    result = doctest.testmod(import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
