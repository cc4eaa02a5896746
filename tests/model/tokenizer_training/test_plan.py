"""Which step is which, against counting them one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tokenizer_training.plan import Phase, Plan

phases = st.lists(
    st.builds(Phase, crop=st.just(64), batch=st.integers(1, 3), steps=st.integers(1, 5)),
    min_size=1,
    max_size=4,
)


@given(phases)
def test_every_step_belongs_to_the_phase_that_counting_finds(phases: list[Phase]) -> None:
    plan = Plan(phases=tuple(phases))
    counted = [(phase, number) for phase in phases for number in range(phase.steps)]
    assert [plan.phase_at(step) for step in range(plan.steps)] == counted
    with pytest.raises(ValueError, match="past the last phase"):
        plan.phase_at(plan.steps)


def test_the_learning_rate_rises_then_falls_to_a_hundredth() -> None:
    plan = Plan(phases=(Phase(crop=64, batch=1, steps=1100),), lr=2.0, warmup=100)
    assert plan.lr_at(0) == pytest.approx(0.02)
    assert plan.lr_at(99) == plan.lr_at(100) == 2.0
    assert plan.lr_at(600) == pytest.approx(1.01)
    assert plan.lr_at(1099) == pytest.approx(0.02, rel=0.01)


def test_a_plan_shorter_than_its_warm_up_has_learning_rates() -> None:
    plan = Plan(phases=(Phase(crop=64, batch=1, steps=3),), lr=1.0, warmup=100)
    assert [plan.lr_at(step) for step in range(3)] == pytest.approx([0.01, 0.02, 0.03])


@pytest.mark.parametrize("empty", ["crop", "batch", "steps"])
def test_a_phase_of_nothing_is_refused(empty: str) -> None:
    with pytest.raises(ValueError, match="expected 1 or more of each"):
        Phase(**{"crop": 64, "batch": 1, "steps": 1, empty: 0})
