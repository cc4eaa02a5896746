"""Prompts of benchmarks are found in texts, as a search of every run of words finds them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.contamination import MIN_WORDS, TEMPLATE_WORDS, PromptIndex, content_words

WORDS = st.sampled_from(["red", "fox", "bowl", "a", "of", "Photo", "two"])
TEXTS = st.lists(WORDS, max_size=9).map(" ".join)


def contains(text: list[str], prompt: list[str], words: int) -> bool:
    """Compare every run of a prompt with every run of a text."""
    length = min(words, len(prompt))
    runs = [prompt[n : n + length] for n in range(len(prompt) - length + 1)]
    return any(text[n : n + length] in runs for n in range(len(text)))


@given(st.lists(TEXTS, max_size=4), TEXTS, st.integers(3, 5))
def test_a_text_is_found_if_it_has_a_run_of_a_prompt(prompts: list[str], text: str, words: int):
    long_enough = [each for each in prompts if len(content_words(each)) >= MIN_WORDS]
    index = PromptIndex.of(prompts, words=words)
    found = index.find(text)
    matching = [
        prompt
        for prompt in long_enough
        if contains(content_words(text), content_words(prompt), words)
    ]
    assert (found is not None) == bool(matching)
    assert found is None or found in matching
    assert index.too_short == len({*prompts} - {*long_enough})


@pytest.mark.parametrize(
    "text",
    [
        "a photo of a green bench and a blue bowl",
        "A GREEN BENCH, a blue bowl.",
        "Sale: green bench and blue bowl, 20 % off",
        "an image of the \uff47\uff52\uff45\uff45\uff4e bench with a blue-bowl",  # full width
    ],
)
def test_templates_case_and_punctuation_do_not_count(text: str):
    index = PromptIndex.of(["a photo of a green bench and a blue bowl"])
    assert index.find(text) == "a photo of a green bench and a blue bowl"


@pytest.mark.parametrize(
    "text", ["a green bench", "a blue bench and a green bowl", "green bench and two blue bowls", ""]
)
def test_other_words_do_not_match(text: str):
    assert PromptIndex.of(["a green bench and a blue bowl"]).find(text) is None


def test_a_prompt_of_a_template_and_a_subject_is_no_alarm():
    index = PromptIndex.of(["a photo of a dog", "a photo of two red dogs", "a photo of a dog"])
    assert (index.prompts, index.too_short) == (2, 1)
    assert index.find("a photo of a dog") is None
    assert index.find("two red dogs") == "a photo of two red dogs"


def test_eight_words_of_a_long_prompt_are_enough_and_seven_are_not():
    prompt = "one two three four five six seven eight nine ten"
    index = PromptIndex.of([prompt])
    assert index.find("x two three four five six seven eight nine y") == prompt
    assert index.find("x two three four five six seven eight y") is None


def test_words_that_tell_prompts_apart_are_no_template_words():
    assert not {"two", "red", "not", "under", "above", "left", "behind"} & TEMPLATE_WORDS
