"""A sample is whole wherever its members lie in a tar."""

from itertools import permutations

import pytest

from pipelines.sources.names import what_it_is
from pipelines.sources.tars import join as tar_join
from pipelines.sources.tars.join import joined
from pipelines.sources.tars.members import Member
from pipelines.sources.tars.samples import Sample, samples

NAMES = ("d/a.jpg", "d/a.txt", "d/a.json", "b.05.jpg", "b.05.txt")


def found(*names: str) -> list[tuple[str, bool, list[str]]]:
    members = (Member(name, 1, what_it_is(name), body=b"text") for name in names)
    return [
        (each.name, each.image is not None, sorted(text.name for text in each.texts))
        for each in joined(samples(members))
        if isinstance(each, Sample)
    ]


def test_any_order_of_members_gives_the_same_samples() -> None:
    for names in permutations(NAMES):
        assert sorted(found(*names)) == [
            ("b.05", True, ["b.05.txt"]),
            ("d/a", True, ["d/a.json", "d/a.txt"]),
        ]


def test_samples_keep_the_order_in_which_they_begin() -> None:
    names = ("c.txt", "a.jpg", "b.jpg", "b.txt", "e.txt", "a.txt", "c.png")
    assert [name for name, _, _ in found(*names)] == ["c", "a", "b", "e"]
    assert [image for _, image, _ in found(*names)] == [True, True, True, False]


def test_a_second_image_or_text_of_a_name_stays_apart() -> None:
    assert found("a.jpg", "b.jpg", "a.jpg", "b.txt", "a.txt", "b.jpg", "a.txt") == [
        ("a", True, ["a.txt"]),
        ("b", True, ["b.txt"]),
        ("a", True, []),
        ("b", True, []),
        ("a", False, ["a.txt"]),
    ]


@pytest.mark.parametrize("bound", ["MOST_WAITING", "MOST_WAITING_BYTES"])
def test_memory_holds_so_many_and_what_waited_longest_goes_on(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_join, bound, 1)
    assert found("a.txt", "b.txt", "a.jpg") == [
        ("a", False, ["a.txt"]),
        ("b", False, ["b.txt"]),
        ("a", True, []),
    ]
