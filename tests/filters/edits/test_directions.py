"""Each edit does what its words say, and its way back undoes it."""

import re
from random import Random
from typing import Any

import numpy as np
import pytest
from edit_images import OTHERS, drawings, photo, shape
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageOps

from filters.edits.colour import turn_hues
from filters.edits.colours import COLOURS
from filters.edits.edit_type import NotFitting
from filters.edits.light import Brightness
from filters.edits.measures import deviation
from filters.edits.places import SPOTS, box_at
from filters.edits.registry import MadeEdit, make_edit, remake


def all_of(name: str, image: Image.Image, count: int = 24, **more: Any) -> list[MadeEdit]:
    found: list[MadeEdit] = []
    for n in range(count):
        try:
            found.append(make_edit(name, image, str(n), **({"others": OTHERS} | more)))
        except NotFitting:
            continue
    assert found
    return found


def array(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image).astype(np.int16)


def equal(a: Image.Image, b: Image.Image) -> bool:
    return a.size == b.size and ImageChops.difference(a, b).getbbox() is None


@given(
    pixels=st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=20),
    degrees=st.sampled_from([60, 120, 180, 240, 300]),
)
def test_hues_turned_there_and_back_are_the_same_levels(
    pixels: list[tuple[int, int, int]], degrees: int
):
    rgb = np.array([pixels], np.uint8)
    turned = turn_hues(rgb, degrees)
    assert np.array_equal(turn_hues(turned, 360 - degrees), rgb)
    assert np.array_equal(turned.max(axis=2), rgb.max(axis=2))
    assert np.array_equal(turned.min(axis=2), rgb.min(axis=2))


def test_red_is_yellow_after_60_degrees_and_blue_after_240():
    red = np.array([[[255, 0, 0]]], np.uint8)
    wheel = [turn_hues(red, degrees)[0, 0].tolist() for degrees in (60, 120, 180, 240, 300)]
    assert wheel == [[255, 255, 0], [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255]]


def test_the_measured_hue_is_that_of_the_parameters_and_the_words_name_both_colours():
    for edit in all_of("hue", shape(256)):
        degrees = int(str(edit.parameters["degrees"]))
        assert (edit.change.value - degrees + 180) % 360 - 180 == pytest.approx(0, abs=3)
        for text in (edit.instruction, edit.inverse):
            assert str(edit.parameters["before"]) in text
            assert str(edit.parameters["after"]) in text


MORE_AND_LESS = {
    "saturation": ("factor", r"strong|vivid|increas|boost|more colourful|up|intense|vibrant"),
    "contrast": ("factor", r"increase|raise|up|strong|more contrast|boost|more\.|higher"),
}


@pytest.mark.parametrize("name", MORE_AND_LESS)
def test_more_is_more_and_less_is_less(name: str):
    signs = set[bool]()
    for edit in all_of(name, photo()):
        more = float(str(edit.parameters["factor"])) > 1
        assert (edit.change.value > 0) == more
        signs.add(more)
    assert signs == {True, False}


def test_brighter_is_brighter_and_the_words_say_the_direction():
    brighter, darker = (
        r"brighte|lighte|brightness up|increase the brightness",
        "dark|dim|reduce|down",
    )
    for edit in all_of("brightness", photo()):
        up = edit.parameters["direction"] == "brighter"
        assert (array(edit.image).mean() > array(edit.source).mean()) == up
        for text, says_up in ((edit.instruction, up), (edit.inverse, not up)):
            last = text.split(". ")[-1].lower()  # after "It is too dark."
            assert bool(np.any([word in last for word in words(brighter)])) == says_up, text
            assert bool(np.any([word in last for word in words(darker)])) != says_up, text


def words(pattern: str) -> list[str]:
    return pattern.split("|")


def test_brightness_is_undone_within_two_levels():
    levels = np.arange(256)
    source = Image.fromarray(np.repeat(levels.astype(np.uint8)[None, :, None], 3, axis=2))
    for edit in all_of("brightness", photo()):
        table = remake("brightness", padded(source), edit.parameters).target
        there = array(table)[0, :, 0] / 255
        amount = float(str(edit.parameters["amount"]))
        up = edit.parameters["direction"] == "brighter"
        back = there ** (1 / amount) if up else there / amount
        assert np.abs(back * 255 - levels).max() <= 2


def padded(row: Image.Image) -> Image.Image:
    return row.resize((row.width, 64), Image.Resampling.NEAREST)


def test_both_directions_of_brightness_have_three_strengths():
    found = {
        (edit.parameters["direction"], edit.parameters["strength"])
        for edit in all_of("brightness", photo(), 60)
    }
    assert len(found) == 6
    assert Brightness.inverse == "computed"


def test_monochrome_is_grey_and_sepia_brown_and_a_negative_its_own_way_back():
    [grey, sepia, negative] = [
        all_of(name, photo(), 1)[0].image for name in ("monochrome", "sepia", "negative")
    ]
    assert np.ptp(array(grey), axis=2).max() == 0
    red, green, blue = array(sepia).reshape(-1, 3).mean(axis=0)
    assert red > green > blue
    assert equal(ImageOps.invert(negative), photo())


def test_grey_images_have_no_hue_saturation_or_colour_to_lose():
    grey = photo().convert("L").convert("RGB")
    for name in ("hue", "saturation", "monochrome"):
        with pytest.raises(NotFitting):
            make_edit(name, grey, "k")


def test_blur_lowers_and_sharpening_raises_the_sharpness():
    image = drawings(12, 256)[0][0]
    assert all(edit.change.value <= -1 for edit in all_of("blur", image))
    assert all(edit.change.value >= 0.5 for edit in all_of("sharpen", image))


def test_a_stronger_edit_changes_more():
    image = drawings(12, 256)[0][0]
    for name in ("blur", "sharpen", "brightness", "saturation"):
        by: dict[str, list[float]] = {}
        for edit in all_of(name, image if name != "saturation" else photo(), 60):
            by.setdefault(str(edit.parameters["strength"]), []).append(abs(edit.change.value))
        weak, plain, strong = (max(by[strength]) for strength in ("slight", "plain", "strong"))
        assert weak < plain < strong


def test_a_flip_is_undone_by_another_and_a_rotation_by_the_rest_of_a_circle():
    for edit in all_of("flip", photo()):
        assert equal(remake("flip", edit.image, edit.parameters).target, edit.source)
        said = {
            "horizontal": "horizontally|left|vertical axis",
            "vertical": "vertically|vertical mirror|top|horizontal axis",
        }
        for text in (edit.instruction, edit.inverse):
            assert re.search(said[str(edit.parameters["axis"])], text), text
    for edit in all_of("rotate", photo()):
        back = {"degrees": 360 - int(str(edit.parameters["degrees"]))}
        assert equal(remake("rotate", edit.image, back).target, edit.source)


def test_a_quarter_turn_clockwise_brings_the_top_to_the_right():
    image = Image.new("RGB", (100, 80), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 100, 20), fill="red")
    turned = remake("rotate", image, {"degrees": 90}).target
    assert turned.size == (80, 100)
    assert turned.getpixel((75, 50)) == (255, 0, 0)


def test_a_symmetric_image_cannot_be_flipped_along_its_axis():
    half = photo(120, 200)
    image = Image.new("RGB", (240, 200))
    image.paste(half, (0, 0))
    image.paste(ImageOps.mirror(half), (120, 0))
    edits = all_of("flip", image)
    assert {edit.parameters["axis"] for edit in edits} == {"vertical"}


def test_a_tilt_is_nearly_undone_by_the_opposite_one():
    framed = Image.new("RGB", (400, 400), "white")
    framed.paste(shape(200).convert("RGB"), (100, 100), shape(200))
    for edit in all_of("tilt", framed, 12):
        back = dict(edit.parameters) | {"degrees": -int(str(edit.parameters["degrees"]))}
        again = remake("tilt", edit.image, back).target
        assert np.abs(array(again) - array(edit.source)).mean() < 2
        assert str(abs(int(str(edit.parameters["degrees"])))) in edit.instruction


def test_a_tilt_keeps_all_of_the_content_and_needs_an_even_border():
    with pytest.raises(NotFitting, match="the border is not of one colour"):
        make_edit("tilt", photo(), "k")
    bar = Image.new("RGB", (300, 64), "white")
    ImageDraw.Draw(bar).rectangle((2, 20, 297, 44), fill="blue")
    with pytest.raises(NotFitting, match="would leave the frame"):
        make_edit("tilt", bar, "k")


def test_a_crop_is_a_part_of_the_source_and_named():
    places = set[str]()
    for edit in all_of("crop", photo(), 60):
        part = str(edit.parameters["part"])
        places.add(part)
        wide = 1 if part in ("top", "bottom") else 2
        high = 1 if part in ("left", "right") else 2
        size = (240 // wide, 200 // high)
        assert edit.image.size == size
        assert equal(edit.image, edit.source.crop(box_at(SPOTS and part, size, (240, 200))))  # type: ignore[arg-type]
        assert ("central" if part == "centre" else part) in edit.instruction
    assert len(places) == 9


def test_a_crop_leaves_no_empty_part():
    image = Image.new("RGB", (300, 300), "white")
    image.paste(photo(300, 140), (0, 0))
    parts = {str(edit.parameters["part"]) for edit in all_of("crop", image, 40)}
    assert len(parts) > 3
    assert not any("bottom" in part for part in parts)


def test_a_zoom_is_an_enlarged_part_and_its_words_name_the_factor():
    for edit in all_of("zoom", photo(480, 400), 20):
        assert edit.image.size == edit.source.size
        factor = float(str(edit.parameters["factor"]))
        assert f"{factor:g}" in edit.instruction
        width, height = round(480 / factor), round(400 / factor)
        box = box_at(edit.parameters["place"], (width, height), (480, 400))  # type: ignore[arg-type]
        part = edit.source.crop(box)
        small = edit.image.resize(part.size, Image.Resampling.BOX)
        assert np.abs(array(small) - array(part)).mean() < 4


def test_a_background_changes_nothing_that_is_opaque():
    opaque = np.asarray(shape(256))[..., 3] == 255
    for name in ("background_colour", "background_pattern", "background_picture"):
        for edit in all_of(name, shape(256), 10):
            assert np.array_equal(array(edit.image)[opaque], array(edit.source)[opaque])
            clear = array(edit.image)[~opaque]
            assert (clear == 255).all(axis=1).mean() < 0.9  # dots on white


def test_a_background_has_the_colour_that_the_words_name():
    for edit in all_of("background_colour", shape(256)):
        colour = str(edit.parameters["colour"])
        assert edit.image.getpixel((0, 0)) == COLOURS[colour]
        assert colour in edit.instruction
        assert "white" in edit.inverse
    for edit in all_of("background_pattern", shape(256)):
        assert str(edit.parameters["first"]) in edit.instruction
        assert str(edit.parameters["second"]) in edit.instruction


def test_no_background_is_drawn_that_hides_the_object():
    black = Image.new("RGBA", (128, 128))
    ImageDraw.Draw(black).ellipse((20, 20, 100, 100), fill=(0, 0, 0))
    drawn = {edit.parameters["colour"] for edit in all_of("background_colour", black, 60)}
    assert "black" not in drawn
    assert len(drawn) > 8


def test_holes_and_opaque_images_have_no_background():
    ring = Image.new("RGBA", (200, 200))
    ImageDraw.Draw(ring).ellipse((0, 0, 199, 199), outline=(200, 0, 0), width=12)
    with pytest.raises(NotFitting, match="large holes"):
        make_edit("background_colour", ring, "k")
    with pytest.raises(NotFitting, match="no alpha"):
        make_edit("background_colour", photo(), "k")
    with pytest.raises(NotFitting, match=r"0\.0% of the image is transparent"):
        make_edit("background_colour", photo().convert("RGBA"), "k")
    invisible = Image.new("RGBA", (200, 200))
    ImageDraw.Draw(invisible).ellipse((20, 20, 180, 180), fill=(250, 250, 250))
    with pytest.raises(NotFitting, match="hardly seen on white"):
        make_edit("background_colour", invisible, "k")


def test_an_object_stands_where_the_words_say_and_nothing_else_changes():
    for edit in all_of("add", photo(400, 400)):
        spot = SPOTS[edit.parameters["place"]]  # type: ignore[index]
        left, top, right, bottom = ImageChops.difference(edit.source, edit.image).getbbox() or ()
        assert abs((left + right) / 800 - (0.5 + (spot.across - 0.5) * 0.65)) < 0.2
        assert abs((top + bottom) / 800 - (0.5 + (spot.down - 0.5) * 0.65)) < 0.2
        for text in (edit.instruction, edit.inverse):
            assert spot.where in text
            assert any(noun in text for noun in ("strange hill", "red kite"))


def test_moving_back_is_the_same_edit_with_its_places_exchanged():
    for edit in all_of("move", photo(400, 400)):
        places = {"before": edit.parameters["after"], "after": edit.parameters["before"]}
        back = remake("move", photo(400, 400), {**edit.parameters, **places}, others=OTHERS)
        assert equal(back.source, edit.image)
        assert equal(back.target, edit.source)
        for text in (edit.instruction, edit.inverse):
            for place in places.values():
                spot = SPOTS[place]  # type: ignore[index]
                assert spot.where in text or spot.noun in text


def test_resizing_makes_larger_or_smaller_as_the_words_say():
    for edit in all_of("resize", photo(400, 400)):
        up = float(str(edit.parameters["after"])) > float(str(edit.parameters["before"]))
        larger = ("large", "big.", "bigger", "as big", "up", "double", "more room")
        smaller = ("small", "shrink", "half", "halve", "down", "less room")
        words = re.split(r"is too (?:small|big)\. ", edit.instruction)[-1].lower()
        assert any(word in words for word in (larger if up else smaller)), edit.instruction


def test_replacing_names_both_objects_in_order():
    for edit in all_of("replace", photo(400, 400)):
        assert edit.parameters["titles"] in (
            ["a strange hill", "red kite"],
            ["red kite", "a strange hill"],
        )
        assert "strange hill" in edit.instruction
        assert "red kite" in edit.inverse


def test_objects_without_alpha_or_not_seen_are_not_put_in():
    with pytest.raises(NotFitting, match="no other image is a thing"):
        make_edit("add", photo(), "k", others=[(photo(), "a fog")])
    hill = Image.new("RGBA", (100, 100))
    ImageDraw.Draw(hill).ellipse((0, 0, 99, 99), fill=(255, 255, 255))
    white = Image.new("RGB", (300, 300), "white")
    with pytest.raises(NotFitting, match="no other image is a thing"):
        make_edit("add", white, "k", others=[(hill, "a snowball")])


def test_text_is_quoted_and_stays_within_the_image():
    for edit in all_of("text", photo(400, 300)):
        text, colour = str(edit.parameters["text"]), str(edit.parameters["colour"])
        assert f'"{text}"' in edit.instruction
        assert colour in edit.instruction
        left, top, right, bottom = ImageChops.difference(edit.source, edit.image).getbbox() or ()
        assert 0 < left < right < 400
        assert 0 < top < bottom < 300
        assert (array(edit.image) == COLOURS[colour]).all(axis=2).any()


def test_styles_keep_few_levels_or_squares():
    for edit in all_of("posterise", photo()):
        assert len(np.unique(array(edit.image))) <= int(str(edit.parameters["levels"]))
    for edit in all_of("pixelate", photo(240, 240)):
        blocks = int(str(edit.parameters["blocks"]))
        assert len(edit.image.getcolors(blocks**2) or []) > 1
        assert bool(edit.inverse) == (edit.parameters["strength"] != "strong")
    for edit in all_of("halftone", photo(400, 400)):
        assert set(np.unique(array(edit.image))) <= {0, 255}
        assert str(edit.parameters["ink"]) in edit.instruction
        if edit.parameters["ink"] == "black":  # as much ink as the image is dark
            grey = array(edit.source.convert("L")).mean()
            assert abs(array(edit.image).mean() - grey) < 16


def test_edges_are_where_the_luminance_changes():
    square = Image.new("RGB", (200, 200), (230, 230, 230))
    ImageDraw.Draw(square).rectangle((50, 50, 150, 150), fill=(20, 20, 120))
    for lines, inside in (("black on white", 255), ("white on black", 0)):
        drawn = array(remake("edges", square, {"lines": lines, "colourful": True}).target)
        assert drawn[100, 100].tolist() == [inside] * 3
        assert abs(int(drawn[100, 50, 0]) - inside) > 150


@given(
    values=st.lists(st.integers(0, 255), min_size=2, max_size=50),
    order=st.randoms(use_true_random=False),
)
def test_measures_are_the_same_in_any_order_of_pixels(values: list[int], order: Random):
    shuffled = [*values]
    order.shuffle(shuffled)
    a, b = (np.array(each, np.float32) for each in (values, shuffled))
    assert deviation(a) == deviation(b)
    assert deviation(a) == pytest.approx(float(np.std(values)), abs=1e-6)
