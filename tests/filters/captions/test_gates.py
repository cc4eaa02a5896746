import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.captioner import EngineError
from filters.captions.gates import MOST_CHARS, REASONS, Gated, agreeing, gated
from filters.captions.styles import Request, request_of
from filters.scores.language import language_of
from filters.words import count_words
from schemas.caption_config import BUNDLED_STYLES, Gates, Style

HERE = Path(__file__).parent
VERDICTS: list[dict[str, Any]] = yaml.safe_load((HERE / "verdicts.yaml").read_text("utf-8"))
UNTOUCHED: list[str] = yaml.safe_load((HERE / "untouched.yaml").read_text("utf-8"))


def request(style: str = "sentence", **given: Any) -> Request:
    """A style with wide bounds, so that tests of other gates do not depend on length."""
    return request_of(Style(style=style, **{"min_tokens": 0, "max_tokens": 10_000} | given))


def verdict(answer: str, *, style: str = "sentence", finish: Any = "stop", **given: Any) -> Gated:
    of_gates = {name: given.pop(name) for name in [*given] if name in Gates.model_fields}
    return gated(
        answer,
        finish,
        request=request(style, **given),
        gates=Gates(**of_gates),
        count_tokens=count_words,
        language_of=lambda text: language_of(text, 40),
        size=(200, 100),
    )


@pytest.mark.parametrize("case", VERDICTS, ids=lambda case: ascii(case["answer"])[:60])
def test_an_answer_has_the_verdict_of_the_table(case: dict[str, Any]) -> None:
    given = {name: value for name, value in case.items() if name not in ("caption", "reason")}
    found = verdict(**given)
    assert found.reason == case.get("reason", ""), found.detail
    assert found.text == case.get("caption", case["answer"])


@pytest.mark.parametrize("text", UNTOUCHED, ids=lambda text: ascii(text)[:60])
def test_a_good_caption_passes_untouched(text: str) -> None:
    assert verdict(text) == Gated(text=text)


def test_the_table_has_every_reason_but_clip() -> None:
    assert len(VERDICTS) >= 60
    assert {case["reason"] for case in VERDICTS if "reason" in case} == {*REASONS} - {"clip"}


@pytest.mark.parametrize(
    ("gate", "answer", "finish"),
    [
        ({"refusal": False}, "I'm sorry, but I can't assist with that.", "stop"),
        ({"truncated": False}, "A red fox in", "length"),
        ({"loop": None}, "a dog and a dog and a dog and a dog and a dog", "stop"),
        ({"echo": False}, "Name the main subject first, then what it does and where.", "stop"),
        ({"special_tokens": False}, "A red fox <image> in the snow.", "stop"),
    ],
)
def test_a_gate_that_is_off_lets_pass(gate: dict[str, Any], answer: str, finish: str) -> None:
    assert verdict(answer, finish=finish).reason in gate
    assert verdict(answer, finish=finish, **gate) == Gated(text=answer)


@pytest.mark.parametrize(
    ("tokens", "reason"), [(2, "too_short"), (3, ""), (5, ""), (6, "too_long")]
)
def test_bounds_of_length_are_inclusive(tokens: int, reason: str) -> None:
    words = " ".join(["one", "two", "red", "fox", "and", "hens"][:tokens])
    assert verdict(words, min_tokens=3, max_tokens=5).reason == reason


@pytest.mark.parametrize(
    ("cosine", "reason"),
    [(0.2501, ""), (0.25, ""), (0.2499, "clip"), (None, "clip"), (float("nan"), "clip")],
)
def test_a_caption_agrees_with_its_image_from_the_least_cosine_on(
    cosine: float | None, reason: str
) -> None:
    assert agreeing(Gated(text="a fox"), cosine, Gates(min_clip=0.25)).reason == reason


def test_agreement_is_not_asked_without_a_rule_or_of_a_refused_answer() -> None:
    refused = Gated(text="", reason="empty")
    assert agreeing(Gated(text="a fox"), None, Gates()) == Gated(text="a fox")
    assert agreeing(refused, 0.9, Gates(min_clip=0.25)) == refused


def test_a_repetition_as_large_as_allowed_passes() -> None:
    text = "a red fox saw a red fox saw hens"  # one of seven sequences stood before
    assert verdict(text, loop=2 / 7).reason == ""
    assert verdict(text, loop=0.0).reason == "loop"


def test_json_of_a_recipe_s_schema_is_checked() -> None:
    schema = {"type": "object", "required": ["what"], "properties": {"what": {"type": "string"}}}
    given = {"style": "own", "prompt": "Say it", "form": "json", "json_schema": schema}
    assert verdict('```json\n{"what":\n"a fox"}\n```', **given).text == '{"what": "a fox"}'
    assert verdict('{"what": 3}', **given).detail == "$.what: 3 is not of type 'string'"
    assert verdict('{"what": "a <|im_end|>"}', **given).reason == "schema"
    assert verdict("[" * 40_000, **given).reason == "empty"
    assert verdict("[" * 40_000 + "a", **given).reason == "schema"
    assert verdict('{"what": "a", "b": ' + "[" * 40 + "]" * 40 + "}", **given).reason == "schema"
    assert verdict('{"what": "a", "what": "b"}', **given).reason == "schema"
    assert verdict('{"what": "a", "n": NaN}', **given).reason == "schema"


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"$ref": "http://127.0.0.1:9/a.json"}, "refers to http://127.0.0.1:9/a.json"),
        ({"type": "list"}, r"json_schema, \$\.type: 'list' is not valid"),
    ],
)
def test_a_schema_that_cannot_be_followed_stops_the_build(schema: Any, message: str) -> None:
    given = {"style": "own", "prompt": "Say it", "form": "json", "json_schema": schema}
    with pytest.raises(EngineError, match=message):
        verdict('{"what": 3}', **given)


def test_a_schema_without_its_package_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema.exceptions", None)
    given = {"style": "own", "prompt": "Say it", "form": "json", "json_schema": {}}
    with pytest.raises(EngineError, match=r"pip install 'vargpt-corpus\[captions\]'"):
        verdict('{"what": 3}', **given)


@settings(deadline=None)  # the first text loads the detector
@given(st.text(), st.sampled_from(BUNDLED_STYLES), st.sampled_from(["stop", "length", ""]))
def test_any_text_has_a_verdict(answer: str, style: str, finish: str) -> None:
    found = verdict(answer, style=style, finish=finish, languages=("en",), names=True)
    assert found.reason in {"", *REASONS}
    assert found.reason or found.text.encode()


PIECES = [
    "The image shows ",
    "Caption: ",
    "a fox",
    '"',
    "**",
    "```\n",
    "\n",
    "<|im_end|>",
    "# ",
    "- ",
    "Sure! ",
    "In this image, ",
    ". ",
    "I hope this helps!",
    "</think>",
    "[INST]",
    "\u3002",
    "\u56fe\u4e2d\u6709",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_a_caption_passes_again_as_it_is(answer: str) -> None:
    once = verdict(answer)
    if not once.reason:
        assert len(once.text) <= len(answer)
        assert verdict(once.text) == once


QUADRATIC_S = 20  # of CPU: far over what any machine needs here, far under a quadratic search
HOSTILE = {
    "letters": "a",
    "spaces": " ",
    "lines": "\n",
    "quotes": '"',
    "stars": "**",
    "star words": "**a",
    "fences": "```\n",
    "headings": "# ",
    "sentences": "I can. ",
    "sorry": "i'm very ",
    "openings": "The image shows ",
    "captions": "Caption: ",
    "angles": "<|",
    "tokens": "<|im_end|>",
    "thoughts": "</think>",
    "places": "<loc_1>",
    "brackets": "[",
    "braces": '{"a":',
    "capitals": "Dr A",
    "ideographs": "\u4e00",
    "marks": "\u0301",
    "ligatures": "\ufdfa",  # 18 characters after normalisation
    "emoji": "\U0001f468\u200d",
}


@pytest.mark.parametrize("style", ["sentence", "tags", "grounded"])
@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_the_work_does_not_grow_as_the_square_of_the_longest_answer(piece: str, style: str) -> None:
    answer = (piece * MOST_CHARS)[: MOST_CHARS - 1] + "x"
    start = time.process_time()
    verdict(answer, style=style, languages=("en",), names=True, loop=1.0)
    assert time.process_time() - start < QUADRATIC_S


def test_an_answer_of_a_megabyte_is_too_long() -> None:
    assert verdict("a fox " * 200_000).reason == "too_long"
