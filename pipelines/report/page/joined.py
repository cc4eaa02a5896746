"""Mappings of two parts of a corpus, joined."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


def joined(a: Mapping[K, V], b: Mapping[K, V], join: Callable[[Any, Any], Any]) -> dict[K, V]:
    """Return both mappings as one; values that stand under one key are joined.

    >>> joined({"x": 1, "y": 2}, {"y": 3}, int.__add__)
    {'x': 1, 'y': 5}
    """
    return {**a, **b, **{name: join(a[name], b[name]) for name in a if name in b}}
