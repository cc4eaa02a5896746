"""Subsets: what each consists of, and that nothing else has to know them by name."""

import ast
import pickle
from typing import get_args

import pytest
from corpus import ROOT

from schemas.subsets import SUBSETS, SourceSubset, Subset, SubsetName, made_by

ARRAYS = ["features256.npy", "tokens256.npy"]
PAIR = ["chosen.features256.npy", "rejected.features256.npy"]
PAIR_CODES = ["chosen.tokens256.npy", "rejected.tokens256.npy"]
MEMBERS = {
    "t2i": ["jpg", "json", *ARRAYS],
    "edit": ["source.jpg", "jpg", "json", *ARRAYS],
    "understand": ["jpg", "json"],
    "preference": ["chosen.jpg", "rejected.jpg", "json", *PAIR, *PAIR_CODES],
    "preference_edit": ["source.jpg", "chosen.jpg", "rejected.jpg", "json", *PAIR, *PAIR_CODES],
}


@pytest.mark.parametrize("subset", SUBSETS.values(), ids=SUBSETS)
def test_a_subset_says_its_members_in_order_and_as_many_marks_as_they_need(subset: Subset) -> None:
    name = subset.name.removesuffix("_held_out")
    assert subset.members(ARRAYS) == MEMBERS[name]
    edits = name in ("edit", "understand", "preference_edit")
    assert subset.marks == {"<image_gen>": int(name != "understand"), "<image>": int(edits)}
    assert subset.is_pairs == name.startswith("preference")
    assert subset.gives_prompts == (name in ("t2i", "edit"))
    assert {"key", "messages", "crop_aspect"} <= subset.fields.keys()


def test_every_name_has_a_subset_that_is_known_by_its_producer() -> None:
    assert tuple(SUBSETS) == get_args(SubsetName)
    built = [*get_args(SourceSubset)]
    held_out = [f"{name}_held_out" for name in built]
    assert [each.name for each in made_by("build")] == [*built, *held_out]
    assert [SUBSETS[name].kind.name for name in held_out] == built
    assert [SUBSETS[name].held_out.name for name in built] == held_out
    assert [each.name for each in made_by("preferences")] == ["preference", "preference_edit"]


def test_a_subset_travels_to_a_worker_and_is_the_same_there() -> None:
    for subset in SUBSETS.values():
        assert pickle.loads(pickle.dumps(subset)) == subset
        assert hash(subset) == hash(pickle.loads(pickle.dumps(subset)))


def test_no_other_file_of_code_names_a_subset() -> None:
    names = {"t2i", "preference", "preference_edit"}  # others are stages of a training too
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for package in ("pipelines", "model", "filters", "schemas", "tools", "notebooks")
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert {place.partition(":")[0] for place in found} == {"schemas/subsets.py"}, found
