"""A row of each well-known layout of edits, conversations and preferences becomes its samples."""

import json
from typing import Any

import pytest
from pair_layouts import LAYOUTS, Row
from pydantic import TypeAdapter

from pipelines.runtime.sidecar import Reject
from pipelines.sources.listing import Listed
from pipelines.sources.roles import Roles, key_of
from schemas.source_config import Source

SOURCE: TypeAdapter[Source] = TypeAdapter(Source)


def source_of(name: str, **parts: Any) -> Source:
    subset, further, columns, _ = LAYOUTS[name]
    kind = {"kind": "huggingface"} if further else {"kind": "folder", "list": "list.json"}
    made = {"name": "x", "path": "data", "subset": subset, **kind, **further, "columns": columns}
    return SOURCE.validate_python({**made, **parts})


def samples(name: str, row: Row | None = None) -> list[Listed | Reject]:
    source = source_of(name)
    if source.kind == "huggingface":
        columns = source.columns.without_images()
        roles = Roles(
            source=source.model_copy(update={"columns": source.columns}),
            main=source.image,
            number=7,
        )
        assert columns.input == ""
    else:
        roles = Roles(source=source, main=source.columns.url)
    return list(roles.samples("list row 8", LAYOUTS[name][3] if row is None else row))


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_row_of_each_layout_is_samples_with_their_images(name: str) -> None:
    subset, further, _, _ = LAYOUTS[name]
    found = samples(name)
    assert found
    for sample in found:
        assert isinstance(sample, Listed), sample
        roles = {"edit": ["source"], "preference": ["rejected"]}.get(subset, [])
        assert [image.role for image in sample.images] == roles
        assert sample.url
        assert sample.text or sample.turns
        places = [sample.place, *(image.place for image in sample.images)]
        assert all(place.startswith("7/") for place in places) == bool(further)


def words(name: str) -> list[tuple[str, str, str]]:
    """Return instruction, source and target of each edit."""
    found = [each for each in samples(name) if isinstance(each, Listed)]
    return [(each.text, each.images[0].url, each.url) for each in found]


def test_an_inverse_instruction_is_an_edit_with_the_images_exchanged() -> None:
    before, after = "list row 8/input_image", "list row 8/output_image"
    assert words("HQ-Edit") == [
        ("Add a hat", before, after),
        ("Remove the hat", after, before),
    ]


@pytest.mark.parametrize(("name", "end"), [("SEED-Data-Edit", "jpg"), ("ImgEdit in turns", "png")])
def test_edits_in_turn_start_from_the_image_before(name: str, end: str) -> None:
    assert words(name) == [
        ("Add a hat", f"0.{end}", f"1.{end}"),
        ("Make it red", f"1.{end}", f"2.{end}"),
    ]


def test_the_place_of_the_image_in_an_instruction_is_kept_as_a_mark() -> None:
    assert words("X2I") == [("Transform <image> into a sketch.", "0.png", "1.png")]


@pytest.mark.parametrize("name", ["HPDv2", "HPDv3", "ImageReward"])
def test_the_better_image_is_chosen_by_label_rank_or_place(name: str) -> None:
    [sample] = samples(name)
    assert isinstance(sample, Listed)
    assert (sample.url, sample.images[0].url) == ("1.jpg", "0.jpg")


def test_votes_and_labels_are_the_scores_of_both_images() -> None:
    for name, scores in (("Rapidata", (11.0, 4.0)), ("Pick-a-Pic", (1.0, 0.0))):
        [sample] = samples(name)
        assert isinstance(sample, Listed)
        assert sample.scores == scores


def test_columns_to_keep_are_json_in_the_sample() -> None:
    [sample] = samples("UltraEdit")
    assert isinstance(sample, Listed)
    assert json.loads(sample.listed) == {"ssim": 0.7, "clip_sim_dir": 0.2}


# Layout, what is changed in its row, and the reason that it is then refused for.
DEEP: Any = "x"
for _ in range(900):
    DEEP = [DEEP]

BROKEN: list[tuple[str, Row, str]] = [
    ("ImgEdit", {"prompt": DEEP}, "malformed_row"),
    ("UltraEdit", {"ssim": DEEP}, "malformed_row"),
    ("Pick-a-Pic", {"label_0": 10**400}, "malformed_row"),
    ("Pick-a-Pic", {"label_0": "1e308", "label_1": "-1e308"}, "malformed_row"),
    ("ShareGPT-4o-Image", {"input_image": ["0.png", "2.png"]}, "several_inputs"),
    ("ShareGPT-4o-Image", {"input_image": []}, "no_input"),
    ("ShareGPT-4o-Image", {"output_image": None}, "no_image"),
    ("ShareGPT-4o-Image", {"input_prompt": " "}, "no_instruction"),
    ("ImgEdit", {"output_images": ["1.png", "2.png"]}, "several_inputs"),
    ("SEED-Data-Edit", {"edit_image_1": None}, "no_image"),
    ("SEED-Data-Edit", {"instruction_1": None, "instruction_2": None}, "malformed_row"),
    ("ImgEdit in turns", {"data": []}, "no_input"),
    ("Pick-a-Pic", {"label_0": 0.5, "label_1": 0.5}, "tie"),
    ("Pick-a-Pic", {"label_0": None}, "malformed_row"),
    ("Pick-a-Pic", {"label_0": float("nan")}, "malformed_row"),
    ("Pick-a-Pic", {"caption": ""}, "no_instruction"),
    ("HPDv2", {"human_preference": [1]}, "malformed_row"),
    ("HPDv2", {"image_path": ["0.jpg"]}, "malformed_row"),
    ("HPDv3", {"path2": ""}, "no_image"),
    ("VQA", {"multiple_choice_answer": ""}, "malformed_row"),
    ("LLaVA-OneVision", {"conversations": []}, "malformed_row"),
    ("LLaVA-OneVision", {"conversations": [{"from": "tool", "value": "x"}]}, "malformed_row"),
    ("LLaVA-OneVision", {"conversations": "[{"}, "malformed_row"),
    ("chat with parts", {"image": ""}, "no_image"),
]


@pytest.mark.parametrize(("name", "change", "reason"), BROKEN)
def test_a_broken_row_is_refused_with_its_reason(name: str, change: Row, reason: str) -> None:
    found = samples(name, {**LAYOUTS[name][3], **change})
    assert [each.reason for each in found if isinstance(each, Reject)] == [reason]
    assert all(
        each.dropped == (reason != "malformed_row") for each in found if isinstance(each, Reject)
    )


def test_samples_that_share_an_image_have_keys_of_their_own() -> None:
    def key(text: str) -> str:
        images = [{"role": "source", "url": "0.png"}]
        return key_of("x", {"url": "1.png", "images": images, "text": text, "turns": []})

    assert key("Add a hat") != key("Remove the hat")
    assert key("Add a hat") == key("Add a hat")
