"""A fault is a line, of a file, whatever stands in it."""

import errno
from collections.abc import Iterator

import pytest

from pipelines.verify.faults import MAX_CHARS, MAX_FAULTS, Fault, capped, differences, guarded
from schemas.store.errors import CorpusError, NotLookedError, StoreError


def raising(error: Exception) -> Iterator[Fault]:
    yield Fault("a", "first")
    raise error


@pytest.mark.parametrize(
    "text", ["a\nb", "\x1b[2J", "\ud800", "\u202egpj.exe", "\0", "x" * 10_000, "a\u2028b"]
)
def test_a_fault_is_one_printable_line(text: str) -> None:
    line = str(Fault(text, text))
    assert line.isprintable()
    assert len(line) <= 2 * (10 * MAX_CHARS)
    line.encode()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CorpusError("a: is odd"), "is odd"),
        (FileNotFoundError(2, "No such file"), "missing"),
        (IsADirectoryError(21, "Is a directory"), "cannot be read: Is a directory"),
        (RecursionError("too deep"), "damaged: RecursionError: too deep"),
        (KeyError("rows_in"), "damaged: KeyError: 'rows_in'"),
    ],
)
def test_what_stops_a_check_is_a_fault_beside_those_found_before(
    error: Exception, said: str
) -> None:
    assert guarded("a", raising, error) == [Fault("a", "first"), Fault("a", said)]


@pytest.mark.parametrize(
    "error",
    [StoreError("away"), NotLookedError("nothing"), OSError(errno.ENOSPC, "No space left")],
)
def test_what_is_no_fault_of_the_corpus_ends_the_verifier(error: Exception) -> None:
    with pytest.raises((StoreError, NotLookedError)):
        guarded("a", raising, error)


def test_the_first_faults_of_a_file_are_kept_each_once() -> None:
    many = [Fault("a", str(number)) for number in range(MAX_FAULTS + 5)]
    kept = capped([*many, many[0], Fault("b", "x")])
    assert kept == [*many[:MAX_FAULTS], Fault("b", "x"), Fault("a", "5 more faults")]


@pytest.mark.parametrize(
    ("found", "expected", "said"),
    [
        (1, True, "it is 1, expected True"),
        ({"a": 1.0}, {"a": 1}, "a is 1.0, expected 1"),
        ({"a": [1, 2]}, {"a": [1]}, "a has 2 items, expected 1"),
        ([], {}, "it is [], expected {}"),
        (float("nan"), 1.0, "it is nan, expected 1.0"),
    ],
)
def test_values_of_another_type_differ(found: object, expected: object, said: str) -> None:
    assert list(differences(found, expected)) == [said]
