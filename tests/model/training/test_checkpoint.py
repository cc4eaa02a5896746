"""Checkpoints are whole or refused, and say what they are."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.tokenizer_training.state import StateError
from model.training.checkpoint import checkpoints, find, read_state, save
from model.training.loop import Trainer
from model.training.parallel import Processes
from schemas.store.whole_file import temporary_name

MakeTrainer = Callable[..., Trainer]
RECIPE = ("steps=2", "save_every=1", "keep=2")  # of the finished training


@pytest.fixture
def saved(copied: Path) -> Path:
    """The last checkpoint of a training of two steps."""
    return checkpoints(copied)[-1]


def test_it_holds_all_weights_and_both_moments_of_those_trained(
    saved: Path, make: MakeTrainer
) -> None:
    (file,) = saved.glob("*.safetensors")
    names = set(load_file(file))
    model = make(saved.parent / "other").model
    every = dict(model.named_parameters())
    trained = [name for name, each in every.items() if each.requires_grad]
    moments = {f"{moment}.{name}" for moment in ("exp_avg", "exp_avg_sq") for name in trained}
    assert names == set(model.state_dict()) | moments
    state = json.loads((saved / "state.json").read_text())
    assert (state["step"], state["recipe"]["stage"]) == (2, "sft256")
    assert state["files"] == {file.name: file.stat().st_size}


def cut(saved: Path) -> None:
    (file,) = saved.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])


def remove(saved: Path) -> None:
    next(saved.glob("*.safetensors")).unlink()


def cut_state(saved: Path) -> None:
    state = saved / "state.json"
    state.write_text(state.read_text()[:100])


def damage(saved: Path) -> None:
    (file,) = saved.glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[8:40] = b"x" * 32
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut, r"bytes, expected [\d,]+ bytes"),
        (remove, r"missing, expected [\d,]+ bytes"),
        (cut_state, "state.json: damaged or missing"),
        (damage, "damaged"),
    ],
)
def test_a_damaged_one_is_refused_and_the_one_before_gone_on_from(
    saved: Path, make, spoil: Callable[[Path], None], told: str
) -> None:
    out = saved.parent.parent
    spoil(saved)
    again = make(out, *RECIPE)
    with pytest.raises(StateError, match=f"(?s){told}.*remove this checkpoint"):
        again.run()
    for file in saved.iterdir():
        file.unlink()
    saved.rmdir()
    again.run()
    assert again.step == 2


def test_what_was_being_written_when_it_was_killed_is_no_checkpoint(saved: Path) -> None:
    out = saved.parent.parent
    (out / "checkpoints" / "step-00000009.part").mkdir()
    assert find(out) == saved


def test_one_of_another_format_is_refused(saved: Path) -> None:
    state = json.loads((saved / "state.json").read_text())
    (saved / "state.json").write_text(json.dumps({**state, "format": 9}))
    with pytest.raises(StateError, match="a checkpoint of format 9, expected 1"):
        read_state(saved)


def test_where_there_is_none_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no checkpoint; expected the DIR of a training"):
        find(tmp_path)


def test_weights_of_another_model_are_refused_with_both_sides(saved: Path, make, tmp_path) -> None:
    state = json.loads((saved / "state.json").read_text())
    state["model"]["codes"]["tokenizer"] = "abc"
    state["model"]["backbone"]["vocab"] = 99
    (saved / "state.json").write_text(json.dumps(state))
    with pytest.raises(StateError) as error:
        make(tmp_path / "next", init=saved)
    assert "model backbone.vocab: 99 in the checkpoint, 4096 here" in str(error.value)
    assert "model codes.tokenizer: 'abc' in the checkpoint, '25ac4a7b" in str(error.value)


def test_old_checkpoints_go_but_for_what_others_put_there(copied: Path) -> None:
    first, second = checkpoints(copied)
    (first / "notes.txt").write_text("mine")
    (copied / "checkpoints/step-00000000").mkdir()
    (copied / "checkpoints/step-00000000/weights.bin").write_text("mine")
    partial = copied / "checkpoints/step-00000003.part"
    partial.mkdir()
    for name in ("shard-00001.safetensors", temporary_name()):
        (partial / name).write_bytes(b"of a training that was killed")
    state = read_state(second).model_copy(update={"step": 3})
    third = save(copied, state, {"x": torch.zeros(2)}, Processes(), keep=1)
    assert [path.name for path in first.iterdir()] == ["notes.txt"]
    assert (copied / "checkpoints/step-00000000/weights.bin").read_text() == "mine"
    assert not second.exists()
    assert not partial.exists()
    assert read_state(third).step == 3
