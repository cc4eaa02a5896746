"""Tasks exchange rows: each row arrives once, in the partition that it was sent to."""

import pickle
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.runtime.exchange import (
    FOLDER,
    Slice,
    Task,
    exchange_folder,
    partition_of,
    receive,
    send,
)
from schemas.store.storage import CorpusError, Storage


def table(numbers: Iterable[int]) -> pa.Table:
    return pa.table({"n": pa.array(numbers, pa.int64()), "text": [str(n) for n in numbers]})


def rows(numbers: Iterable[int], partitions: Iterable[int]) -> dict:
    return {"rows": (table(numbers), np.array(partitions, np.int64))}


def numbers_of(store: Storage, slices: Iterable[Slice]) -> list[int]:
    return [n for found in receive(store, slices).values() for n in found["n"].to_pylist()]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 3)), max_size=4), st.randoms())
def test_every_row_arrives_once_in_the_partition_it_was_sent_to(tmp_path_factory, sent_to, random):
    store = Storage(str(tmp_path_factory.mktemp("exchange")))
    written, expected = [], {}
    for sender, partitions in enumerate(sent_to):
        numbers = [100 * sender + place for place in range(len(partitions))]
        written += send(store, f"task-{sender}", rows(numbers, partitions))
        for number, partition in zip(numbers, partitions, strict=True):
            expected.setdefault(partition, []).append(number)
    random.shuffle(written)
    found = {
        partition: numbers_of(store, [part for to, part in written if to == partition])
        for partition in {to for to, _ in written}
    }
    assert found == expected  # and in the order of senders and of their rows


def test_a_task_that_is_run_again_publishes_the_same_bytes(tmp_path: Path):
    store = Storage(str(tmp_path))
    first = send(store, "task", rows(range(50), [n % 3 for n in range(50)]))
    before = {path.name: path.read_bytes() for path in (tmp_path / FOLDER).iterdir()}
    assert send(store, "task", rows(range(50), [n % 3 for n in range(50)])) == first
    assert {path.name: path.read_bytes() for path in (tmp_path / FOLDER).iterdir()} == before


def test_each_output_is_received_apart_and_an_empty_one_is_not_sent(tmp_path: Path):
    store = Storage(str(tmp_path))
    some = table([1, 2]), np.zeros(2, np.int64)
    none = table([]), np.zeros(0, np.int64)
    sent = send(store, "task", {"a": some, "b": some, "none": none})
    found = receive(store, [part for _, part in sent])
    assert {output: found[output]["n"].to_pylist() for output in found} == {
        "a": [1, 2],
        "b": [1, 2],
    }


def test_a_task_sends_the_outputs_of_its_function(tmp_path: Path):
    store = Storage(str(tmp_path))
    ((_, part),) = send(store, "before", rows([3, 4], [7, 7]))

    def doubled(tables):
        numbers = tables["rows"]["n"].to_numpy() * 2
        return {"doubled": (table(numbers.tolist()), np.array([1, 0]))}

    sent = Task(name="double", store=store, function=doubled)((7, [part]))
    assert [to for to, _ in sent] == [0, 1]
    assert [numbers_of(store, [part]) for _, part in sent] == [[8], [6]]


def test_the_size_of_a_slice_does_not_depend_on_its_rows(tmp_path: Path):
    long = pa.table({"text": ["x" * 100_000] * 50})
    ((_, part),) = send(Storage(str(tmp_path)), "task", {"a": (long, np.zeros(50, np.int64))})
    assert len(pickle.dumps(part)) < 300


def test_exchange_files_are_removed_after_success_and_after_failure(tmp_path: Path):
    store = Storage(str(tmp_path))
    send(store, "left-by-a-killed-build", rows([1], [0]))
    with exchange_folder(store):
        assert store.listing(FOLDER) == {}
        send(store, "task", rows([1], [0]))
    assert store.listing(FOLDER) == {}
    with pytest.raises(CorpusError, match="never"), exchange_folder(store):
        receive(store, [Slice("rows", f"{FOLDER}/never", 0, 1)])
    assert store.listing(FOLDER) == {}


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1), st.integers(1, 9))
def test_equal_rows_go_to_the_same_partition(words: list[int], partitions: int):
    column = np.array(words, np.uint64)
    found = partition_of([column, column], partitions)
    alone = [partition_of([column[i : i + 1]] * 2, partitions)[0] for i in range(len(words))]
    assert found.tolist() == alone
    assert set(found.tolist()) <= set(range(partitions))


def test_consecutive_words_are_spread_evenly_over_partitions():
    found = partition_of([np.arange(10_000, dtype=np.uint64)], 10)
    assert np.bincount(found).min() > 900
