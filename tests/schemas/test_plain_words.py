"""Faults of recipes are told in the words of YAML, not in those of the library that finds them."""

from pathlib import Path
from typing import Any

import pytest

from schemas.recipe_file import RecipeError, load_recipe, parse_recipe

BSQ = {"tokenizer": "infinity_bsq", "preset": "bundled"}


def faults(**parts: Any) -> str:
    sources = [{"name": "p", "kind": "folder", "path": "i"}]
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"name": "t", "sources": sources, **parts})
    return str(caught.value)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"vq_tokens": {"tokenizers": [{**BSQ, "resolutions": 128}]}},
            "vq_tokens.tokenizers.0.resolutions: expected a list, got 128; write [128]",
        ),
        (
            {"vq_tokens": {"tokenizers": [{**BSQ, "preset": "bundld"}]}},
            "vq_tokens.tokenizers.0.preset: expected 'bundled', ",
        ),
        ({"vq_tokens": {"tokenizers": []}}, "tokenizers: expected a list of at least 1 item, got"),
        ({"vq_tokens": {"tokenizers": "x"}}, "tokenizers: expected a list, got 'x'"),
        ({"select": {"short_side": 3}}, "write {min: 3}, {max: 3} or {forbid: true}"),
        ({"select": None}, "select: expected a mapping (key: value), got nothing"),
        ({"name": "x y/z"}, "name: expected letters from A to Z, digits, _ and - only"),
        ({"name": 3}, 'name: expected text, got 3; write "3" in quotes'),
        ({"rows_per_shard": "a"}, "rows_per_shard: expected a whole number, got 'a'"),
        ({"crawl": {"timeout_s": 0}}, "crawl.timeout_s: expected a number over 0, got 0"),
        ({"crawl": {"allow_private_addresses": "maybe"}}, "expected true or false, got 'maybe'"),
        (
            {"sources": [{"name": "p", "kind": "list", "path": "x", "columns": {"url": [1]}}]},
            "sources.0.columns.url: expected a column's name or number, got [1]",
        ),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(parts: dict[str, Any], said: str):
    told = faults(**parts)
    assert said in told
    assert len(told.splitlines()) == 1
    assert "Input should" not in told


def test_what_is_missing_is_named():
    with pytest.raises(RecipeError, match="sources: is missing; add it"):
        parse_recipe({"name": "t"})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is empty; expected a mapping"),
        (b"just text", "expected a mapping (key: value), found text"),
        (b"name: t\n\tsources: []\n", "line 2, column 1: a tab; write blanks instead"),
        (b"name: \xff", "no text at byte 6"),
        (b"a: [1\n", "that began in line 1"),
    ],
)
def test_what_is_no_yaml_is_told_by_line(body: bytes, said: str, tmp_path: Path):
    path = tmp_path / "r.yaml"
    path.write_bytes(body)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    assert said in str(caught.value)
    assert "<byte string>" not in str(caught.value)


def test_a_folder_is_no_recipe(tmp_path: Path):
    with pytest.raises(RecipeError, match="is a folder; give the YAML file"):
        load_recipe(str(tmp_path))
