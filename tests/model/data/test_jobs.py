"""What nodes and workers read, against the plain statement: every sample of an epoch, once."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.jobs import Job, Jobs
from model.data.making import OpenSource
from model.data.manifest import ShardFile, Source
from model.data.order import Shuffle
from model.data.plan import LoadPlan
from model.data.split import node_span
from model.data.state import LoaderState, Waiting

SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(sum)
SHUFFLES = st.builds(
    Shuffle, open_shards=st.integers(1, 4), block=st.integers(1, 4), window=st.integers(1, 6)
)
Place = tuple[int, int, int]  # source, shard, row


def jobs_of(
    sources: Sequence[Sequence[int]], *, taken=None, waiting=(), weights=None, **fields
) -> Jobs:
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
    return Jobs(
        opened,
        plan,
        LoaderState(order={}, taken=taken or (0,) * len(sources), waiting=waiting),
    )


def places(jobs: Sequence[Job]) -> Iterator[Place]:
    for job in jobs:
        for shard, row in zip(job.window.shards_n, job.window.rows_n, strict=True):
            yield job.source, int(shard), int(row)


def read(jobs: Jobs) -> list[Place]:
    """Return the places in the order that the mixture draws them in, as the loader does."""
    found: dict[int, list[Place]] = {}
    for place in places(list(jobs)):
        found.setdefault(place[0], []).append(place)
    streams = {source: iter(of) for source, of in found.items()}
    return [next(streams[source]) for source in jobs.draws()]


@settings(max_examples=40)
@given(SIZES, SHUFFLES, st.integers(1, 8), st.integers(1, 4), st.integers(1, 5))
def test_nodes_and_workers_read_every_sample_once_an_epoch(
    sizes: list[int], shuffle: Shuffle, nodes: int, epochs: int, workers: int
) -> None:
    nodes = min(nodes, sum(sizes))
    everything = [(0, shard, row) for shard, size in enumerate(sizes) for row in range(size)]
    read_by_all: Counter[Place] = Counter()
    for node in range(nodes):
        all_jobs = list(jobs_of([sizes], shuffle=shuffle, node=node, nodes=nodes, epochs=epochs))
        for worker in range(workers):  # as DataLoader hands them out
            read_by_all.update(places(all_jobs[worker::workers]))
    assert read_by_all == Counter(everything * epochs)


@settings(max_examples=40)
@given(st.lists(SIZES, min_size=1, max_size=3), SHUFFLES, st.data())
def test_from_any_sample_on_the_rest_is_that_of_the_unbroken_run(sources, shuffle, data) -> None:
    fields = {"shuffle": shuffle, "epochs": 2, "weights": [3.0, 1.0, 0.5][: len(sources)]}
    unbroken = read(jobs_of(sources, **fields))
    cut = data.draw(st.integers(0, len(unbroken)))
    drawn = Counter(source for source, _, _ in unbroken[:cut])
    taken = tuple(drawn[number] for number in range(len(sources)))
    assert read(jobs_of(sources, taken=taken, **fields)) == unbroken[cut:]


@settings(max_examples=40)
@given(SIZES, SHUFFLES, st.data())
def test_samples_that_wait_are_read_first(sizes, shuffle, data) -> None:
    unbroken = read(jobs_of([sizes], shuffle=shuffle, epochs=2))
    positions = data.draw(st.lists(st.integers(0, len(unbroken) - 1), max_size=4))
    waiting = tuple(Waiting(source=0, position=each, bucket=0) for each in positions)
    jobs = jobs_of([sizes], shuffle=shuffle, epochs=2, waiting=waiting)
    first = list(islice(jobs, len(waiting)))
    assert [len(job.window) for job in first] == [1] * len(waiting)
    assert list(places(first)) == [unbroken[position] for position in positions]
    assert [job.epoch for job in first] == [each // sum(sizes) for each in positions]


def test_epochs_have_orders_of_their_own_and_never_end_unless_told_to() -> None:
    jobs = iter(jobs_of([[50, 40]], shuffle=Shuffle(block=5, window=10)))
    found = list(islice(places(list(islice(jobs, 27))), 270))
    epochs = [found[first : first + 90] for first in (0, 90, 180)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
