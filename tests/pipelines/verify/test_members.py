"""Arrays of a sample against what the manifest says of them."""

import io
from typing import Any

import numpy as np
import pytest

from pipelines.verify.members import array_faults

CODES: dict[str, Any] = {
    "member": "tokens256.npy",
    "kind": "codes",
    "schedules": {"1.0": "1x1 2x2", "2.0": "1x1 4x2"},
    "codes_dtype": "uint32",
    "codes_limit": 100,
    "code_words": 1,
    "views": 1,
}
FEATURES = {**CODES, "kind": "features", "dtype": "float16", "channels": 3}


def faults(made: dict[str, Any], array: np.ndarray, aspect: float = 1.0) -> list[str]:
    file = io.BytesIO()
    np.save(file, array)
    return list(array_faults(made, file.getvalue(), aspect))


@pytest.mark.parametrize(
    ("made", "array", "aspect"),
    [
        (CODES, np.zeros(5, np.uint32), 1.0),
        (CODES, np.full(9, 99, np.uint32), 2.0),
        (CODES | {"code_words": 2}, np.zeros((5, 2), np.uint32), 1.0),
        (CODES | {"views": 3}, np.zeros((3, 5), np.uint32), 1.0),
        (FEATURES, np.zeros((3, 2, 2), np.float16), 1.0),
        (FEATURES | {"views": 2}, np.zeros((2, 3, 4, 2), np.float16), 2.0),
    ],
)
def test_arrays_as_described_have_no_fault(made: dict, array: np.ndarray, aspect: float) -> None:
    assert faults(made, array, aspect) == []


@pytest.mark.parametrize(
    ("made", "array", "aspect", "message"),
    [
        (CODES, np.zeros(9, np.uint32), 1.0, "uint32 (9,), expected uint32 (5,)"),
        (CODES, np.zeros(5, np.uint16), 1.0, "uint16 (5,), expected uint32 (5,)"),
        (CODES, np.full(5, 100, np.uint32), 1.0, "code 100, the limit is 100"),
        (CODES, np.zeros(5, np.uint32), 0.5, "aspect 0.5 is not one of the manifest's"),
        (FEATURES, np.full((3, 2, 2), np.nan, np.float16), 1.0, "NaN or infinite features"),
        (FEATURES, np.zeros((2, 2, 2), np.float16), 1.0, "expected float16 (3, 2, 2)"),
    ],
)
def test_what_is_not_as_described_is_named(
    made: dict, array: np.ndarray, aspect: float, message: str
) -> None:
    (fault,) = faults(made, array, aspect)
    assert fault.startswith("tokens256.npy: ")
    assert message in fault


def test_a_file_that_is_no_array_or_would_run_code_is_a_fault() -> None:
    (fault,) = array_faults(CODES, b"no array", 1.0)
    assert fault.startswith("tokens256.npy: ")
    file = io.BytesIO()
    np.save(file, np.array([{}]), allow_pickle=True)
    (fault,) = array_faults(CODES, file.getvalue(), 1.0)
    assert "pickle" in fault.lower()
