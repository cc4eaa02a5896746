"""How varied the words of pairs are: parts add up to the whole, and repeats are those there are."""

from collections import Counter
from collections.abc import Sequence
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.report.page import worded
from pipelines.report.page.worded import WordCounts, word_counts, word_lines
from pipelines.templates.variety import Agreement, entropy, repeats
from schemas.recipe import PairConfig
from schemas.subsets import EDIT, T2I, UNDERSTAND


def pair(key: str, user: str, answer: str, template: str) -> dict[str, Any]:
    turns = (("user", user), ("assistant", answer))
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"key": key, "messages": messages, "template": template}


PAIRS = [
    pair("a", "Draw a red fox.", "Here is the fox: <image_gen>", "t2i-v2/u3/a0"),
    pair("b", "draw  a red FOX.", "Here is your image: <image_gen>", "t2i-v2/u3/a1"),
    pair("c", "A photo of a fox, please", "Your photo: <image_gen>", "t2i-v2/u7/a1"),
    pair("d", "A photo of a fox", "A picture: <image_gen>", "t2i-v2/m-writer-0123456789/a1"),
    pair("e", "<image>\nWhat is this?", "A fox in this place.", ""),
]
CAPTIONS = dict.fromkeys("abcde", "a photo of a red fox") | {"e": ""}


def test_forms_models_and_listed_turns_are_counted_apart() -> None:
    found = word_counts(PAIRS, CAPTIONS)
    assert (found.samples, found.listed) == (5, 1)
    assert found.forms == {"t2i-v2/u3": 2, "t2i-v2/u7": 1}
    assert found.models == {"writer-0123456789": 1}
    assert found.repeated == pytest.approx(1 / 5)
    assert not found.is_estimated
    assert found.shared == 1  # the fox of the first; photo is a noun of images
    assert found.media == Agreement(both=2, same=1)
    assert word_counts(PAIRS, {"a": "a fox"}).samples == 1


def test_a_noun_in_the_caption_is_no_noun_of_the_turn() -> None:
    turns = pair("a", "Draw a photo of a red fox", "The image: <image_gen>", "t2i-v2/u3/a0")
    assert word_counts([turns], {"a": "A photo of a red fox."}).media.both == 0
    assert word_counts([turns], {"a": "A red fox."}).media.both == 1


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 3)), max_size=9)),
    most=st.integers(1, 9),
)
def test_parts_add_up_to_the_whole_in_any_order(
    parts: Sequence[Sequence[tuple[str, int]]], most: int
) -> None:
    counted: list[WordCounts] = []
    every: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worded, "MOST_TEXTS", most)
        for at, part in enumerate(parts):
            rows = [
                pair(f"{at}-{n}", user, "Done", f"f/u{form}/a0")
                for n, (user, form) in enumerate(part)
            ]
            counted.append(word_counts(rows, {row["key"]: "" for row in rows}))
            every += rows
        whole = word_counts(every, {row["key"]: "" for row in every})
        for order in (counted, counted[::-1]):
            assert reduce(WordCounts.plus, order, WordCounts()) == whole
        users = [row["messages"][0]["content"] for row in every]
        if every and len({*users}) < most:
            assert whole.repeated == pytest.approx(repeats(users) / len(users))
        assert len(whole.texts) <= most
        assert whole.forms == Counter(f"f/{row['template'].split('/')[1]}" for row in every)


def test_the_share_of_repeats_is_estimated_where_texts_are_too_many() -> None:
    rows = [pair(f"{n}", f"draw thing {n // 4}", "Done", "f/u0/a0") for n in range(40_000)]
    found = word_counts(rows, {row["key"]: "" for row in rows})
    assert found.is_estimated
    assert found.repeated == pytest.approx(repeats(f"{n // 4}" for n in range(40_000)) / 40_000)
    uneven = [
        pair(f"{n}", f"draw {n if n % 2 else n % 200}", "Done", "f/u0/a0") for n in range(30_000)
    ]
    found = word_counts(uneven, {row["key"]: "" for row in uneven})
    exact = 1 - 15_100 / 30_000
    assert found.repeated == pytest.approx(exact, abs=0.1)


def test_lines_have_entropy_beside_the_most_possible_and_words_of_forms() -> None:
    counts = {
        UNDERSTAND.name: WordCounts(samples=2),
        T2I.name: WordCounts(samples=4, forms={"t2i-v2/u3": 3, "t2i-v2/u4": 1}),
    }
    first, second = word_lines(counts, PairConfig(templates="t2i-v2"))
    assert (first.subset, second.subset) == (T2I.name, UNDERSTAND.name)
    assert first.entropy == entropy("aaab")
    assert first.most_entropy == 2  # four samples
    assert [(form, rows) for form, _, rows in first.frequent] == [
        ("t2i-v2/u3", 3),
        ("t2i-v2/u4", 1),
    ]
    assert all("{text}" in text for _, text, _ in first.frequent)
    assert (second.entropy, second.frequent) == (None, ())
    [grammar] = word_lines(
        {T2I.name: WordCounts(samples=9, forms={"t2i-v1/u-o7-j3-n4": 9})}, PairConfig()
    )
    assert (grammar.forms, grammar.frequent[0][1]) == (1792, "")
    assert not word_lines({EDIT.name: WordCounts()}, PairConfig())


def test_a_word_repeated_without_end_takes_no_cube_of_time() -> None:
    text = "word " * 40_000
    pairs = [pair("a", f"Make it: {text}", f"{text}<image_gen>", "edit-v1/u0/a0")]
    assert word_counts(pairs, {"a": text}).samples == 1
