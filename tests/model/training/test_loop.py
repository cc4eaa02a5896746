"""What a training promises: the same losses however it is cut up, and no step on a NaN."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from model.tokenizer_training.state import StateError
from model.training import journal
from model.training.checkpoint import checkpoints
from model.training.journal import Journal, read_steps
from model.training.loop import Trainer
from model.training.recipe import stages
from model.vargpt.trainable import STAGES

MakeTrainer = Callable[..., Trainer]
RECIPE = ("steps=2", "save_every=1", "keep=2")  # of the finished training
FAST = ("edit",)


class Killed(BaseException):
    """As a signal would end a run."""


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in read_steps(out)]


def figures(out: Path) -> list[dict[str, float]]:
    """Return what was logged, but for speeds."""
    return [
        {name: of for name, of in line.items() if not name.startswith("speed")}
        for line in read_steps(out)
    ]


def weights(trainer) -> dict[str, torch.Tensor]:
    return {name: each.detach() for name, each in trainer.model.named_parameters()}


def assert_equal(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert some.keys() == others.keys()
    assert [name for name in some if not torch.equal(some[name], others[name])] == []


def kill_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    write = Journal.write

    def dying(self, number: int, found) -> None:
        write(self, number, found)
        if number == step:
            raise Killed

    monkeypatch.setattr(journal.Journal, "write", dying)


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 4))])
def test_killed_after_any_step_it_goes_on_to_the_same_losses_and_weights(
    make: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    unbroken = make(tmp_path / "unbroken", "save_every=2")
    unbroken.run()
    out = tmp_path / "killed"
    killed = make(out, "save_every=2")
    with monkeypatch.context() as patch:
        kill_after(patch, step)
        with pytest.raises(Killed):
            killed.run()
    resumed = make(out, "save_every=2")
    resumed.run()
    assert figures(out) == figures(tmp_path / "unbroken")
    assert_equal(weights(resumed), weights(unbroken))


def test_a_training_that_is_done_is_left_as_it_is(make: MakeTrainer, copied: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.glob("checkpoints/*/*")}
    again = make(copied, *RECIPE)
    again.run()
    assert again.step == 2
    assert before == {path: path.stat().st_mtime_ns for path in copied.glob("checkpoints/*/*")}
    assert len(losses(copied)) == 2


def test_micro_batches_come_to_what_the_large_batch_does(make, tmp_path: Path) -> None:
    """Answers differ in length, so a mean of means would be another loss."""
    make(tmp_path / "whole", "batch=4", "micro_batch=4").run()
    make(tmp_path / "parts", "batch=4", "micro_batch=1").run()
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)


def test_recomputed_activations_change_nothing(make: MakeTrainer, tmp_path: Path) -> None:
    kept = make(tmp_path / "kept", "steps=2", stage="edit")
    kept.run()
    recomputed = make(tmp_path / "recomputed", "steps=2", "checkpointing=true", stage="edit")
    recomputed.run()
    assert figures(tmp_path / "kept") == figures(tmp_path / "recomputed")
    assert_equal(weights(kept), weights(recomputed))


@pytest.mark.slow
def test_it_learns(make: MakeTrainer, tmp_path: Path) -> None:
    make(tmp_path, "steps=30", "batch=8", "micro_batch=8", stage="edit").run()
    first, last = losses(tmp_path)[0], losses(tmp_path)[-1]
    assert last < 0.7 * first


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(stage, marks=[] if stage in FAST else pytest.mark.slow)
        for stage in stages()
        if not stage.startswith("dpo")
    ],
)
def test_a_stage_moves_its_own_weights_and_no_other(make, tmp_path: Path, stage: str) -> None:
    trainer = make(tmp_path, "steps=2", "batch=4", "without_context=0.5", stage=stage)
    before = {name: of.clone() for name, of in weights(trainer).items()}
    trainer.run()
    moved = {name for name, of in weights(trainer).items() if not torch.equal(of, before[name])}
    own = {name for name in before if name.startswith(STAGES[stage])}  # type: ignore[index]
    assert moved <= own
    # Rows of what no sample of four has, and what only starts to matter later.
    assert len(moved) > 0.8 * len(own)


def test_a_nan_stops_before_the_step_and_names_it_and_the_samples(make, tmp_path: Path) -> None:
    trainer = make(tmp_path, "save_every=1")
    objective, seen = trainer._objective, []

    class Failing:
        def counts(self, batch):
            return objective.counts(batch)

        def __call__(self, model, batch, step):
            found = objective(model, batch, step)
            seen.append((step.number, batch.keys))
            if step.number < 2:
                return found
            return type(found)(total=found.total * float("nan"), scalars=found.scalars)

    trainer._objective = Failing()
    with pytest.raises(FloatingPointError, match="step 3: the loss is nan") as error:
        trainer.run()
    for number, keys in seen:
        assert (keys[0] in str(error.value)) == (number == 2)
    assert "step-00000002 is the last checkpoint" in str(error.value)
    assert all(torch.isfinite(each).all() for each in weights(trainer).values())


def test_an_infinite_gradient_stops_too(make: MakeTrainer, tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.model.decoder.head.weight.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(FloatingPointError, match=r"step 1: the norm of the gradient is (inf|nan)"):
        trainer.run()


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["lr=0.1"], "lr: 0.003 in the checkpoint, 0.1 here"),
        (["steps=9"], "steps: 2 in the checkpoint, 9 here"),
        (["streams=2"], "streams: 0 in the checkpoint, 2 here"),
    ],
)
def test_it_does_not_go_on_with_another_recipe(
    make: MakeTrainer, copied: Path, sets: Sequence[str], told: str
) -> None:
    with pytest.raises(StateError, match=re.escape(told)):
        make(copied, *RECIPE, *sets).run()


def test_what_losses_do_not_hang_on_may_change(make: MakeTrainer, copied: Path) -> None:
    make(copied, *RECIPE, "keep=5", "log_every=3", "checkpointing=true").run()


def test_the_next_stage_begins_with_the_weights_of_the_one_before(make, tmp_path: Path) -> None:
    before = make(tmp_path / "one", "steps=2", "save_every=1", "keep=1")
    before.run()
    assert [path.name for path in checkpoints(tmp_path / "one")] == ["step-00000002"]
    after = make(tmp_path / "two", stage="pretrain", init=tmp_path / "one")
    assert_equal(weights(after), weights(before))


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (
            ["batch=3", "micro_batch=1", "streams=2"],
            "batch 3: expected a multiple of micro_batch 1",
        ),
        (["batch=2", "micro_batch=2", "streams=2"], "micro_batch 2 x 2 streams"),
    ],
)
def test_a_batch_that_cannot_be_split_is_refused(make, tmp_path: Path, sets, told) -> None:
    with pytest.raises(ValueError, match=told):
        make(tmp_path, *sets)
