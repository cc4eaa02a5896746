"""What is made of a sample's members, and which of them are bad."""

import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from training_shards import ShardMaker

from model.data.manifest import DataError, Source
from model.data.samples import BadCount, BadSample, Message, Skipped, check_array, decode, read_npy
from model.tokenizers.infinity_bsq import InfinityBsq

KEY = "0123456789abcdef0123456789abcdef"
SOURCE = Source(url="corpus")


@pytest.fixture
def members(bsq: InfinityBsq) -> Callable[[str], dict[str, bytes]]:
    maker = ShardMaker(tokenizer=bsq, features=True)
    return lambda subset: maker.members(subset, KEY)


def without(members: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: body for name, body in members.items() if name not in names}


def test_a_sample_that_generates(members) -> None:
    decoded = decode(KEY, without(members("t2i"), "jpg"), "t2i")
    assert decoded.messages == (
        Message("user", "Please draw 0123"),
        Message("assistant", "Here is 0123<image_gen>"),
    )
    assert (decoded.aspect, decoded.input_image) == (1.0, None)
    assert decoded.arrays["tokens256.npy"].dtype == np.uint32
    assert decoded.arrays["features256.npy"].shape == (8, 4, 4)


def test_a_sample_that_edits_and_one_that_understands_have_an_image(members) -> None:
    edit = decode(KEY, without(members("edit"), "jpg"), "edit")
    understand = decode(KEY, members("understand"), "understand")
    for decoded in (edit, understand):
        assert decoded.input_image is not None
        assert (decoded.input_image.size, decoded.input_image.mode) == ((64, 56), "RGB")
    assert not understand.arrays


def changed(**fields) -> Callable[[bytes], bytes]:
    return lambda body: json.dumps(json.loads(body) | fields).encode()


TWO_MARKS = [
    {"role": "user", "content": "Draw."},
    {"role": "assistant", "content": "<image_gen><image_gen>"},
]


@pytest.mark.parametrize(
    ("member", "change", "message"),
    [
        ("json", lambda body: body[:-5], "json: JSONDecodeError"),
        ("json", lambda body: b"", "json: JSONDecodeError"),
        ("json", lambda body: b'{"key": "\xff"}', "json: UnicodeDecodeError"),
        ("json", lambda body: b"[]", "expected an object whose key is 0123"),
        ("json", changed(key="other"), r"expected an object whose key is 0123.*other"),
        ("json", changed(messages=[]), r"messages are \[\], expected a list"),
        ("json", changed(messages=TWO_MARKS), "2 <image_gen> marks in the messages, expected 1"),
        ("json", changed(messages="hello"), "messages are 'hello', expected a list"),
        ("json", changed(messages=[{"role": "tool", "content": ""}]), "roles are tool; expected"),
        ("json", changed(messages=[{"role": "user", "content": 1}]), "expected role and content"),
        ("json", changed(crop_aspect=1), "crop_aspect is 1, expected a float"),
        ("tokens256.npy", lambda body: body[:-3], r"tokens256\.npy: ValueError"),
        ("tokens256.npy", lambda body: b"", r"tokens256\.npy: ValueError"),
        ("tokens256.npy", lambda body: b"\x93NUMPY" + body[6:40], r"tokens256\.npy: "),
    ],
)
def test_a_member_that_is_damaged_makes_a_bad_sample(members, member, change, message) -> None:
    found = without(members("t2i"), "jpg")
    found[member] = change(found[member])
    with pytest.raises(BadSample, match=message):
        decode(KEY, found, "t2i")


@pytest.mark.parametrize("change", [lambda body: body[:200], lambda body: b"", lambda body: b"JPG"])
def test_an_image_that_is_damaged_makes_a_bad_sample(members, change) -> None:
    found = members("understand")
    found["jpg"] = change(found["jpg"])
    with pytest.raises(BadSample, match="jpg: "):
        decode(KEY, found, "understand")


def test_an_array_of_python_objects_is_not_unpickled(members) -> None:
    import io

    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    found = without(members("t2i"), "jpg") | {"tokens256.npy": file.getvalue()}
    with pytest.raises(BadSample, match="an array of Python objects is not read"):
        decode(KEY, found, "t2i")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5, np.uint32), r"expected uint16 \[4\], got uint32 \[5\]"),
        (np.zeros((2, 2), np.uint16), r"expected uint16 \[4\], got uint16 \[2, 2\]"),
        (np.array([0, 7, 8, 0], np.uint16), "expected codes below 8, the largest is 8"),
    ],
)
def test_codes_of_another_shape_type_or_range_are_bad(array, message) -> None:
    with pytest.raises(BadSample, match=message):
        check_array("codes", array, (4,), "uint16", 8)


def test_features_that_are_not_finite_are_bad() -> None:
    check_array("features", np.zeros(2, np.float16), (2,), "float16")
    with pytest.raises(BadSample, match="features: values that are not finite"):
        check_array("features", np.array([0, np.nan], np.float16), (2,), "float16")


def test_bad_samples_are_counted_and_logged_with_their_key(caplog) -> None:
    count = BadCount(0.002, seen=10, bad=1)
    count.good()
    count.skip(Skipped("k1", "why"), SOURCE)
    assert (count.seen, count.bad) == (12, 2)
    assert caplog.messages == ["skipped k1 of corpus t2i: why"]


def test_more_than_the_allowed_share_stops_the_run() -> None:
    count = BadCount(0.002)
    count.skip(Skipped("k1", "why"), SOURCE)
    count.skip(Skipped("k2", "why"), SOURCE)
    with pytest.raises(DataError, match=r"3 of 3 samples are bad.* 0\.002; the last: k3 of corpus"):
        count.skip(Skipped("k3", "why"), SOURCE)


def test_the_share_is_of_all_samples_once_there_are_many() -> None:
    count = BadCount(0.002, seen=1999, bad=3)
    count.skip(Skipped("k", "why"), SOURCE)
    with pytest.raises(DataError, match="5 of 2001 samples are bad"):
        count.skip(Skipped("k", "why"), SOURCE)


def test_a_short_run_is_judged_at_its_end() -> None:
    count = BadCount(0.25, seen=3)
    count.skip(Skipped("k", "why"), SOURCE)
    count.finish()
    count.skip(Skipped("k", "why"), SOURCE)
    with pytest.raises(DataError, match="2 of 5 samples are bad"):
        count.finish()


def written(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


@settings(max_examples=40)
@given(
    st.sampled_from(["<u2", "<u4", "<f2"]).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(max_dims=3, min_side=1))
    )
)
def test_arrays_come_back(array: np.ndarray) -> None:
    found = read_npy("x.npy", written(array))
    assert found is not None
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


@given(st.binary(max_size=200), st.integers(0, 200))
def test_what_is_no_array_is_refused(noise: bytes, cut: int) -> None:
    whole = written(np.arange(40, dtype=np.uint16))
    for body in (noise, whole[:cut], whole[:8] + noise):
        with pytest.raises(ValueError, match=r".+"):
            read_npy("x.npy", body)


def test_an_array_too_long_for_its_header_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot reshape"):
        read_npy("x.npy", written(np.zeros(4, np.uint16)) + b"00")


def test_other_orders_and_versions_are_refused() -> None:
    with pytest.raises(ValueError, match="C order"):
        read_npy("x.npy", written(np.asfortranarray(np.zeros((2, 3), np.uint16))))
    with pytest.raises(ValueError, match="version 1"):
        read_npy("x.npy", written(np.zeros(4, np.uint16), (2, 0)))


def test_other_members_are_left_to_others() -> None:
    assert read_npy(".json", b"{}") is None
