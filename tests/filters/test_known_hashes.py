"""Files and pictures are found on lists of hashes, in the layouts that such lists have."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from filters.known_hashes import read_hashes
from filters.pdq import pdq
from schemas.store.errors import CorpusError

BODY = b"an image"
MD5, SHA1, SHA256 = (getattr(hashlib, n)(BODY).hexdigest() for n in ("md5", "sha1", "sha256"))
OTHER = hashlib.sha256(b"another").hexdigest()


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{SHA256}\n{OTHER}\n", f"sha256 {SHA256}"),
        (f"# of us\n\n{SHA1.upper()}\n", f"sha1 {SHA1}"),
        (f"name,md5\nfox,{MD5}\n", f"md5 {MD5}"),
        (f"{SHA256}  pictures/fox.png\n", f"sha256 {SHA256}"),
        (f'"SHA-1","MD5","FileName"\n"{SHA1}","{MD5}","fox.png"\n', f"md5 {MD5}"),
    ],
)
def test_a_file_is_found_by_any_digest_in_any_layout(text: str, found: str, tmp_path: Path):
    known = read_hashes(written(tmp_path / "list", text), "bytes")
    assert known.find_bytes(BODY) == found
    assert known.find_bytes(b"a third") is None


@given(st.lists(st.binary(min_size=1, max_size=2), min_size=1, max_size=30), st.binary(max_size=2))
def test_a_file_is_found_if_its_hash_is_listed(
    tmp_path_factory: pytest.TempPathFactory, listed: list[bytes], body: bytes
):
    hashes = "\n".join(hashlib.md5(each).hexdigest() for each in listed)
    known = read_hashes(written(tmp_path_factory.mktemp("lists") / "list", hashes), "bytes")
    assert (known.find_bytes(body) is not None) == (body in listed)


def test_a_digest_that_ends_in_zeros_is_found(tmp_path: Path):
    body = next(b for n in range(99_999) if hashlib.md5(b := b"%d" % n).digest()[-1] == 0)
    ending = hashlib.md5(body).hexdigest()
    path = written(tmp_path / "list", f"{ending}\n{ending[:-2]}01\n")
    assert read_hashes(path, "bytes").find_bytes(body) == f"md5 {ending}"


@pytest.mark.parametrize(("distance", "is_found"), [(7, False), (8, True), (9, True)])
def test_a_picture_is_found_within_the_distance(distance: int, is_found: bool, tmp_path: Path):
    known = read_hashes(written(tmp_path / "list", f"{'0' * 64}\n{'f' * 62}00,90\n"), "pdq")
    found = known.find_pdq("f" * 64, distance)
    assert found == (f"pdq {'f' * 62}00" if is_found else None)
    assert known.find_bytes(BODY) is None


def test_pdq_is_that_of_the_package_and_stays_near_for_a_smaller_copy():
    pdqhash = pytest.importorskip("pdqhash")
    x = np.linspace(0, 9, 320)[None, :, None] * np.linspace(0, 5, 240)[:, None, None]
    image = Image.fromarray(np.uint8(127 + 120 * np.sin(x + np.array([0.0, 0.3, 0.9]))))
    bits = "".join(map(str, pdqhash.compute(np.asarray(image))[0]))
    assert pdq(image) == f"{int(bits, 2):064x}"
    smaller = int(pdq(image.resize((160, 120))), 16)
    assert 0 < (smaller ^ int(bits, 2)).bit_count() <= 31


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("", "bytes", "expected a hash a line, found none"),
        ("just words", "bytes", "expected a hash a line, found none"),
        (f"{SHA256}\n{SHA256[:-1]}\n", "bytes", "line 2: .* has no hash of 32, 40, 64"),
        (f"{SHA256}\n{MD5}\n", "pdq", "line 2: .* has no hash of 64 hex digits"),
    ],
)
def test_a_damaged_list_is_an_error_that_names_the_line(
    text: str, kind: str, said: str, tmp_path: Path
):
    with pytest.raises(CorpusError, match=said):
        read_hashes(written(tmp_path / "list", text), kind)  # type: ignore[arg-type]


def test_a_list_of_another_hash_is_refused(tmp_path: Path):
    with pytest.raises(CorpusError, match="the recipe says 000"):
        read_hashes(written(tmp_path / "list", SHA256), "bytes", "0" * 64)
