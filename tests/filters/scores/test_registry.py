"""What holds for every scorer: its own image and text decide, hostile ones do no harm."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pydantic import TypeAdapter

from filters.scorer import Device, Scores, Subject
from filters.scores.pin import pinned
from filters.scores.registry import make_scorer, score_columns
from filters.scores.score_images import score_images
from schemas.score_config import Scorer

# Those that need open_clip or timm, whose import takes seconds.
SLOW = ("clip", "aesthetic", "watermark")
FAST = ("nsfw", "image_text", "faces", "language", "custom")
KINDS = (*FAST, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW))
Configured = Callable[[str], Scorer]


@pytest.fixture(scope="module")
def configured(request: pytest.FixtureRequest) -> Configured:
    """Return a function that gives the settings of a kind."""

    def made(kind: str) -> Scorer:
        settings: dict[str, Any] = {"score": kind}
        if kind in ("clip", "aesthetic"):
            settings["clip"] = request.getfixturevalue("clip")
        if kind == "clip":
            settings["embedding"] = True
        if kind == "aesthetic":
            settings["head"] = str(request.getfixturevalue("heads")["mlp"])
        if kind == "watermark":
            settings["weights"] = str(request.getfixturevalue("watermark_weights"))
        if kind == "custom":
            settings |= {"name": "brightness", "callable": "simple_scorers:brightness"}
        return TypeAdapter(Scorer).validate_python(settings)

    return made


def rows(scores: Scores) -> list[bytes]:
    """Return the bytes of each image's scores."""
    columns = [scores[name] for name in sorted(scores)]
    return [
        pickle.dumps([np.asarray(value).tolist() for value in row])
        for row in zip(*columns, strict=True)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_depends_on_its_own_image_and_text_alone(
    kind: str, configured: Configured, subjects: list[Subject]
) -> None:
    scorer = make_scorer(configured(kind), Device())
    together = score_images(scorer, subjects, Device())
    backwards = score_images(scorer, subjects[::-1], Device())
    alone = score_images(scorer, subjects[2:3], Device())
    assert rows(together) == rows(backwards)[::-1]
    assert rows(alone) == rows(together)[2:3]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_columns_that_the_driver_knows_and_fit_their_types(
    kind: str, configured: Configured, subjects: list[Subject]
) -> None:
    config = configured(kind)
    scores = score_images(make_scorer(config, Device()), subjects[:2], Device())
    columns = score_columns(config)
    assert list(scores) == [column.name for column in columns]
    for column in columns:
        array = pa.array(scores[column.name], type=column.type)
        assert (len(array), array.null_count) == (2, 0)
        assert column.name.startswith(config.name)
        if column.is_ordered:
            values = array.cast(pa.float64()).to_pylist()
            assert all(column.low <= value <= column.high for value in values)


HOSTILE = {
    "one pixel": (Image.new("RGB", (1, 1)), ""),
    "a column": (Image.new("RGB", (1, 20_000), "white"), "word " * 20_000),
    "a row": (Image.new("RGB", (20_000, 1), "red"), "\x00\x07\x1b[31m\u202e\ud800"),
    "large": (Image.new("RGB", (4_000, 3_000)), "\U0001f600" * 500),
    "one long word": (Image.new("RGB", (40, 30), "white"), "a" * 100_000),
}


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_images_and_texts_do_no_harm(kind: str, configured: Configured) -> None:
    scorer = make_scorer(configured(kind), Device())
    subjects = [Subject(key=key, image=image, text=text) for key, (image, text) in HOSTILE.items()]
    for column in scorer.columns:
        values = score_images(scorer, subjects, Device())[column.name]
        assert len(values) == len(subjects)
        if column.is_ordered:
            assert np.isfinite(np.asarray(values, float)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_identity_is_plain_json_without_paths_and_survives_a_pickle(
    kind: str, configured: Configured, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scorer = make_scorer(pinned(configured(kind)), Device())
    written = json.dumps(scorer.identity())
    assert str(tmp_path_factory.getbasetemp()) not in written
    assert json.loads(written)["scorer"] == kind
    assert pickle.loads(pickle.dumps(scorer)).identity() == scorer.identity()
    if kind not in ("language", "custom"):
        assert "sha256" in written


def test_columns_are_known_without_any_model_or_module_of_another_kind() -> None:
    program = """
import sys
from pydantic import TypeAdapter
from filters.scores.registry import score_columns
from schemas.score_config import Scorer
kinds = {"language": {}, "clip": {}, "aesthetic": {"head": "h"}, "nsfw": {}, "image_text": {},
         "watermark": {"weights": "w"}, "faces": {}, "custom": {"name": "c", "callable": "m:n"}}
for kind, settings in kinds.items():
    assert score_columns(TypeAdapter(Scorer).validate_python({"score": kind, **settings}))
    if kind == "language":
        assert "filters.scores.clip" not in sys.modules
heavy = {"torch", "open_clip", "timm", "onnxruntime", "onnx", "cv2", "rapidocr_onnxruntime"}
sys.exit(", ".join(heavy & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
