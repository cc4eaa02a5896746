import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.rules import columns_in, judge, measured_first, passing
from schemas.rule_config import Rule, decided
from schemas.store.errors import CorpusError

NAN = math.nan


def reasons(column: str, values: Sequence[Any], type_: Any = None, **rule: Any) -> list[str]:
    """Judge values of one column by one rule."""
    table = pa.table({column: pa.array(values, type_)})
    return judge(table, {column: Rule.model_validate(rule)}).to_pylist()


@pytest.mark.parametrize(
    ("column", "rule", "values", "expected"),
    [
        ("short_side", {"min": 256}, [255, 256, 257], ["short_side_min", "", ""]),
        ("text_chars", {"max": 512}, [511, 512, 513], ["", "", "text_chars_max"]),
        (
            "aspect",
            {"min": 1.0, "max": 2.0},
            [0.5, 1.0, 2.0, 2.5],
            ["aspect_min", "", "", "aspect_max"],
        ),
        ("text_url", {"forbid": True}, [False, True], ["", "text_url"]),
        ("licence", {"in": ["CC0", "PD"]}, ["CC0", "cc0", "PD", ""], ["", "in", "", "in"]),
        ("author", {"not_in": ["bot"]}, ["bot", "Bot", ""], ["not_in", "", ""]),
        ("url", {"matches": r"\.jpe?g$"}, ["a.jpg", "b.jpeg", "c.png"], ["", "", "matches"]),
    ],
)
def test_each_kind_of_rule_keeps_what_it_says(
    column: str, rule: dict[str, Any], values: list[Any], expected: list[str]
):
    names = [f"{column}_{why}" if why in ("in", "not_in", "matches") else why for why in expected]
    assert reasons(column, values, **rule) == names


@pytest.mark.parametrize("bound", ["min", "max"])
def test_a_value_that_is_no_number_passes_no_bound(bound: str):
    assert reasons("aspect", [NAN, None, 1.0], pa.float64(), **{bound: 1}) == [
        f"aspect_{bound}",
        f"aspect_{bound}",
        "",
    ]


@pytest.mark.parametrize("rule", [{"in": ["en"]}, {"not_in": ["en"]}, {"matches": ""}])
def test_a_text_that_is_not_there_passes_no_rule(rule: dict[str, Any]):
    [why] = rule
    assert reasons("language", [None], pa.string(), **rule) == [f"language_{why}"]


def test_a_flag_that_is_not_there_passes_no_rule():
    assert reasons("stock", [None, False], pa.bool_(), forbid=True) == ["stock", ""]


def test_a_host_matches_its_parent_domains_in_any_case():
    hosts = ["example.org", "a.b.example.org", "badexample.org", "org", ""]
    assert reasons("host", hosts, not_in=["Example.org"]) == [
        "host_not_in",
        "host_not_in",
        "",
        "",
        "",
    ]
    assert reasons("host", hosts, **{"in": ["example.org"]}) == [
        "",
        "",
        "host_in",
        "host_in",
        "host_in",
    ]


@given(st.lists(st.sampled_from(["a", "b", "example", "org"]), min_size=1, max_size=9))
def test_a_host_is_in_a_list_if_it_or_a_parent_is(labels: list[str]):
    host = ".".join(labels)
    listed = ["example.org", "b"]
    expected = any(host == name or host.endswith(f".{name}") for name in listed)
    assert (reasons("host", [host], **{"in": listed}) == [""]) == expected


def test_texts_can_be_a_file_of_one_a_line(tmp_path: Path):
    listed = tmp_path / "licences.txt"
    listed.write_text("# allowed\nCC0\n\n  PD \nCC0\n")
    assert reasons("licence", ["CC0", "PD", "# allowed", ""], **{"in": str(listed)}) == [
        "",
        "",
        "licence_in",
        "licence_in",
    ]


def test_a_file_of_texts_that_changed_is_refused(tmp_path: Path):
    listed = tmp_path / "hosts.txt"
    listed.write_text("example.org\n")
    before = hashlib.sha256(listed.read_bytes()).hexdigest()
    rule = {"not_in": str(listed), "texts_sha256": before}
    assert reasons("host", ["example.org"], **rule) == ["host_not_in"]
    other = tmp_path / "moved.txt"
    other.write_text("example.com\n")
    with pytest.raises(CorpusError, match=r"sha256 is .*, the recipe says"):
        reasons("host", ["example.org"], **{**rule, "not_in": str(other)})


@pytest.mark.parametrize(
    ("body", "fault"),
    [(b"", "found none"), (b"# a comment\n", "found none"), (b"\xff\xfe\x00", "UTF-8")],
)
def test_a_file_without_texts_is_refused(tmp_path: Path, body: bytes, fault: str):
    listed = tmp_path / "texts.txt"
    listed.write_bytes(body)
    with pytest.raises(CorpusError, match=fault):
        reasons("host", ["a"], not_in=str(listed))
    with pytest.raises(CorpusError, match="no such file"):
        reasons("host", ["a"], not_in=f"{listed}.not")


def either(*groups: Mapping[str, dict[str, Any]]) -> Rule:
    return Rule.model_validate({"any_of": groups})


def test_any_of_keeps_rows_that_pass_all_rules_of_one_group():
    table = pa.table(
        {
            "short_side": [512, 300, 300, 300],
            "clip": [None, 0.9, 0.1, NAN],
            "licence": ["", "CC0", "CC0", "CC0"],
        }
    )
    rules = {
        "good": either(
            {"short_side": {"min": 512}},
            {"clip": {"min": 0.5}, "licence": {"in": ["CC0"]}},
        )
    }
    assert judge(table, rules).to_pylist() == ["", "", "good", "good"]
    assert columns_in(rules) == ["short_side", "clip", "licence"]


def test_groups_can_have_groups():
    table = pa.table({"a": [1, 2, 3, 4]})
    inner = {"any_of": [{"a": {"max": 1}}, {"a": {"min": 4}}]}
    rules = {"ends": either({"inner": inner}, {"a": {"min": 3, "max": 3}})}
    assert judge(table, rules).to_pylist() == ["", "ends", "", ""]


def test_the_first_broken_rule_gives_the_reason():
    table = pa.table({"short_side": [10], "text_url": [True]})
    rules = {"text_url": Rule(forbid=True), "short_side": Rule(min=256)}
    assert judge(table, rules).to_pylist() == ["text_url"]
    assert judge(table, dict(reversed(rules.items()))).to_pylist() == ["short_side_min"]


def test_without_rules_everything_stays():
    table = pa.table({"short_side": [1, 2]})
    assert judge(table, {}).to_pylist() == ["", ""]
    assert passing(table, {}).to_pylist() == [True, True]


def test_no_rows_have_no_reasons():
    empty = pa.table({"short_side": pa.array([], pa.int64())})
    rules = {"short_side": Rule(min=1)}
    assert judge(empty, rules).to_pylist() == passing(empty, rules).to_pylist() == []


def test_a_rule_on_a_column_that_was_not_measured_is_an_error():
    with pytest.raises(KeyError, match="sharpness"):
        judge(pa.table({"short_side": [10]}), {"sharpness": Rule(min=1)})


NUMBERS = st.one_of(st.none(), st.floats(-2, 2), st.just(NAN))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=20), st.floats(-2, 2), st.floats(-2, 2))
def test_rows_pass_if_no_rule_drops_them(
    rows: list[tuple[float | None, float | None]], low: float, high: float
):
    """Against Python's own comparisons, row by row."""
    table = pa.table(
        {
            "a": pa.array([a for a, _ in rows], pa.float64()),
            "b": pa.array([b for _, b in rows], pa.float64()),
        }
    )
    rules = {"a": Rule(min=low), "b": Rule(max=high)}
    expected = [
        "a_min" if a is None or not a >= low else "b_max" if b is None or not b <= high else ""
        for a, b in rows
    ]
    assert judge(table, rules).to_pylist() == expected
    assert passing(table, rules).to_pylist() == [not why for why in expected]


def test_rules_that_read_scores_come_last():
    rules = {
        "aesthetic": Rule(min=4.75),
        "short_side": Rule(min=384),
        "either": either({"clip": {"min": 0.3}}, {"short_side": {"min": 512}}),
        "licence": Rule(not_in=("",)),
    }
    cheap, dear = measured_first(rules, ("aesthetic", "clip"))
    assert ([*cheap], [*dear]) == (["short_side", "licence"], ["aesthetic", "either"])
    table = pa.table({"aesthetic": [None], "short_side": [1], "licence": [""], "clip": [None]})
    assert judge(table, {**cheap, **dear}).to_pylist() == ["short_side_min"]


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({}, "a rule needs"),
        ({"min": 2, "max": 1}, "no image passes"),
        ({"in": "a.txt", "not_in": "b.txt"}, "make them two rules"),
        ({"any_of": [{}]}, "every row passes"),
        ({"any_of": [{"a": {"min": 1}}], "min": 1}, "any_of stands alone"),
        ({"in": []}, "at least 1"),
    ],
)
def test_a_rule_that_says_nothing_or_too_much_is_refused(rule: dict[str, Any], fault: str):
    with pytest.raises(ValidationError, match=fault):
        Rule.model_validate(rule)


def test_a_moved_file_of_texts_decides_the_same():
    first, moved, changed = (
        {"host": Rule(not_in=path, texts_sha256=digest * 64)}
        for path, digest in (("a.txt", "0"), ("b/a.txt", "0"), ("a.txt", "1"))
    )
    assert decided(first) == decided(moved) != decided(changed)
    assert decided({"any": either(first)}) == decided({"any": either(moved)})
    assert decided({"any": either(first)}) != decided({"any": either(changed)})
