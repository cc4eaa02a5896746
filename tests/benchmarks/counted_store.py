"""An object store in memory that counts what is asked of it, as a cloud's bill does."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

PROTOCOL = "counted"
OPERATIONS = {
    "cat_file": "read",  # a whole file or a range of one
    "_open": "read",
    "info": "look",
    "exists": "look",
    "ls": "list",
    "pipe_file": "write",
    "put_file": "write",
    "rm_file": "remove",
}
_asked: Counter[str] = Counter()
_inside = threading.local()  # an operation may be made of others


@contextmanager
def counted_operations() -> Iterator[Counter[str]]:
    """Count what the body asks of stores of this kind."""
    before = _asked.copy()
    found: Counter[str] = Counter()
    yield found
    found.update(_asked - before)


class CountedFileSystem(MemoryFileSystem):
    """fsspec's store in memory, under another name."""

    protocol = PROTOCOL

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return super()._strip_protocol(str(path).replace(f"{PROTOCOL}://", "memory://", 1))


def _counting(name: str) -> Callable[..., Any]:
    method = getattr(MemoryFileSystem, name)

    @wraps(method)
    def count(*arguments: Any, **options: Any) -> Any:
        if getattr(_inside, "operation", False):
            return method(*arguments, **options)
        _asked[OPERATIONS[name]] += 1
        _inside.operation = True
        try:
            return method(*arguments, **options)
        finally:
            _inside.operation = False

    return count


for _name in OPERATIONS:
    setattr(CountedFileSystem, _name, _counting(_name))
fsspec.register_implementation(PROTOCOL, CountedFileSystem, clobber=True)
