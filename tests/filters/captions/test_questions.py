import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import validate

from filters.captions.questions import (
    DEFAULT_QUESTIONS,
    flags_in,
    questions_prompt,
    questions_schema,
)
from schemas.caption_config import Question

TWO = (Question(name="logo", question="A logo?"), Question(name="frame", question="A frame?"))


def test_the_prompt_asks_every_question_and_shows_the_form() -> None:
    prompt = questions_prompt(TWO)
    assert "- logo: A logo?\n- frame: A frame?\n" in prompt
    assert prompt.endswith('{"logo": true or false, "frame": true or false}')


def test_default_questions_have_different_names() -> None:
    assert len({each.name for each in DEFAULT_QUESTIONS}) == len(DEFAULT_QUESTIONS)


@given(st.lists(st.booleans(), min_size=2, max_size=2))
def test_an_answer_that_follows_the_schema_is_read(values) -> None:
    answer = dict(zip(("logo", "frame"), values, strict=True))
    validate(answer, questions_schema(TWO))
    found = flags_in(f"Sure:\n```json\n{json.dumps(answer)}\n```", TWO)
    assert (dict(found.values), found.detail) == (answer, "")


@pytest.mark.parametrize(
    ("answer", "logo", "detail"),
    [
        ('{"logo": true, "frame": false}', True, ""),
        ('{"logo": null, "frame": false}', None, ""),
        ('{"frame": false}', None, ""),
        ('{"logo": "yes", "frame": false}', None, "logo: expected true or false, found 'yes'"),
        ('{"logo": 1, "frame": false}', None, "logo: expected true or false, found 1"),
        ('{"logo": true, "frame": false, "hat": true}', True, "not asked: hat"),
    ],
)
def test_only_true_and_false_are_answers(answer: str, logo: bool | None, detail: str) -> None:
    found = flags_in(answer, TWO)
    assert found.values == {"logo": logo, "frame": False}
    assert found.detail == detail


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ("", "expected JSON"),
        ("Yes, there is a logo.", "expected JSON"),
        ("[true, false]", "expected one JSON object"),
        ('{"logo": true, "logo": false}', "a key is repeated"),
        ('{"logo": true, "fra', "no valid JSON"),
        ('{"logo": True}', "no valid JSON"),
        ('{"logo":' * 100_000, "nested too deeply"),
    ],
)
def test_an_answer_that_is_no_object_has_no_flags(answer: str, detail: str) -> None:
    found = flags_in(answer, TWO)
    assert found.values == {"logo": None, "frame": None}
    assert detail in found.detail


@given(st.text())
def test_any_text_gives_flags(answer: str) -> None:
    assert set(flags_in(answer, TWO).values) == {"logo", "frame"}
