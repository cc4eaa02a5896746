"""Members of a tar that are one sample: as webdataset has it, and dotted names lose nothing."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.listing import PassedOver
from pipelines.sources.names import IMAGE, TEXT, what_it_is
from pipelines.sources.tars.members import Member
from pipelines.sources.tars.samples import Sample, samples

Grouped = list[tuple[str, str, list[str]]]


def grouped(*names: str) -> tuple[Grouped, dict[str, int]]:
    """Return (key, image, texts) of every sample, and what is counted."""
    found = list(samples(Member(name, 1, what_it_is(name)) for name in names))
    rows = [
        (each.name, each.image.name if each.image else "", [text.name for text in each.texts])
        for each in found
        if isinstance(each, Sample)
    ]
    count = Counter[str]()
    for each in found:
        if isinstance(each, PassedOver):
            count[each.what] += each.count
    return rows, dict(count)


FURTHER = "further image of a sample"


@pytest.mark.parametrize(
    ("names", "rows", "passed_over"),
    [
        ("1.jpg 1.txt 1.json", [("1", "1.jpg", ["1.txt", "1.json"])], {}),
        ("1.jpg 1.depth.png 1.seg.png 1.json", [("1", "1.jpg", ["1.json"])], {FURTHER: 2}),
        ("1.depth.png 1.seg.png 1.jpg", [("1", "1.jpg", [])], {FURTHER: 2}),
        ("1.jpg 1.seg.png 1.seg.json 1.txt", [("1", "1.jpg", ["1.txt"])], None),
        ("1.0.jpg 1.json", [("1", "1.0.jpg", ["1.json"])], {}),
        ("1.left.jpg 1.right.jpg 1.cls", [("1", "1.left.jpg", [])], {FURTHER: 1, ".cls file": 1}),
        ("1.jpg 1.tokens256.npy 1.cls", [("1", "1.jpg", [])], {".npy file": 1, ".cls file": 1}),
        ("a/1.jpg b/1.jpg", [("a/1", "a/1.jpg", []), ("b/1", "b/1.jpg", [])], {}),
        ("1.txt 1.json", [("1", "", ["1.txt", "1.json"])], {}),
        ("README.md LICENSE", [], {".md file": 1, "file without a suffix": 1}),
    ],
)
def test_layouts_of_webdataset_are_read_as_ever(
    names: str, rows: Grouped, passed_over: dict[str, int] | None
) -> None:
    found, counted = grouped(*names.split())
    assert found == rows
    assert passed_over is None or counted == passed_over


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (
            "frame_22.05.jpg frame_22.05.txt frame_22.06.jpg frame_22.06.txt",
            [("frame_22.05", ".jpg .txt"), ("frame_22.06", ".jpg .txt")],
        ),
        (
            "IMG.2024.01.00.jpg IMG.2024.01.01.jpg",
            [("IMG.2024.01.00", ".jpg"), ("IMG.2024.01.01", ".jpg")],
        ),
        ("v1.0/img.2024.jpg v1.0/img.2024.txt", [("v1.0/img.2024", ".jpg .txt")]),
        ("a.b.c.JPG a.b.c.TXT", [("a.b.c", ".JPG .TXT")]),
        ("1.0.jpg 1.1.jpg", [("1.0", ".jpg"), ("1.1", ".jpg")]),
        ("x.1.jpg x.2.jpg x.1.txt x.2.txt", [("x.1", ".jpg .txt"), ("x.2", ".jpg .txt")]),
        ("x.1.jpg x.1.json x.2.jpg x.2.json", [("x.1", ".jpg .json"), ("x.2", ".jpg .json")]),
        ("x.jpg x.txt x.1.jpg x.1.txt", [("x.1", ".jpg .txt"), ("x", ".jpg .txt")]),
        ("x.jpg x.json x.1.jpg x.1.json", [("x.1", ".jpg .json"), ("x", ".jpg .json")]),
        (".x.jpg .x.txt", [(".x", ".jpg .txt")]),
        (
            "St. Mary.jpg St. Mary.txt St. John.jpg".replace(" ", "_").replace("_St", " St"),
            [("St._Mary", ".jpg .txt"), ("St._John", ".jpg")],
        ),
    ],
)
def test_dotted_names_lose_no_image_and_no_text(names: str, rows: list[tuple[str, str]]) -> None:
    expected = [
        (key, f"{key}{ends.split()[0]}", [f"{key}{end}" for end in ends.split()[1:]])
        for key, ends in rows
    ]
    assert grouped(*names.split()) == (expected, {})


def test_images_told_apart_by_a_number_are_rows_of_their_own() -> None:
    names = ("i.jpg", "i.txt", "i.05.jpg", "i.05.txt", "i.06.jpg", "i.seg.png")
    rows, passed_over = grouped(*names)
    assert rows == [
        ("i.05", "i.05.jpg", ["i.05.txt"]),
        ("i.06", "i.06.jpg", []),
        ("i", "i.jpg", ["i.txt"]),
    ]
    assert passed_over == {FURTHER: 1}
    rows, passed_over = grouped("i.05.jpg", "i.06.jpg", "i.txt")
    assert rows == [("i.05", "i.05.jpg", []), ("i.06", "i.06.jpg", [])]
    assert passed_over == {"further text of an image": 1}


def test_a_text_of_another_name_is_counted() -> None:
    rows, passed_over = grouped("x.1.jpg", "x.2.jpg", "x.note.txt")
    assert [row[0] for row in rows] == ["x.1", "x.2"]
    assert passed_over == {"further text of an image": 1}


def test_a_run_without_end_is_cut_and_loses_nothing() -> None:
    rows, passed_over = grouped(*(f"x.{n:06d}.jpg" for n in range(25_000)))
    assert (len(rows), passed_over) == (25_000, {})


PARTS = st.sampled_from(["a", "b", "1", "a.1", "a.2", "a.seg", "1.b.c", ".a", "d.e/a", "a."])
ENDS = st.sampled_from(["jpg", "PNG", "txt", "json", "npy", "svg", ""])


@given(st.lists(st.tuples(PARTS, ENDS), max_size=30), st.randoms(use_true_random=False))
def test_every_member_is_a_row_belongs_to_one_or_is_counted(
    members: list[tuple[str, str]], order: random.Random
) -> None:
    names = [f"{part}.{end}" if end else part for part, end in members]
    order.shuffle(names)
    found = list(samples(Member(name, 1, what_it_is(name)) for name in names))
    rows = [each for each in found if isinstance(each, Sample)]
    counted = sum(each.count for each in found if isinstance(each, PassedOver))
    held = sum(bool(row.image) + len(row.texts) for row in rows)
    assert held + counted == len(names)
    images = sum(what_it_is(name) == IMAGE for name in names)
    assert sum(bool(row.image) for row in rows) <= images
    assert all(text.what == TEXT for row in rows for text in row.texts)
