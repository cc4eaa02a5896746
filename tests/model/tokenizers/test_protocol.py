import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tokenizers.protocol import Codes, Schedule, count_codes, scale_slices

SCHEDULE: Schedule = ((1, 1), (2, 2), (2, 3))
SIZES = st.tuples(st.integers(1, 5), st.integers(1, 5))


def codes(images: int, dtype: type = np.uint16) -> Codes:
    values = np.arange(images * 11, dtype=dtype).reshape(images, 11)
    return Codes(values_BL=values, schedule=SCHEDULE)


@given(st.lists(SIZES, min_size=1, max_size=6))
def test_scales_are_contiguous_raster_order_and_cover_every_code(sizes: list[tuple]) -> None:
    schedule = tuple(sizes)
    numbers = iter(range(1000))
    expected = [[[next(numbers) for _ in range(w)] for _ in range(h)] for h, w in schedule]
    length = count_codes(schedule)
    row = Codes(values_BL=np.arange(length, dtype=np.uint16)[None], schedule=schedule)
    assert [scale[0].tolist() for scale in row.scales()] == expected
    assert next(numbers) == length == scale_slices(schedule)[-1].stop


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_unpacked_rows_are_the_codes_that_were_packed(dtype: type) -> None:
    original = codes(3, dtype)
    rows = original.pack()
    assert [(row.shape, row.dtype) for row in rows] == [((11,), np.dtype(dtype))] * 3
    again = Codes.unpack(rows, SCHEDULE)
    np.testing.assert_array_equal(again.values_BL, original.values_BL)
    assert again.values_BL.dtype == dtype
    assert len(again) == 3


def test_a_dtype_that_is_not_stored_is_refused() -> None:
    with pytest.raises(ValueError, match="uint16 or uint32, not int64"):
        Codes(values_BL=np.zeros((1, 11), np.int64), schedule=SCHEDULE)  # pyright: ignore


@pytest.mark.parametrize("shape", [(1, 10), (1, 12), (11,), (1, 1, 11)])
def test_codes_of_another_length_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \[B, 11\]"):
        Codes(values_BL=np.zeros(shape, np.uint16), schedule=SCHEDULE)


def test_rows_of_mixed_dtypes_or_no_rows_are_refused() -> None:
    mixed = [np.zeros(11, np.uint16), np.zeros(11, np.uint32)]
    with pytest.raises(ValueError, match=r"\['uint16', 'uint32'\]"):
        Codes.unpack(mixed, SCHEDULE)
    with pytest.raises(ValueError, match="one or more"):
        Codes.unpack([], SCHEDULE)


def test_the_protocol_is_imported_without_torch() -> None:
    script = "import sys, model, model.tokenizers.protocol; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
