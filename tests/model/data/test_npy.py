"""Arrays, read as NumPy reads them."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.data.npy import read_npy


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
