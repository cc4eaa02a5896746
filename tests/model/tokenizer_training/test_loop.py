"""The loop: it learns, it goes on where it was killed, and it stops at what is not finite."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from model.tokenizer_training.loop import Averaged, Trainer
from model.tokenizer_training.objectives import LossWeights
from model.tokenizer_training.plan import Phase, Plan
from model.tokenizer_training.state import STATE, StateError, read_state
from model.tokenizer_training.trainee import Trainee

# The loop knows nothing of the kind of tokenizer; slow tests train both.
one_kind = pytest.mark.parametrize("trainee", ["infinity_bsq"], indirect=True)

Discs = Callable[[int, int], NDArray[np.uint8]]


@pytest.fixture
def train(trainee: Trainee, discs: Discs, tmp_path: Path) -> Callable[..., Trainer]:
    """Return a function that makes a trainer of 8 discs, 4 a batch, in a folder of that name."""
    drawn = {side: discs(8, side) for side in (64, 128)}

    def make(folder: str, plan: Plan, fingerprint: str = "f", **options: Any) -> Trainer:
        def batches(crop: int, size: int, start: int) -> Iterator[NDArray[np.uint8]]:
            for number in count(start):
                yield drawn[crop][[(number * size + i) % 8 for i in range(size)]]

        (tmp_path / folder).mkdir(exist_ok=True)
        return Trainer(
            trainee.objective(LossWeights(), plan.seed),
            plan,
            batches,
            trainee.schedule,
            folder=tmp_path / folder,
            fingerprint=fingerprint,
            **options,
        )

    return make


def short(**changes: Any) -> Plan:
    phases = (Phase(crop=64, batch=2, steps=4), Phase(crop=128, batch=1, steps=2))
    return Plan(**{"phases": phases, "save_every": 1, "warmup": 2, **changes})


@pytest.mark.slow
def test_a_few_dozen_steps_draw_clearly_better(
    train: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.tokenizer_training.loop.REPORT_EVERY", 1)
    plan = Plan(phases=(Phase(crop=64, batch=4, steps=40),), lr=3e-3, warmup=5)
    trainer = train("run", plan)
    trainer.run()
    psnr = [line["psnr"] for line in trainer.curve]
    assert np.mean(psnr[-5:]) > np.mean(psnr[:5]) + 2  # dB


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", [1, 4, 5])  # in a phase, between two, in the next
def test_a_run_killed_after_any_step_ends_with_the_same_weights(
    killed_after: int, train: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train("whole", short()).run()
    step = Trainer._train

    def dying(self: Trainer, *arguments: Any) -> None:
        if self.step == killed_after:
            raise KeyboardInterrupt
        step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train", dying)
        with pytest.raises(KeyboardInterrupt):
            train("killed", short()).run()
    resumed = train("killed", short())
    again = resumed.run()
    assert resumed.step == 6
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[key], again[key]) for key in whole)


@one_kind
def test_a_run_that_is_done_is_not_trained_again(train: Callable[..., Trainer]) -> None:
    first = train("run", short()).run()
    again = train("run", short())
    again._batches = None  # type: ignore[assignment]  # not asked for any
    assert all(torch.equal(first[key], x) for key, x in again.run().items())


@one_kind
def test_what_was_unreadable_before_is_known_to_a_run_that_goes_on(
    train: Callable[..., Trainer],
) -> None:
    train("run", short(), unreadable={"a.png": "torn"}).run()
    known: dict[str, str] = {}
    train("run", short(), unreadable=known).run()
    assert known == {"a.png": "torn"}


@one_kind
def test_a_state_of_another_run_is_not_gone_on_with(train: Callable[..., Trainer]) -> None:
    train("run", short()).run()
    with pytest.raises(StateError, match="made with another plan, tokenizer or other images"):
        train("run", short(), fingerprint="g").run()


@one_kind
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_run_and_keeps_the_state_before(
    what: str, train: Callable[..., Trainer], tmp_path: Path
) -> None:
    calls = count()

    def distance(drawn: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        if next(calls) < 2:
            return drawn.mean()
        # The root of 0 is 0, and how steep it is there is not finite.
        return (drawn - drawn).abs().sum().sqrt() if what == "gradient" else drawn.sum() / 0

    with pytest.raises(FloatingPointError, match=rf"step 2: the {what} is .*is the last state"):
        train("run", short(), perceptual=distance).run()
    state = read_state(tmp_path / "run" / STATE)
    assert state.step == 2
    assert all(torch.isfinite(x).all() for x in state.network.values())


@one_kind
def test_nothing_saved_yet_is_said(train: Callable[..., Trainer]) -> None:
    with pytest.raises(FloatingPointError, match="nothing was saved"):
        train("run", short(), perceptual=lambda a, b: a.sum() * torch.inf).run()


def test_averaged_weights_follow_and_forget_the_start() -> None:
    network = nn.Linear(1, 1)
    nn.init.zeros_(network.weight)
    averaged = Averaged(network, decay=0.5)
    nn.init.ones_(network.weight)
    averaged.update(network, 1)  # keeps 2 / 11, less than a half
    assert averaged.state["weight"].item() == pytest.approx(9 / 11)
    averaged.update(network, 1000)
    assert averaged.state["weight"].item() == pytest.approx(10 / 11)
    assert network.weight.item() == 1
