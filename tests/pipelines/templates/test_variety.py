import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.templates.forms import T2I, fill_caption, load_forms
from pipelines.templates.template_file import converse, load_templates
from pipelines.templates.variety import (
    Agreement,
    entropy,
    medium_agreement,
    most_entropy,
    repeats,
    user_forms,
)

KEYS = [f"{n:032x}" for n in range(2000)]


@given(st.lists(st.sampled_from("abcdef"), min_size=1))
def test_entropy_is_the_mean_surprise(items: list[str]):
    counts = Counter(items)
    surprise = [-math.log2(counts[item] / len(items)) for item in items]
    assert entropy(items) == pytest.approx(sum(surprise) / len(items))
    assert entropy(items) == entropy(sorted(items))


def test_a_grammar_has_as_many_user_s_turns_as_its_ids_say():
    grammar = load_templates("t2i-v1")
    drawn = {converse(grammar, f"{n}", "A fox").template.split("/")[1] for n in range(50_000)}
    assert len(drawn) == user_forms(grammar) == 1792
    assert most_entropy(grammar, 4) == 2
    assert most_entropy(grammar, 10**6) == math.log2(1792)
    assert most_entropy(grammar, 0) == 0


def test_nothing_has_no_entropy_and_no_repeats():
    assert entropy([]) == 0
    assert repeats([]) == 0
    assert medium_agreement([], ["image"]) == Agreement(both=0, same=0)


def test_every_instruction_after_its_first_is_a_repeat():
    assert repeats(["a", "b", "A", " a ", "b", "c"]) == 3


def test_a_medium_is_a_whole_word_in_either_turn():
    pairs = [("A photographer", "A photo"), ("Photo!", "The photo."), ("A photo", "An image")]
    assert medium_agreement(pairs, ["photo", "image"]) == Agreement(both=2, same=1)


def test_marks_of_images_are_no_medium():
    pairs = [("<image>\nDraw.", "An image: <image_gen>"), ("An image", "image: <image_gen>")]
    assert medium_agreement([*pairs, ("An image", "<image_gen>")], ["image"]) == Agreement(1, 1)


def test_turns_of_the_bank_agree_where_those_of_the_grammar_seldom_do():
    bank, grammar = load_forms("t2i-v2", T2I, "templates"), load_templates("t2i-v1")
    ours = [fill_caption(bank, key, "A red fox") for key in KEYS]
    papers = [converse(grammar, key, "A red fox") for key in KEYS]
    counts = [
        medium_agreement([(pair.user, pair.assistant) for pair in pairs], media)
        for pairs, media in ((ours, bank.media), (papers, grammar.nouns))
    ]
    (ours_both, ours_same), (papers_both, papers_same) = counts
    assert ours_same == ours_both > 0
    assert papers_same / papers_both < 0.2
    assert entropy(pair.template.split("/")[1] for pair in ours) > 7.5
