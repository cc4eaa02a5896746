"""Ctrl-C while worker processes start: the server that they are forked from prints no traceback."""

import importlib
import multiprocessing
import signal
from typing import Any

import pytest

from pipelines.engines.lasting_pool import LastingPool


def test_the_fork_server_ignores_interrupts_before_it_imports_anything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    preloaded: list[str] = []
    context: Any = multiprocessing.get_context("forkserver")
    monkeypatch.setattr(
        type(context), "set_forkserver_preload", lambda _, names: preloaded.extend(names)
    )
    LastingPool(1, "pipelines.worker_imports")._start().shutdown()
    asked: list[Any] = []
    monkeypatch.setattr(signal, "signal", lambda *given: asked.append(given))
    importlib.reload(importlib.import_module(preloaded[0]))
    assert (signal.SIGINT, signal.SIG_IGN) in asked
