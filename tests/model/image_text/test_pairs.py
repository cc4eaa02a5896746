from typing import Any

import pytest

from model.image_text.pairs import TITLE_REPEATS, Pair, caption, pairs_of, plain


def row(title: str = "", text: str = "", tags: tuple[str, ...] = (), author: str = "") -> Any:
    return {"title": title, "text": text, "tags": list(tags), "author": author}


def only(**fields: Any) -> Pair:
    (pair,) = pairs_of([row(**fields)], ["a"])
    return pair


@pytest.mark.parametrize(
    "title", ["EPS converted from logo", "Clipart by Ann Lee - tree", "see http://a.org/b"]
)
def test_a_title_of_boilerplate_or_of_the_author_is_not_used(title: str) -> None:
    pair = only(title=title, tags=("oak", "tree"), author="Ann Lee")
    assert (pair.title, pair.subject) == ("", "oak tree")


def test_a_title_of_a_whole_collection_is_not_used() -> None:
    rows = [row("Gold Theme", tags=("icon",))] * (TITLE_REPEATS + 1)
    assert {pair.title for pair in pairs_of(rows, [str(n) for n in range(len(rows))])} == {""}
    rows.pop()
    kept = pairs_of(rows, [str(n) for n in range(len(rows))])
    assert {pair.title for pair in kept} == {"Gold Theme"}


def test_a_row_that_says_nothing_has_no_pair() -> None:
    assert pairs_of([row(), row(tags=("hash", "hash(0x8a0a39c)", " "))], ["a", "b"]) == []


def test_tags_and_texts_that_say_nothing_are_left_out() -> None:
    pair = only(
        title="cat", text="a@b.org", tags=("Ann", "hash", "cat", "cat", "wild_cat"), author="ann"
    )
    assert (pair.text, pair.tags) == ("", ("cat", "wild cat"))


@pytest.mark.parametrize(
    ("title", "head"),
    [
        ("woman surfing: medium-dark skin tone", "surfing"),
        ("kiss: woman, man, light skin tone, dark skin tone", "man"),
        ("Police Car 02", "car"),
        ("42", "42"),
    ],
)
def test_the_last_word_of_a_title_groups_it(title: str, head: str) -> None:
    assert only(title=title).head == head


def test_captions_have_the_words_of_their_pair_and_vary() -> None:
    pair = only(title="red fox", text="A fox that sleeps", tags=("animal", "night"))
    captions = [caption(pair, epoch) for epoch in range(200)]
    assert captions == [caption(pair, epoch) for epoch in range(200)]
    assert {"red fox", "an emoji of red fox", "red fox, night", "A fox that sleeps"} <= {*captions}
    known = {*plain("red fox A fox that sleeps animal night clip art emoji icon").split()}
    known |= {*"an a of picture image drawing sketch cartoon".split()}  # noqa: SIM905
    assert {word for said in captions for word in plain(said).split()} <= known


def test_an_image_without_a_title_is_captioned_by_its_tags() -> None:
    pair = only(tags=("moon",))
    assert all("moon" in caption(pair, epoch) for epoch in range(20))
