import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import validate

from filters.captions.json_answers import AnswerError
from filters.captions.regions import REGIONS_SCHEMA, Region, Regions, read_regions

SHARES = st.tuples(*[st.integers(0, 9_999)] * 2, *[st.integers(1, 10_000)] * 2).map(
    lambda box: (
        min(box[0], box[2] - 1) / 10_000,
        min(box[1], box[3] - 1) / 10_000,
        max(box[0] + 1, box[2]) / 10_000,
        max(box[1] + 1, box[3]) / 10_000,
    )
)


@given(st.lists(SHARES, min_size=1, max_size=5, unique=True))
def test_what_is_written_is_read_again_and_follows_the_schema(boxes) -> None:
    regions = Regions(
        caption="A fox.", regions=tuple(Region(label="fox", box=box) for box in boxes)
    )
    validate(json.loads(regions.json()), REGIONS_SCHEMA)
    assert read_regions(regions.json()) == regions


def test_a_box_of_qwen_is_in_pixels_of_its_image() -> None:
    answer = '```json\n[{"bbox_2d": [0, 50, 200, 100], "label": "fox"}]\n```'
    [region] = read_regions(answer, (200, 100)).regions
    assert region == Region(label="fox", box=(0.0, 0.5, 1.0, 1.0))
    with pytest.raises(AnswerError, match="expected a box of shares"):
        read_regions(answer)


def test_florence_gives_a_label_one_box_or_several() -> None:
    foxes = "red fox<loc_0><loc_0><loc_499><loc_999><loc_1><loc_2><loc_3><loc_4>"
    answer = f"</s><s>{foxes}hen<loc_5><loc_6><loc_7><loc_8></s>"
    found = read_regions(answer).regions
    assert [region.label for region in found] == ["red fox", "red fox", "hen"]
    assert found[0].box == (0.0005, 0.0005, 0.4995, 0.9995)


def test_a_region_that_stands_twice_is_one() -> None:
    answer = '[{"box": [0, 0, 1, 1], "label": "fox"}, {"box": [0, 0, 1, 1], "label": " fox"}]'
    assert len(read_regions(answer).regions) == 1


@pytest.mark.parametrize(
    "box",
    [
        "[-0.1, 0, 1, 1]",
        "[0, 0, 1.0001, 1]",
        "[0.5, 0, 0.5, 1]",
        "[0.6, 0, 0.5, 1]",
        "[0, 0, 1]",
        "[0, 0, 1, 1, 1]",
        '["0", 0, 1, 1]',
        "[true, 0, 1, 1]",
        "null",
        "[0, 0, 1e999, 1]",
        f"[0, 0, {'9' * 400}, 1]",
        "[0.1, 0.1, 0.10001, 1]",
    ],
)
def test_a_box_outside_of_the_image_or_without_area_is_refused(box: str) -> None:
    with pytest.raises(AnswerError):
        read_regions(f'[{{"label": "fox", "box": {box}}}]')


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "a fox",
        "[]",
        "{}",
        '{"caption": "a fox", "regions": []}',
        '{"caption": 3, "regions": [{"label": "fox", "box": [0, 0, 1, 1]}]}',
        '[{"label": "", "box": [0, 0, 1, 1]}]',
        '[{"box": [0, 0, 1, 1]}]',
        '[{"label": "<image>", "box": [0, 0, 1, 1]}]',
        "[[0, 0, 1, 1]]",
        "fox<loc_1><loc_2><loc_3>",
        "<loc_1><loc_2><loc_3><loc_4>",
        "fox<loc_1><loc_2><loc_3><loc_4>hen",
        "fox<loc_1><loc_2><loc_3><loc_1000>",
        json.dumps([{"label": str(n), "box": [0, 0, 1, 1]} for n in range(201)]),
    ],
)
def test_what_is_no_list_of_named_boxes_is_refused(answer: str) -> None:
    with pytest.raises(AnswerError):
        read_regions(answer, (100, 100))


@given(st.text(alphabet='[]{}":,0123456789.e-+ labeox_2d<>tru\n`'))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(AnswerError):
        assert read_regions(text, (100, 100)).regions
