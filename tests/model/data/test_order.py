"""The order of an epoch, against the plain statement of what it must be."""

from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.order import Shuffle, permutation, random_words, windows

SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=8)
SHUFFLES = st.builds(
    Shuffle, open_shards=st.integers(1, 4), block=st.integers(1, 5), window=st.integers(1, 9)
)


def places(sizes, span, shuffle, salt=("seed", 0), start=0) -> list[tuple[int, int]]:
    found = windows(sizes, span, shuffle=shuffle, salt=salt, start=start)
    return [
        place
        for window in found
        for place in zip(window.shards_n.tolist(), window.rows_n.tolist(), strict=True)
    ]


@settings(max_examples=50)
@given(SIZES, SHUFFLES)
def test_an_epoch_holds_every_sample_once(sizes: list[int], shuffle: Shuffle) -> None:
    everything = [(shard, row) for shard, size in enumerate(sizes) for row in range(size)]
    assert sorted(places(sizes, range(sum(sizes)), shuffle)) == everything


@settings(max_examples=50)
@given(SIZES, SHUFFLES, st.data())
def test_any_cut_into_spans_holds_every_sample_once(sizes, shuffle, data) -> None:
    total = sum(sizes)
    cuts = sorted({0, total, *data.draw(st.lists(st.integers(0, total), max_size=4))})
    parts = [places(sizes, range(low, high), shuffle) for low, high in pairwise(cuts)]
    assert [len(part) for part in parts] == [high - low for low, high in pairwise(cuts)]
    assert sorted(chain(*parts)) == sorted(places(sizes, range(total), shuffle))


@settings(max_examples=50)
@given(SIZES, SHUFFLES, st.data())
def test_started_anywhere_it_goes_on_as_the_unbroken_order_does(sizes, shuffle, data) -> None:
    span = range(sum(sizes))
    start = data.draw(st.integers(0, len(span)))
    assert places(sizes, span, shuffle, start=start) == places(sizes, span, shuffle)[start:]
    positions = [w.start for w in windows(sizes, span, shuffle=shuffle, salt=(), start=start)]
    assert positions[:1] == ([start] if start < len(span) else [])


@settings(max_examples=50)
@given(SIZES, SHUFFLES)
def test_windows_are_runs_of_blocks_of_adjacent_samples(sizes, shuffle) -> None:
    for window in windows(sizes, range(sum(sizes)), shuffle=shuffle, salt=()):
        assert 1 <= len(window) <= shuffle.window
        runs = sum(
            1
            for one, other in pairwise(sorted(zip(window.shards_n, window.rows_n, strict=True)))
            if (one[0], one[1] + 1) != other
        )
        whole = sum(-(-size // shuffle.block) for size in sizes)
        assert runs <= min(whole, -(-len(window) // shuffle.block) + 1 + len(sizes))


def test_seed_and_epoch_decide_the_order() -> None:
    sizes, span, shuffle = [40, 30, 50], range(120), Shuffle(block=4, window=16)
    first = places(sizes, span, shuffle, (0, 0))
    assert first == places(sizes, span, shuffle, (0, 0))
    orders = [places(sizes, span, shuffle, salt) for salt in ((0, 1), (1, 0), (0, 2))]
    for other in orders:
        assert sum(one == two for one, two in zip(first, other, strict=True)) < 20


def test_a_window_holds_samples_of_several_shards() -> None:
    sizes = [64] * 16
    found = list(windows(sizes, range(1024), shuffle=Shuffle(block=8, window=128), salt=(0,)))
    assert all(len(set(window.shards_n.tolist())) > 6 for window in found)


def test_only_so_many_shards_are_open_at_a_time() -> None:
    shuffle = Shuffle(open_shards=4, block=2, window=8)
    order = [shard for shard, _ in places([10] * 12, range(120), shuffle)]
    assert all(len(set(order[first : first + 40])) == 4 for first in (0, 40, 80))


def test_the_random_words_are_those_of_philox_and_never_change() -> None:
    assert random_words(2, "seed", 1).tolist() == [11683376019728896239, 4320646311453985437]
    assert permutation(8, 0, "shards").tolist() == [2, 1, 3, 4, 0, 5, 7, 6]


def test_permutations_are_even() -> None:
    firsts = np.bincount([permutation(4, number)[0] for number in range(400)], minlength=4)
    assert firsts.min() > 70


@pytest.mark.parametrize("field", ["open_shards", "block", "window"])
def test_a_shuffle_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="expected 1 or more everywhere"):
        Shuffle(**{field: 0})
