"""Rows that tasks exchange: each arrives once, where it was sent, whoever reads it and when."""

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
    sent, expected = [], {}
    for sender, partitions in enumerate(sent_to):
        numbers = [100 * sender + place for place in range(len(partitions))]
        sent += send(store, f"task-{sender}", rows(numbers, partitions))
        for number, partition in zip(numbers, partitions, strict=True):
            expected.setdefault(partition, []).append(number)
    random.shuffle(sent)
    found = {
        partition: numbers_of(store, [part for to, part in sent if to == partition])
        for partition in {to for to, _ in sent}
    }
    assert found == expected  # and in the order of senders and of their rows


def test_a_task_that_is_run_again_publishes_the_same_bytes(tmp_path: Path):
    store = Storage(str(tmp_path))
    first = send(store, "task", rows(range(50), [n % 3 for n in range(50)]))
    before = {path.name: path.read_bytes() for path in (tmp_path / FOLDER).iterdir()}
    assert send(store, "task", rows(range(50), [n % 3 for n in range(50)])) == first
    assert {path.name: path.read_bytes() for path in (tmp_path / FOLDER).iterdir()} == before


def test_outputs_are_told_apart_and_nothing_is_sent_of_no_rows(tmp_path: Path):
    store = Storage(str(tmp_path))
    some = table([1, 2]), np.zeros(2, np.int64)
    none = table([]), np.zeros(0, np.int64)
    sent = send(store, "task", {"a": some, "b": some, "none": none})
    found = receive(store, [part for _, part in sent])
    assert {output: found[output]["n"].to_pylist() for output in found} == {
        "a": [1, 2],
        "b": [1, 2],
    }


def test_a_task_sends_on_what_its_function_makes_of_what_it_got(tmp_path: Path):
    store = Storage(str(tmp_path))
    ((_, part),) = send(store, "before", rows([3, 4], [7, 7]))

    def doubled(tables):
        numbers = tables["rows"]["n"].to_numpy() * 2
        return {"doubled": (table(numbers.tolist()), np.array([1, 0]))}

    sent = Task(name="double", store=store, function=doubled)((7, [part]))
    assert [to for to, _ in sent] == [0, 1]
    assert [numbers_of(store, [part]) for _, part in sent] == [[8], [6]]


def test_slices_stay_small_whatever_rows_hold(tmp_path: Path):
    long = pa.table({"text": ["x" * 100_000] * 50})
    ((_, part),) = send(Storage(str(tmp_path)), "task", {"a": (long, np.zeros(50, np.int64))})
    assert len(pickle.dumps(part)) < 300


def test_no_exchange_file_is_left_whether_the_job_ends_or_fails(tmp_path: Path):
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
def test_equal_rows_go_to_one_partition_wherever_they_stand(words: list[int], partitions: int):
    column = np.array(words, np.uint64)
    found = partition_of([column, column], partitions)
    alone = [partition_of([column[i : i + 1]] * 2, partitions)[0] for i in range(len(words))]
    assert found.tolist() == alone
    assert set(found.tolist()) <= set(range(partitions))


def test_rows_are_spread_evenly_even_where_their_words_are_consecutive():
    found = partition_of([np.arange(10_000, dtype=np.uint64)], 10)
    assert np.bincount(found).min() > 900
