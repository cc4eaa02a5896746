from collections.abc import Iterator

import pyarrow as pa
import pytest

from filters.registry import SIGNALS, columns
from schemas import tables

SCHEMAS = {name: value for name, value in vars(tables).items() if isinstance(value, pa.Schema)} | {
    "signals": tables.signals_schema([column.field for column in columns(SIGNALS)])
}


LISTS = ("BALANCE", "BENCHMARK")  # of entries and images, and not of rows


def fields_of(schema: pa.Schema) -> Iterator[pa.Field]:
    for field in schema:
        yield field
        inner = field.type.value_type if pa.types.is_list(field.type) else field.type
        if pa.types.is_struct(inner):
            yield from inner.fields


def test_every_side_car_has_a_schema():
    assert set(SCHEMAS) == {
        *("SOURCES", "RAW", "SCORES", "SELECTION", "DUPLICATES", "CAPTIONS", "PAIRS", "TOKENS"),
        *LISTS,
        *("PROMPTS", "PREFERENCES", "SHARD_INDEX", "HELD_OUT", "DEAD_LETTERS", "signals"),
    }


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_field_is_nullable(name: str):
    nullable = [field.name for field in fields_of(SCHEMAS[name]) if field.nullable]
    assert nullable == (["psnr", "ssim"] if name == "TOKENS" else [])  # measured only if asked


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_says_what_it_means(name: str):
    silent = [f.name for f in fields_of(SCHEMAS[name]) if not (f.metadata or {}).get(b"meaning")]
    assert silent == []


@pytest.mark.parametrize("name", sorted({*SCHEMAS} - {"DEAD_LETTERS", *LISTS}))
def test_every_row_begins_with_its_key(name: str):
    assert SCHEMAS[name].names[0] == "key"


def test_a_nullable_signal_is_stored_without_nulls():
    schema = tables.signals_schema([pa.field("score", pa.float64(), metadata={"meaning": "x"})])
    assert not schema.field("score").nullable
