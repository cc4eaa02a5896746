"""The state on disk: whole or not there."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.tokenizer_training.state import State, StateError, read_state, write_state


def state(step: int = 3) -> State:
    weights = {"w": torch.arange(3.0)}
    return State(
        fingerprint="f", step=step, seconds=1.5, network=weights, averaged=weights,
        optimizer={"state": {}}, curve=[{"step": 2, "loss": 0.5}], unreadable={"a.png": "torn"},
    )  # fmt: skip


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    write_state(tmp_path / "s", state())
    found = read_state(tmp_path / "s")
    assert torch.equal(found.averaged["w"], torch.arange(3.0))
    empty = {"network": {}, "averaged": {}}
    assert replace(found, **empty) == replace(state(), **empty)


def test_a_run_killed_while_it_saves_keeps_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_state(tmp_path / "s", state(3))

    def killed(*paths: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_state(tmp_path / "s", state(4))
    assert read_state(tmp_path / "s").step == 3
    write_state(tmp_path / "s", state(5))
    assert read_state(tmp_path / "s").step == 5
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_an_older_state_without_curve_and_unreadable_images_is_read(tmp_path: Path) -> None:
    old = {"fingerprint": "x", "step": 1, "seconds": 0.0, "plan": "p"}
    torch.save(old | {"network": {}, "averaged": {}, "optimizer": {}}, tmp_path / "s")
    found = read_state(tmp_path / "s")
    assert (found.curve, found.unreadable) == ([], {})


@pytest.mark.parametrize("damage", ["empty", "cut", "other"])
def test_what_is_no_state_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state.pt"
    write_state(path, state())
    if damage == "other":
        torch.save({"step": 3}, path)
    else:
        path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:200])
    with pytest.raises(StateError, match=r"state\.pt: damaged, or no state"):
        read_state(path)
