"""Models are loaded once a process."""

import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")


def once_a_process(make: Callable[Given, Made]) -> Callable[Given, Made]:
    """Return `make` with its results kept for ever; threads wait for one that another makes."""
    cached = functools.cache(make)
    making = threading.Lock()

    @functools.wraps(make)
    def made(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        with making:
            return cached(*args, **kwargs)  # pyright: ignore[reportArgumentType]

    return made
