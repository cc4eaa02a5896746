"""Faces of a photo are blurred in all that a corpus holds of it, and drawings stay as they are."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data
from tiny import Tiny, draw_images

from filters.scorer import Device, Subject
from filters.scores.faces import FacesScorer
from pipelines.verify.job import verify
from schemas.score_config import FacesScore
from schemas.store.storage import Storage

FACES: dict[str, Any] = {"score": {"scorers": [{"score": "faces"}]}}


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(2))
    Image.fromarray(data.astronaut()).save(tmp_path / "images/woman.jpg", quality=95)
    (tmp_path / "images/woman.txt").write_text("a woman in an orange suit before a flag")
    return tiny


def samples(tiny: Tiny) -> dict[str, dict[str, bytes]]:
    """Map the URL of each sample to its members."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted((tiny.out / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, name = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                found.setdefault(key, {})[name] = file.read()
    return {json.loads(each["json"])["url"]: each for each in found.values()}


def codes(tiny: Tiny) -> dict[str, str]:
    """Map each key to the sha256 of its codes."""
    rows = [pq.read_table(path).to_pylist() for path in (tiny.out / "tokens").glob("*.parquet")]
    return {row["key"]: row["sha256"] for table in rows for row in table}


def faces(jpg: bytes) -> int:
    """Count the faces that are found in an image."""
    scorer = FacesScorer(config=FacesScore(score="faces"), device=Device())
    return len(scorer.prepare(Subject(key="", image=Image.open(io.BytesIO(jpg)), text="")))


def test_a_face_is_found_no_more_and_the_rest_stays(tiny: Tiny) -> None:
    tiny.build(tiny.recipe(**FACES))
    before, codes_before = samples(tiny), codes(tiny)
    tiny.build(tiny.recipe(**FACES, blur={}))
    after, codes_after = samples(tiny), codes(tiny)
    assert before.keys() == after.keys()
    for url, members in after.items():
        is_photo = url.endswith("woman.jpg")
        said = json.loads(members["json"])
        assert said["signals"]["faces_blurred"] == is_photo
        assert (before[url]["jpg"] != members["jpg"]) == is_photo
        assert (codes_before[said["key"]] != codes_after[said["key"]]) == is_photo
        assert faces(members["jpg"]) == 0
        assert faces(before[url]["jpg"]) == is_photo
        if is_photo:
            images = (Image.open(io.BytesIO(each[url]["jpg"])) for each in (before, after))
            old, new = (np.asarray(image, int) for image in images)
            assert np.abs(old - new)[:, :100].max() < 16  # beside the face: encoded anew
    assert not verify(Storage(str(tiny.out)), deep=True)
    # Off again, the codes of drawings are taken over, and all is as it was.
    tiny.build(tiny.recipe(**FACES))
    assert codes(tiny) == codes_before
    assert {url: each["jpg"] for url, each in samples(tiny).items()} == {
        url: each["jpg"] for url, each in before.items()
    }
