import numpy as np
import pyarrow as pa
import pytest

from filters.scores.registry import columns_of
from filters.signal import Column
from pipelines.thresholds.selection import sums_of
from schemas.score_config import LanguageScore


def test_a_text_without_a_language_is_left_out_of_the_mean_of_its_probability() -> None:
    shown = [
        column for column in columns_of([LanguageScore(score="language")]) if column.is_ordered
    ]
    found = pa.array([0.0, 0.9, None, 0.5, 0.1], pa.float32())
    values = pa.table({"language_probability": found})
    sums = sums_of(values, shown, np.array([1, 1, 1, 1, 0], bool))
    assert sums.means() == pytest.approx({"language_probability": 0.7})
    assert sums_of(values, shown, np.array([1, 0, 1, 0, 0], bool)).means() == {}


def test_zeros_of_any_other_column_count() -> None:
    column = Column(name="faces", type=pa.int32(), meaning="")
    values = pa.table({"faces": [0, 3]})
    assert sums_of(values, [column], np.ones(2, bool)).means() == {"faces": 1.5}
