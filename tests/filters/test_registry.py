import re

import pyarrow as pa
import pytest
from PIL import Image

from filters.registry import SIGNALS, columns, make_signal
from filters.signal import Record

RECORDS = [
    Record(image=image, file_bytes=99, text="a red fox", title="Fox", tags=("animal",))
    for image in (Image.new("RGB", (9, 7), "teal"), Image.radial_gradient("L").convert("RGB"))
]


@pytest.mark.parametrize("name", SIGNALS)
def test_what_a_signal_measures_fits_its_columns(name: str) -> None:
    signal = SIGNALS[name]()
    schema = pa.schema([column.field for column in signal.columns])
    values = signal.measure(RECORDS)
    assert list(values) == schema.names
    table = pa.table(dict(values), schema=schema)
    assert table.num_rows == len(RECORDS)
    assert all(column.null_count == 0 for column in table.columns)


@pytest.mark.parametrize("name", SIGNALS)
def test_an_empty_batch_gives_empty_columns(name: str) -> None:
    assert [list(values) for values in SIGNALS[name]().measure([]).values()] == [
        [] for _ in SIGNALS[name]().columns
    ]


@pytest.mark.parametrize("column", columns(SIGNALS), ids=lambda column: column.name)
def test_every_histogram_has_a_range_that_can_be_drawn(column) -> None:
    assert column.low < column.high
    assert column.low > 0 or not column.logarithmic


def test_no_two_signals_share_a_column() -> None:
    names = [column.name for column in columns(SIGNALS)]
    assert len(names) == len(set(names))


def test_columns_come_in_the_order_of_the_names() -> None:
    assert [column.name for column in columns(["phash", "text_length"])] == [
        "phash",
        "text_chars",
        "text_words",
    ]
    with pytest.raises(KeyError, match="no_such_signal"):
        columns(["no_such_signal"])


def test_settings_of_a_signal_change_what_it_measures() -> None:
    small, large = (make_signal("sharpness", {"side": side}) for side in (16, 256))
    assert small.measure(RECORDS) != large.measure(RECORDS)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sied": 16}, "sied: unknown setting of sharpness; it has side"),
        ({"side": "16"}, "side: expected int, as 256, got '16'"),
        ({"side": True}, "side: expected int, as 256, got True"),
    ],
)
def test_a_setting_that_is_none_of_a_signal_is_refused(settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        make_signal("sharpness", settings)
