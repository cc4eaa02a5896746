import json
from typing import Any

import pytest

from schemas.sample import encode_json, json_faults
from schemas.subsets import T2I

SAMPLE: dict[str, Any] = {
    "key": "00ff",
    "messages": [
        {"role": "user", "content": "Draw a \u72d0"},
        {"role": "assistant", "content": "Here<image_gen>"},
    ],
    "caption": "a \u72d0",
    "caption_origin": "text",
    "caption_style": "source",
    "captions": [{"style": "source", "origin": "text", "caption": "A fox."}],
    "text": "a \u72d0",
    "title": "",
    "tags": "fox, animal",
    "source": "web",
    "url": "https://example.org/a.png",
    "licence": "",
    "author": "",
    "sha256": "ab",
    "width": 512,
    "height": 300,
    "crop_aspect": 1.0,
    "signals": {"aspect": 1.0, "short_side": 300, "text_url": False, "phash": "00ff"},
    "template": "t",
    "listed": "{}",
    "recipe": "r",
}


def test_a_sample_is_written_in_the_contracts_order_whatever_its_own():
    turned = dict(reversed(SAMPLE.items()))
    assert encode_json(turned, T2I) == encode_json(SAMPLE, T2I)
    assert list(json.loads(encode_json(turned, T2I))) == list(T2I.fields)


def test_a_sample_reads_back_equal_and_its_floats_stay_floats():
    text = encode_json(SAMPLE, T2I).decode()
    assert json.loads(text) == SAMPLE
    assert '"aspect": 1.0' in text
    assert "\u72d0" in text


@pytest.mark.parametrize("name", T2I.fields)
def test_a_missing_field_is_a_fault(name: str):
    sample = {key: value for key, value in SAMPLE.items() if key != name}
    assert json_faults(sample, T2I) == [f"field {name!r} is missing"]


@pytest.mark.parametrize("name", T2I.fields)
def test_null_is_a_fault(name: str):
    (fault,) = json_faults(SAMPLE | {name: None}, T2I)
    assert fault.startswith(f"field {name!r} is None, expected ")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"more": 1}, "field 'more' is not in the contract"),
        ({"width": 512.0}, "field 'width' is 512.0, expected int"),
        ({"width": True}, "field 'width' is True, expected int"),
        ({"tags": ["fox"]}, "field 'tags' is ['fox'], expected str"),
        ({"messages": []}, "messages are [], expected a list of role and content"),
        (
            {"messages": [SAMPLE["messages"][0], {"role": "assistant", "content": "Here."}]},
            "0 <image_gen> marks in the messages, expected 1",
        ),
        ({"messages": ["hello"]}, "messages[0] is 'hello', expected role and content"),
        (
            {"messages": [{"role": "user", "content": None}]},
            "messages[0] is {'role': 'user', 'content': None}, expected role and content",
        ),
        (
            {"messages": [{"role": "user"}]},
            "messages[0] is {'role': 'user'}, expected role and content",
        ),
    ],
)
def test_a_breach_of_the_contract_is_named(change: dict, fault: str):
    assert json_faults(SAMPLE | change, T2I) == [fault]
    with pytest.raises(ValueError, match=r"^sample '00ff': "):
        encode_json(SAMPLE | change, T2I)


@pytest.mark.parametrize("value", [None, float("nan"), float("-inf"), 2**63, -(2**63) - 1, [1.0]])
def test_a_signal_that_not_every_reader_holds_is_a_fault(value: object):
    (fault,) = json_faults(SAMPLE | {"signals": {"odd": value}}, T2I)
    assert fault.startswith(f"signal 'odd' is {value!r}, expected ")


@pytest.mark.parametrize("value", [0, -1.5, True, "", 2**63 - 1, -(2**63)])
def test_numbers_flags_and_strings_are_signals(value: object):
    assert json_faults(SAMPLE | {"signals": {"fine": value}}, T2I) == []


def test_every_fault_is_named_at_once():
    faults = json_faults({**SAMPLE, "width": "512", "extra": 1, "url": 3}, T2I)
    assert len(faults) == 3
