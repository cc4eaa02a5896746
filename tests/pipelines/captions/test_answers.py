import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from filters.captioner import Answer
from pipelines.captions.answers import FLUSH_ANSWERS, Answers, shared_path, storable
from schemas.store.storage import CorpusError, Storage


def answer(number: int, text: str = "") -> Answer:
    return Answer(
        digest=f"{number:032x}",
        status="answered",
        text=text or f"caption {number}",
        finish_reason="stop",
        prompt_tokens=7,
        completion_tokens=3,
        model="m",
    )


EVERY = [answer(number).digest for number in range(9)]
TIMEOUT_S = 60


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.005)


def answers_of(store: Storage, **parts: object) -> Answers:
    made = Answers(store=store, shard=3, **parts)  # type: ignore[arg-type]
    made.find([])
    return made


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"))


def test_answers_are_found_after_they_were_flushed(store: Storage) -> None:
    first = answers_of(store)
    for number in range(5):
        first.add(answer(number))
    digests = [answer(number).digest for number in range(6)]
    assert Answers(store=store, shard=3).find(digests) == {}
    first.flush()
    found = Answers(store=store, shard=3).find(digests)
    assert found == {answer(n).digest: answer(n) for n in range(5)}
    assert Answers(store=store, shard=4).find(digests) == {}


def test_many_answers_are_written_at_once(store: Storage) -> None:
    made = answers_of(store)
    for number in range(FLUSH_ANSWERS - 1):
        made.add(answer(number))
    assert not store.listing("answers/00003")
    made.add(answer(FLUSH_ANSWERS))
    assert len(store.listing("answers/00003")) == 1
    assert len(Answers(store=store, shard=3).find([answer(n).digest for n in range(99)])) == 99


def test_an_answer_is_written_though_no_other_comes(store: Storage) -> None:
    made = answers_of(store, flush_s=0.01)
    for number in range(2):
        made.add(answer(number))
        eventually(lambda n=number: len(Answers(store=store, shard=3).find(EVERY)) == n + 1)


def test_without_a_timer_answers_wait_until_they_are_flushed(store: Storage) -> None:
    made = answers_of(store, flush_s=None)
    made.add(answer(0))
    assert made._timer is None
    assert not store.listing("answers/00003")
    made.flush()
    assert len(Answers(store=store, shard=3).find(EVERY)) == 1


def test_what_the_timer_could_not_write_is_written_with_the_next_answer(
    store: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def fails(self: Storage, path: str, body: bytes) -> None:
        tried.set()
        raise OSError("the store is away")

    made = answers_of(store, flush_s=0.01)
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "commit_bytes", fails)
        made.add(answer(0))
        assert tried.wait(TIMEOUT_S)
        eventually(lambda: made._is_late)
        with pytest.raises(OSError, match="the store is away"):
            made.add(answer(1))
    made.add(answer(2))
    assert len(Answers(store=store, shard=3).find(EVERY)) == 3


def test_of_two_answers_to_one_request_every_reader_takes_the_same(store: Storage) -> None:
    for text in ("one", "other", "third"):
        made = Answers(store=store, shard=3)
        made._known = {}  # as an attempt that began before the others wrote
        made.add(answer(1, text))
        made.flush()
    texts = {Answers(store=store, shard=3).find([answer(1).digest])[answer(1).digest].text}
    [name, *_] = sorted(store.listing("answers/00003"))
    assert len(store.listing("answers/00003")) == 3
    assert texts == {Answers(store=store, shard=3).find([answer(1).digest])[answer(1).digest].text}
    assert name


def test_a_shared_folder_pays_for_a_second_corpus(store: Storage, tmp_path: Path) -> None:
    shared = Storage(str(tmp_path / "shared"))
    first = answers_of(store, shared=shared)
    first.add(answer(1))
    first.flush()
    other = Storage(str(tmp_path / "other"))
    second = Answers(store=other, shard=9, shared=shared)
    assert second.find([answer(1).digest, answer(2).digest]) == {answer(1).digest: answer(1)}
    second.flush()
    # The corpus has it of its own from now on.
    assert Answers(store=other, shard=9).find([answer(1).digest])


def test_files_of_others_are_left_alone_and_damaged_ones_named(store: Storage) -> None:
    made = answers_of(store)
    made.add(answer(1))
    made.flush()
    store.commit_bytes("answers/00003/notes.txt", b"mine")
    assert Answers(store=store, shard=3).find([answer(1).digest])
    [name] = [name for name in store.listing("answers/00003") if name.endswith(".parquet")]
    store.commit_bytes(f"answers/00003/{name}", b"PAR1 and no more")
    with pytest.raises(CorpusError, match=name):
        Answers(store=store, shard=3).find([answer(1).digest])


def test_an_answer_to_another_request_is_an_error(store: Storage, tmp_path: Path) -> None:
    shared = Storage(str(tmp_path / "shared"))
    first = answers_of(store, shared=shared)
    first.add(answer(1))
    first.flush()
    body = shared.read(shared_path(answer(1).digest))
    shared.commit_bytes(shared_path(answer(2).digest), body)
    with pytest.raises(CorpusError, match="has the answer to"):
        answers_of(Storage(str(tmp_path / "x")), shared=shared).find([answer(2).digest])


def test_values_that_no_column_holds_become_some_that_it_does(store: Storage) -> None:
    strange = replace(answer(1, "half a \ud83d face"), prompt_tokens=2**40)
    made = answers_of(store)
    made.add(storable(strange))
    made.flush()
    [found] = Answers(store=store, shard=3).find([answer(1).digest]).values()
    assert found == storable(strange)
    assert (found.text, found.prompt_tokens) == ("half a ? face", 2**31 - 1)


@pytest.mark.parametrize("body", [b"", b"[", b"{}", b'{"digest": 1}', b'{"status": "zzz"}'])
def test_a_damaged_answer_of_a_shared_folder_is_named(
    store: Storage, tmp_path: Path, body: bytes
) -> None:
    shared = Storage(str(tmp_path / "shared"))
    shared.commit_bytes(shared_path(answer(1).digest), body)
    with pytest.raises(CorpusError, match=rf"{tmp_path}/shared/00/0+1.json: holds no answer"):
        answers_of(store, shared=shared).find([answer(1).digest])


def test_answers_of_before_are_shared_too_and_none_is_replaced(
    store: Storage, tmp_path: Path
) -> None:
    before = answers_of(store)
    before.add(answer(1, "mine"))
    before.flush()
    shared = Storage(str(tmp_path / "shared"))
    theirs = answers_of(Storage(str(tmp_path / "other")), shared=shared)
    theirs.add(answer(2, "theirs"))
    theirs.flush()
    now = Answers(store=store, shard=3, shared=shared)
    now.find([answer(1).digest, answer(2).digest])
    now.add(answer(3))
    written = tmp_path / "shared" / shared_path(answer(2).digest)
    stamp = written.stat().st_mtime_ns
    now.flush()
    assert written.stat().st_mtime_ns == stamp
    last = Answers(store=Storage(str(tmp_path / "last")), shard=0, shared=shared)
    texts = [each.text for each in last.find([answer(n).digest for n in (1, 2, 3)]).values()]
    assert sorted(texts) == ["caption 3", "mine", "theirs"]
