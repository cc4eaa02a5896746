"""Which samples come next, against the plain statement of what the order must be."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.manifest import DataError, ShardFile, Source
from model.data.order import (
    LoaderState,
    ReadTask,
    ReadTasks,
    Waiting,
    drawn,
    mixture,
    permutation,
    random_words,
    windows,
)
from model.data.plan import LoadPlan, Shuffle, node_span
from model.data.sources import OpenSource

SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=8)
SOME = SIZES.filter(sum)
SHUFFLES = st.builds(
    Shuffle, open_shards=st.integers(1, 4), block=st.integers(1, 5), window=st.integers(1, 9)
)
WEIGHTS = st.lists(st.floats(0.01, 100), min_size=1, max_size=5)
ORDER = {"seed": 0, "node": "0 of 2", "sources": [{"shards": "ab", "samples": 3}]}
Place = tuple[int, int, int]  # source, shard, row


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


@given(WEIGHTS, st.integers(1, 400))
def test_shares_are_kept_at_every_moment(weights: list[float], draws: int) -> None:
    endless = [None] * len(weights)
    drawn = list(islice(mixture([0] * len(weights), weights, endless), draws))
    for number, weight in enumerate(weights):
        share = draws * weight / sum(weights)
        assert abs(drawn.count(number) - share) <= len(weights) / 2 + 0.5


@settings(max_examples=200)
@given(WEIGHTS, st.integers(0, 500))
def test_numbers_drawn_of_a_total_are_those_of_drawing_one_by_one(
    weights: list[float], total: int
) -> None:
    one_by_one = islice(mixture([0] * len(weights), weights, [None] * len(weights)), total)
    counts = Counter(one_by_one)
    assert drawn(weights, total) == [counts[number] for number in range(len(weights))]


@given(WEIGHTS, st.integers(0, 100), st.integers(0, 50))
def test_a_mixture_goes_on_from_the_numbers_drawn(
    weights: list[float], before: int, after: int
) -> None:
    endless, none = [None] * len(weights), [0] * len(weights)
    unbroken = list(islice(mixture(none, weights, endless), before + after))
    taken = [unbroken[:before].count(number) for number in range(len(weights))]
    assert list(islice(mixture(taken, weights, endless), after)) == unbroken[before:]


def test_sources_end_at_their_limits_and_the_others_keep_their_proportions() -> None:
    drawn = list(mixture([0, 0, 0], [10, 2, 1], [5, 40, 20]))
    assert [drawn.count(number) for number in range(3)] == [5, 40, 20]
    assert [drawn[20:].count(number) for number in range(3)] == [0, 30, 15]


def test_a_source_that_is_at_its_limit_gives_nothing() -> None:
    assert list(mixture([3], [1], [3])) == []


def jobs_of(
    sources: Sequence[Sequence[int]], *, taken=None, waiting=(), weights=None, **fields
) -> ReadTasks:
    listed = [
        Source(url=str(number), weight=weight)
        for number, weight in enumerate(weights or [1.0] * len(sources))
    ]
    opened = [
        OpenSource(
            source=source,
            shards=tuple(ShardFile(path="", bytes=0, sha256="", samples=size) for size in sizes),
            content=source.url,
            samples=sum(sizes),
            span=node_span(sum(sizes), fields.get("node", 0), fields.get("nodes", 1)),
            codes=None,
        )
        for source, sizes in zip(listed, sources, strict=True)
    ]
    plan = LoadPlan(sources=tuple(listed), batch=1, **fields)
    return ReadTasks(
        opened,
        plan,
        LoaderState(order={}, taken=taken or (0,) * len(sources), waiting=waiting),
    )


def places_of(tasks: Sequence[ReadTask]) -> Iterator[Place]:
    for task in tasks:
        for shard, row in zip(task.window.shards_n, task.window.rows_n, strict=True):
            yield task.source, int(shard), int(row)


def read_by(tasks: ReadTasks) -> list[Place]:
    """Return the places in the order that the mixture draws them in, as the loader does."""
    found: dict[int, list[Place]] = {}
    for place in places_of(list(tasks)):
        found.setdefault(place[0], []).append(place)
    streams = {source: iter(of) for source, of in found.items()}
    return [next(streams[source]) for source in tasks.draws()]


@settings(max_examples=40)
@given(SOME, SHUFFLES, st.integers(1, 8), st.integers(1, 4), st.integers(1, 5))
def test_nodes_and_workers_read_every_sample_once_an_epoch(
    sizes: list[int], shuffle: Shuffle, nodes: int, epochs: int, workers: int
) -> None:
    nodes = min(nodes, sum(sizes))
    everything = [(0, shard, row) for shard, size in enumerate(sizes) for row in range(size)]
    read_by_all: Counter[Place] = Counter()
    for node in range(nodes):
        all_jobs = list(jobs_of([sizes], shuffle=shuffle, node=node, nodes=nodes, epochs=epochs))
        for worker in range(workers):  # as DataLoader hands them out
            read_by_all.update(places_of(all_jobs[worker::workers]))
    assert read_by_all == Counter(everything * epochs)


@settings(max_examples=40)
@given(st.lists(SOME, min_size=1, max_size=3), SHUFFLES, st.data())
def test_from_any_sample_on_the_rest_is_that_of_the_unbroken_run(sources, shuffle, data) -> None:
    fields = {"shuffle": shuffle, "epochs": 2, "weights": [3.0, 1.0, 0.5][: len(sources)]}
    unbroken = read_by(jobs_of(sources, **fields))
    cut = data.draw(st.integers(0, len(unbroken)))
    drawn = Counter(source for source, _, _ in unbroken[:cut])
    taken = tuple(drawn[number] for number in range(len(sources)))
    assert read_by(jobs_of(sources, taken=taken, **fields)) == unbroken[cut:]


@settings(max_examples=40)
@given(SOME, SHUFFLES, st.data())
def test_samples_that_wait_are_read_first(sizes, shuffle, data) -> None:
    unbroken = read_by(jobs_of([sizes], shuffle=shuffle, epochs=2))
    positions = data.draw(st.lists(st.integers(0, len(unbroken) - 1), max_size=4))
    waiting = tuple(Waiting(source=0, position=each, bucket=0) for each in positions)
    tasks = jobs_of([sizes], shuffle=shuffle, epochs=2, waiting=waiting)
    first = list(islice(tasks, len(waiting)))
    assert [len(task.window) for task in first] == [1] * len(waiting)
    assert list(places_of(first)) == [unbroken[position] for position in positions]
    assert [task.epoch for task in first] == [each // sum(sizes) for each in positions]


def test_epochs_have_orders_of_their_own_and_never_end_unless_told_to() -> None:
    tasks = iter(jobs_of([[50, 40]], shuffle=Shuffle(block=5, window=10)))
    found = list(islice(places_of(list(islice(tasks, 27))), 270))
    epochs = [found[first : first + 90] for first in (0, 90, 180)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def saved(**changes) -> dict:
    waiting = (Waiting(source=0, position=4, bucket=1),)
    state = LoaderState(order=ORDER, taken=(7,), waiting=waiting, seen=7, bad=1)
    return json.loads(json.dumps(state.model_dump(mode="json"))) | changes


def test_a_state_comes_back_from_json() -> None:
    assert LoaderState.load(saved(), ORDER).model_dump(mode="json") == saved()


def test_a_state_of_another_order_is_refused_with_both_sides() -> None:
    other = ORDER | {"node": "1 of 3", "seed": 5}
    expected = "node: '0 of 2' in the checkpoint, '1 of 3' here; seed: 0 in the checkpoint, 5 here"
    with pytest.raises(DataError, match=expected):
        LoaderState.load(saved(), other)


@pytest.mark.parametrize("changes", [{"taken": "seven"}, {"taken": [1], "more": 2}])
def test_what_is_no_state_is_refused(changes: dict) -> None:
    with pytest.raises(DataError, match="the loader's state in the checkpoint"):
        LoaderState.load(saved(**changes), ORDER)
