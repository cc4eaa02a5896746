import cmath
import itertools

import pytest
import torch

from filters.aspects import ASPECTS
from model.tokenizers.protocol import Schedule
from model.tokenizers.schedules import BUDGETS, bsq_schedule
from model.vargpt.rope2d import reference_grid, rotation


def turned(x: list[float], row: float, column: float) -> list[float]:
    """Turn one head's channels by brute force, each pair as a complex number."""
    half = len(x) // 2
    values: list[float] = []
    for start, place in ((0, row), (half, column)):
        for pair in range(half // 2):
            angle = place / 10000 ** (2 * pair / half)
            number = complex(x[start + 2 * pair], x[start + 2 * pair + 1]) * cmath.rect(1, angle)
            values += [number.real, number.imag]
    return values


@pytest.mark.parametrize("schedule", [bsq_schedule(1.25, 256), ((1, 1), (2, 3), (4, 5))])
def test_positions_turn_as_by_brute_force(schedule: Schedule) -> None:
    rows, columns = reference_grid(schedule)
    places = [
        (round(row * rows / height), round(column * columns / width))
        for height, width in schedule
        for row, column in itertools.product(range(height), range(width))
    ]
    x = torch.randn(len(places), 16, generator=torch.Generator().manual_seed(0))
    expected = [turned(x_W.tolist(), *place) for x_W, place in zip(x, places, strict=True)]
    torch.testing.assert_close(rotation(schedule, 16)(x), torch.tensor(expected))


def test_scores_depend_on_distances_on_the_plane_alone() -> None:
    turn = rotation(((1, 1), (7, 7)), 32)[1:]
    q, k = torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(0)).expand(-1, 49, -1)
    scores = (turn(q) @ turn(k).T).view(7, 7, 7, 7)
    torch.testing.assert_close(scores[2, 3, 5, 1], scores[0, 4, 3, 2])
    assert (scores[2, 3, 5, 1] - scores[2, 3, 1, 5]).abs() > 1e-3


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("resolution", BUDGETS)
def test_every_resolution_of_an_aspect_has_the_frame_of_1024_px(
    aspect: float, resolution: int
) -> None:
    assert reference_grid(bsq_schedule(aspect, resolution)) == bsq_schedule(aspect, 1024)[-1]


def test_halves_round_to_even() -> None:
    # 17.5 and 52.5 rows; the published table has 18 and 52.
    angles = rotation(bsq_schedule(1.25, 256), 4)
    rows = torch.atan2(angles.sin_LP[:, 0], angles.cos_LP[:, 0])
    expected = torch.tensor([70 / 20 * 5, 70 / 20 * 15]).round()
    assert expected.tolist() == [18.0, 52.0]
    start = sum(h * w for h, w in bsq_schedule(1.25, 256)[:-1])
    found = rows[[start + 5 * 16, start + 15 * 16]]
    torch.testing.assert_close(found, torch.atan2(expected.sin(), expected.cos()))
