import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tokenizers.protocol import (
    Codes,
    Schedule,
    check_schedule,
    count_codes,
    scale_slices,
    schedule_text,
)

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


def test_codes_of_several_words_keep_them_together() -> None:
    values = np.arange(3 * 11 * 2, dtype=np.uint32).reshape(3, 11, 2)
    original = Codes(values_BL=values, schedule=SCHEDULE)
    scales = original.scales()
    assert [scale.shape for scale in scales] == [(3, 1, 1, 2), (3, 2, 2, 2), (3, 2, 3, 2)]
    flat = [scale.reshape(3, -1, 2) for scale in scales]
    np.testing.assert_array_equal(np.concatenate(flat, axis=1), values)
    rows = original.pack()
    assert all(row.shape == (11, 2) and row.flags.c_contiguous for row in rows)
    np.testing.assert_array_equal(Codes.unpack(rows, SCHEDULE).values_BL, values)


def test_rows_of_mixed_numbers_of_words_are_refused() -> None:
    rows = [np.zeros((11, 2), np.uint32), np.zeros(11, np.uint32)]
    with pytest.raises(ValueError, match="same shape"):
        Codes.unpack(rows, SCHEDULE)


@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), max_size=4))
def test_a_schedule_ends_at_its_largest_scale_and_has_no_empty_one(sizes: list[tuple]) -> None:
    heights, widths = ([size[axis] for size in sizes] for axis in (0, 1))
    if sizes and min(*heights, *widths) > 0 and sizes[-1] == (max(heights), max(widths)):
        check_schedule(tuple(sizes))
    else:
        with pytest.raises(ValueError, match=r"one scale or more|does not fit in the last of"):
            check_schedule(tuple(sizes))


@given(st.lists(SIZES, max_size=4))
def test_a_written_schedule_can_be_read_again(sizes: list[tuple]) -> None:
    read = [tuple(map(int, size.split("x"))) for size in schedule_text(tuple(sizes)).split()]
    assert read == sizes


def test_a_dtype_that_is_not_stored_is_refused() -> None:
    with pytest.raises(ValueError, match="uint16 or uint32, not int64"):
        Codes(values_BL=np.zeros((1, 11), np.int64), schedule=SCHEDULE)  # pyright: ignore


@pytest.mark.parametrize("shape", [(1, 10), (1, 12), (11,), (1, 1, 11), (1, 11, 1, 1)])
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
