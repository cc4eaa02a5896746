"""What is in the bundled corpus: tools and tests/corpus are on the path of the tests."""

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import clips
import imagehash
import numpy as np
import openclipart
import pytest
from PIL import Image
from serve import FOLDER, SPECIAL
from wild import WILD

from filters.decode import DecodeError, decode

UNPACKED = FOLDER.parent.parent / openclipart.UNPACKED
UNDECODABLE = {"wild/truncated.png", "wild/bomb.png"}


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text("ascii").splitlines()]


def real_rows() -> list[dict[str, Any]]:
    return [row for row in rows_of("demo.jsonl") if "expect" not in row]


def decoded(name: str) -> Image.Image:
    """Decode as the stages do: upright, RGB, flattened on white."""
    return decode((FOLDER / name).read_bytes(), max_pixels=89_000_000)


def test_every_row_of_the_list_with_an_address_here_is_a_file_or_a_special_path():
    paths = [row["url"] for row in rows_of("demo.jsonl") if ":" not in row.get("url", ":")]
    assert len(paths) == len(rows_of("demo.jsonl")) - 3
    for path in paths:
        assert f"/{path}" in SPECIAL or (FOLDER / unquote(path)).is_file(), path


def test_every_special_path_is_asked_for_by_the_list():
    assert {f"/{row.get('url')}" for row in rows_of("demo.jsonl")} >= set(SPECIAL)


def test_the_corpus_stays_small_enough_for_git():
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 12_000_000


def test_every_image_is_in_the_provenance_with_its_hash_and_its_licence():
    rows = rows_of("provenance.jsonl")
    images = [*FOLDER.rglob("*.png"), *FOLDER.rglob("*.jpg")]
    assert {row["file"] for row in rows} == {str(file.relative_to(FOLDER)) for file in images}
    for row in rows:
        body = (FOLDER / row["file"]).read_bytes()
        assert hashlib.sha256(body).hexdigest() == row["sha256"], row["file"]
        assert row["licence"] in clips.PUBLIC_DOMAIN
        assert row["version"] == "1:0.18+dfsg-19"


def test_the_bundled_rows_have_what_the_rule_of_the_draw_asks_for():
    rows = real_rows()
    assert len(rows) == 300
    assert sum(len(row["text"].split()) >= 3 for row in rows) == 150
    for row in rows:
        assert row["title"]
        assert len(row["tags"]) >= 2
        assert min(clips.png_size(FOLDER / unquote(row["url"]))) >= 256


def test_the_rows_that_go_wrong_cover_each_outcome_once_or_are_another_kind():
    expected = sorted(row["expect"] for row in rows_of("demo.jsonl") if "expect" in row)
    assert expected == sorted(wild.expect for wild in WILD)
    outcomes = set(expected)
    assert {outcome.split(":")[0] for outcome in outcomes} == {"kept", "dropped", "failed"}
    assert len(expected) - len(outcomes) == 5  # five are kept, two URLs are bad


def test_only_the_pixels_meant_to_be_wrong_are_wrong():
    made = {wild.file for wild in WILD if wild.file} - UNDECODABLE
    assert {name for name in made if min(decoded(name).size) < 256} == {"wild/icon.png"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [("wild/truncated.png", "truncated_image"), ("wild/bomb.png", "too_many_pixels")],
)
def test_an_image_that_cannot_be_decoded_says_why(name: str, reason: str):
    assert (FOLDER / name).stat().st_size < 30_000
    with pytest.raises(DecodeError, match=reason):
        decoded(name)


def test_the_turned_image_is_upright_once_its_orientation_is_applied():
    assert Image.open(FOLDER / "wild/turned.jpg").size == (721, 560)
    pixels_HWC = np.asarray(decoded("wild/turned.jpg"))
    sky, sand = pixels_HWC[20, 280], pixels_HWC[700, 280]
    assert sky[2] > sky[0]
    assert sand[0] > sand[2]


def test_the_odd_formats_are_what_they_are_named_and_decode_to_their_pictures():
    assert Image.open(FOLDER / "wild/cmyk.jpg").mode == "CMYK"
    assert Image.open(FOLDER / "wild/grey16.png").mode == "I;16"
    for name in ("wild/cmyk.jpg", "wild/grey16.png"):
        grey_HW = np.asarray(decoded(name).convert("L"))
        assert grey_HW.min() < 64, name
        assert grey_HW.max() == 255, name


def test_the_blank_image_has_a_shape_and_is_blank_on_white():
    image = Image.open(FOLDER / "wild/white_on_transparent.png")
    assert image.getchannel("A").getextrema() == (0, 255)
    assert decoded("wild/white_on_transparent.png").getextrema() == ((255, 255),) * 3


def perceptual_hash(name: str) -> imagehash.ImageHash:
    """Hash a version of 128 px, ten times as fast as hashing the whole."""
    return imagehash.phash(decoded(name).resize((128, 128), Image.Resampling.BOX))


@pytest.mark.slow
def test_only_the_images_meant_to_be_duplicates_look_like_another():
    blank = "wild/white_on_transparent.png"
    made = {wild.file for wild in WILD if wild.file} - UNDECODABLE - {blank}
    hashes = {name: perceptual_hash(name) for name in made}
    bundled = [perceptual_hash(unquote(row["url"])) for row in real_rows()]
    alike = {
        name
        for name, own in hashes.items()
        for other in (*bundled, *(hashes[wild] for wild in hashes if wild != name))
        if own - other <= 8
    }
    assert alike == {"wild/same_bytes.png", "wild/smaller.jpg"}


@pytest.mark.skipif(not UNPACKED.exists(), reason="needs `openclipart.py fetch`")
def test_the_bundled_set_is_what_the_packages_give_today(tmp_path: Path):
    openclipart.pick(UNPACKED, tmp_path)
    assert (tmp_path / "demo.jsonl").read_bytes() == (FOLDER / "demo.jsonl").read_bytes()
    for row in rows_of("provenance.jsonl"):
        if not row["derived"]:  # encoders change from one Pillow to the next
            assert (tmp_path / row["file"]).read_bytes() == (FOLDER / row["file"]).read_bytes()
