"""What holds for every type of edit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edit_images import OTHERS, WHITE, drawings, photo, plain, shape
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from filters.edits.cutouts import on_colour
from filters.edits.edit_type import NotFitting
from filters.edits.registry import EDITS, MadeEdit, changed, make_edit, remake
from schemas.markers import marker_in

ROOT = Path(__file__).parent.parent.parent.parent
PAGE = (ROOT / "docs/concepts/edits.md").read_text()

every_type = pytest.mark.parametrize("name", EDITS)


def made(name: str, image: Image.Image, key: str = "k", **more: Any) -> MadeEdit | None:
    try:
        return make_edit(name, image, key, **({"others": OTHERS} | more))
    except NotFitting:
        return None


def several(name: str, count: int = 12) -> list[MadeEdit]:
    """Edits of a figure with alpha, by several keys."""
    found = [made(name, shape(256), str(n)) for n in range(count)]
    return [edit for edit in found if edit]


@every_type
def test_a_type_fits_drawings_of_the_corpus(name: str):
    images = drawings(24, 256)
    found = [made(name, image, str(n)) for n, (image, _) in enumerate(images)]
    assert sum(edit is not None for edit in found) >= len(images) / 4


@every_type
def test_equal_inputs_give_equal_edits(name: str):
    first, second = (several(name, 3) for _ in range(2))
    assert len(first) > 0
    for a, b in zip(first, second, strict=True):
        assert (a.parameters, a.instruction, a.inverse) == (b.parameters, b.instruction, b.inverse)
        assert (a.source.tobytes(), a.image.tobytes()) == (b.source.tobytes(), b.image.tobytes())


@every_type
def test_keys_draw_several_wordings(name: str):
    assert len({edit.instruction for edit in several(name)}) >= 5


@every_type
def test_parameters_are_json_and_decide_both_images(name: str):
    for edit in several(name, 5):
        stored = json.loads(json.dumps(edit.parameters))
        again = remake(name, shape(256), stored, others=OTHERS)
        assert again.source.tobytes() == edit.source.tobytes()
        assert again.target.tobytes() == edit.image.tobytes()


@every_type
def test_both_images_are_rgb_and_the_given_ones_are_untouched(name: str):
    image, others = shape(256), [(other.copy(), title) for other, title in OTHERS]
    before = [each.tobytes() for each, _ in [(image, ""), *others]]
    edit = made(name, image, others=others)
    assert edit
    assert (edit.source.mode, edit.image.mode) == ("RGB", "RGB")
    assert [each.tobytes() for each, _ in [(image, ""), *others]] == before


@every_type
def test_the_source_is_the_image_on_white_but_where_an_object_is_put_in(name: str):
    flat = on_colour(shape(256), WHITE).tobytes()
    with_object = name in ("move", "resize", "replace")
    assert all((edit.source.tobytes() != flat) == with_object for edit in several(name, 5))


@every_type
def test_the_change_is_measured_and_enough(name: str):
    for edit in several(name, 5):
        assert edit.change == changed(name, edit.source, edit.image)
        assert edit.change.is_enough()
        assert 0 < edit.change.share <= 1
        assert 0 < edit.change.difference <= 255
        unchanged = changed(name, edit.source, edit.source)
        assert not unchanged.is_enough()
        assert unchanged.share == 0


@every_type
def test_an_image_of_one_colour_fits_no_type_that_needs_content(name: str):
    edit = made(name, plain())
    if name in ("sepia", "negative", "brightness", "add", "move", "resize", "replace", "text"):
        return  # these change white too, or bring something along
    assert edit is None


@every_type
def test_a_small_or_very_narrow_image_does_not_fit(name: str):
    with pytest.raises(NotFitting, match="a side is under 64 px"):
        make_edit(name, photo(200, 63), "k", others=OTHERS)
    with pytest.raises(NotFitting, match="one side is over 8 times the other"):
        make_edit(name, photo(64, 513), "k", others=OTHERS)


@every_type
def test_other_images_of_any_shape_give_an_edit_or_a_reason(name: str):
    shapes = [(1, 1), (1, 3000), (3000, 40), (33, 3000), (63, 64)]
    thin = [(shape(200).resize(size), f"a strip {n}") for n, size in enumerate(shapes)]
    flat = [(photo(*size), f"a wall {n}") for n, size in enumerate(shapes)]
    for n in range(4):
        edit = made(name, shape(300), str(n), others=thin + flat)
        assert edit is None or edit.source.tobytes() != edit.image.tobytes()


@every_type
@pytest.mark.parametrize("size", [(64, 512), (512, 64)])
def test_a_narrow_image_gives_an_edit_or_a_reason(name: str, size: tuple[int, int]):
    for image in (photo(*size), shape(300).resize(size)):
        edit = made(name, image)
        assert edit is None or edit.change.is_enough()


@every_type
def test_types_that_need_alpha_or_others_say_so(name: str):
    needs = EDITS[name].needs
    if not needs:
        assert made(name, on_colour(shape(256), WHITE), others=())
        return
    with pytest.raises(NotFitting, match=r"no alpha|no other image"):
        make_edit(name, photo() if "alpha" in needs else shape(256), "k")


def test_an_unknown_type_and_another_mode_are_errors():
    with pytest.raises(ValueError, match="edit 'hu': expected one of hue, saturation"):
        make_edit("hu", photo(), "k")
    with pytest.raises(ValueError, match="mode L: expected RGB or RGBA"):
        make_edit("hue", photo().convert("L"), "k")
    with pytest.raises(ValueError, match="edit flip has no parameters angle"):
        remake("flip", photo(), {"angle": 3})


@every_type
def test_titles_with_tokens_of_chat_templates_are_not_said(name: str):
    others = [(image, f"{title} <|im_end|>") for image, title in OTHERS]
    edit = made(name, shape(256), others=others, source_words="a fox <image>")
    needs_titles = {*EDITS[name].needs} - {"alpha"}
    assert (edit is None) == bool(needs_titles)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(EDITS)),
    title=st.text(max_size=70),
    words=st.text(max_size=70),
    key=st.text(alphabet="0123456789abcdef", min_size=1, max_size=8),
)
def test_any_title_gives_a_sentence_or_no_edit(name: str, title: str, words: str, key: str):
    others = [(image, title) for image, _ in OTHERS[:1]] + OTHERS[1:]
    edit = made(name, shape(256), key, others=others, source_words=words)
    for text in (edit.instruction, edit.inverse) if edit else ():
        assert not marker_in(text)
        assert "  " not in text
        assert text == text.strip()
        assert "\n" not in text


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(EDITS)),
    width=st.integers(64, 300),
    height=st.integers(64, 300),
    seed=st.integers(0, 99),
    alpha=st.booleans(),
)
def test_any_pixels_give_an_edit_or_a_reason(
    name: str, width: int, height: int, seed: int, alpha: bool
):
    drawn = np.random.default_rng(seed)
    coarse = drawn.integers(0, 256, (3, 4, 4 if alpha else 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST)
    edit = made(name, image, str(seed))
    assert edit is None or edit.source.tobytes() != edit.image.tobytes()


@every_type
def test_the_page_of_edits_has_what_a_type_does_its_measures_and_its_pictures(name: str):
    assert PAGE.count(f"| `{name}` |") == 2
    assert f"../assets/edits/{name}.webp" in PAGE
    with Image.open(ROOT / f"docs/assets/edits/{name}.webp") as sheet:
        assert sheet.width >= 1000
