"""A driver is killed on another engine, and its job server with it."""

import random
import signal

import pytest
from builds import assert_as_undisturbed, disturbed, finish
from corpus import Corpus
from disturbances import draw_moment

ENGINES = [
    pytest.param(name, marks=[pytest.mark.engine(name), *marks])
    for name, marks in {"prism": [], "spark": [pytest.mark.spark]}.items()
]


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_driver_leaves_nothing_behind(
    engine: str, corpus: Corpus, undisturbed: Corpus
) -> None:
    draw = random.Random(f"driver on {engine}")
    there = "--engine", engine
    code, said = disturbed(
        corpus, draw_moment(draw, ["raw", "signals"]), lambda build: build.kill(), *there
    )
    assert code == -signal.SIGKILL, said
    finish(corpus, *there)
    assert_as_undisturbed(corpus, undisturbed)
