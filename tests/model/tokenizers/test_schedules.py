import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.aspects import ASPECTS, nearest_aspect
from model.tokenizers.protocol import count_codes
from model.tokenizers.schedules import BUDGETS, bsq_schedule, double, pixel_size

# Infinity's own table, as its module builds it (FoundationVision/Infinity at commit 4c27bbb).
GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "golden/infinity_bsq/scale_schedules.json").read_text()
)
SIDE = st.integers(1, 20_000)


@pytest.mark.parametrize("resolution", BUDGETS)
@pytest.mark.parametrize("aspect", ASPECTS)
def test_the_table_is_that_of_infinity(aspect: float, resolution: int) -> None:
    golden = GOLDEN["table"][str(aspect)][BUDGETS[resolution]]
    schedule = bsq_schedule(aspect, resolution)
    assert [[1, *scale] for scale in schedule] == golden["image_scales"]
    assert list(pixel_size(aspect, resolution)) == golden["pixel_hw"]
    assert count_codes(schedule) == golden["n_tokens"]


def test_no_aspect_or_budget_of_infinity_is_missing() -> None:
    assert list(ASPECTS) == GOLDEN["h_div_w_templates"]
    assert {str(aspect) for aspect in ASPECTS} == set(GOLDEN["table"])
    for budgets in GOLDEN["table"].values():
        assert list(budgets) == list(BUDGETS.values())


def test_trial_runs_have_the_first_scales_alone() -> None:
    assert bsq_schedule(1.0, 128) == bsq_schedule(1.0, 256)[:5]
    assert pixel_size(1.0, 128) == (128, 128)


@pytest.mark.parametrize("resolution", BUDGETS)
def test_a_budget_is_named_by_the_side_of_its_square(resolution: int) -> None:
    assert pixel_size(1.0, resolution) == (resolution, resolution)


@pytest.mark.parametrize(
    ("resolution", "square", "fewest", "most"),
    [
        (256, 521, 451, 665),
        (512, 2521, 2521, 2814),
        (768, 6425, 6425, 7220),
        (1024, 10521, 10521, 11269),
    ],
)
def test_images_of_a_budget_have_about_as_many_codes(
    resolution: int, square: int, fewest: int, most: int
) -> None:
    counts = [count_codes(bsq_schedule(aspect, resolution)) for aspect in ASPECTS]
    assert (counts[0], min(counts), max(counts)) == (square, fewest, most)


def test_a_patchified_schedule_has_four_times_the_codes() -> None:
    schedule = bsq_schedule(1.0, 256)
    assert [side for side, _ in double(schedule)] == [2, 4, 8, 12, 16, 24, 32]
    assert count_codes(double(schedule)) == 2084


@given(SIDE, SIDE)
def test_the_nearest_aspect_is_that_of_a_brute_force_search(height: int, width: int) -> None:
    ratio = height / width
    best = ASPECTS[0]
    for aspect in ASPECTS[1:]:
        if abs(ratio - aspect) < abs(ratio - best):
            best = aspect
    assert nearest_aspect(height, width) == best


@given(SIDE, SIDE)
def test_rounding_chooses_no_aspect_that_is_further_off(height: int, width: int) -> None:
    ratio = Fraction(height, width)
    off = [float(abs(ratio - Fraction(aspect))) for aspect in ASPECTS]
    assert off[ASPECTS.index(nearest_aspect(height, width))] <= min(off) + 1e-9


@pytest.mark.parametrize(
    ("height", "width", "aspect"),
    [
        (1124, 1000, 1.0),
        (1125, 1000, 1.0),  # as far from 1.25
        (1126, 1000, 1.25),
        (13, 8, 1.5),  # as far from 1.75
        (15, 8, 1.75),  # as far from 2.0
        (9, 4, 2.0),  # as far from 2.5
        (11, 4, 2.5),  # as far from 3.0
        (1, 3000, 0.333),
        (3000, 1, 3.0),
    ],
)
def test_a_tie_goes_to_the_aspect_listed_first(height: int, width: int, aspect: float) -> None:
    assert nearest_aspect(height, width) == aspect


def test_the_rule_treats_an_image_and_the_same_image_turned_differently() -> None:
    assert nearest_aspect(900, 1000) == 1.0
    assert nearest_aspect(1000, 899) == 1.0
    assert nearest_aspect(899, 1000) == 0.8


@pytest.mark.parametrize("aspect", [1.1, 0.667, 1.3333, 0.0, float("nan")])
def test_an_unknown_aspect_is_refused_with_the_known_ones(aspect: float) -> None:
    with pytest.raises(ValueError, match=rf"unknown aspect {aspect} .* 0\.666, 1\.75,"):
        bsq_schedule(aspect, 256)
    with pytest.raises(ValueError, match="unknown aspect"):
        pixel_size(aspect, 256)


@pytest.mark.parametrize("resolution", [0, 255, 257, 320, 2048])
def test_an_unknown_resolution_is_refused_with_the_known_ones(resolution: int) -> None:
    message = rf"unknown resolution {resolution}, expected one of \[128, 256, 512, 768, 1024\]"
    with pytest.raises(ValueError, match=message):
        bsq_schedule(1.0, resolution)


@pytest.mark.parametrize(("height", "width"), [(0, 1), (1, 0), (-1, 1)])
def test_an_image_without_pixels_has_no_aspect(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"got height {height}, width {width}"):
        nearest_aspect(height, width)
