import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.fingerprint import content_digest, fingerprint
from schemas.tables import PAIRS

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(), part, max_size=4),
    max_leaves=8,
)
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("flag", pa.bool_(), nullable=False),
        pa.field("number", pa.uint16(), nullable=False),
        pa.field("tags", pa.list_(pa.string()), nullable=False),
    ]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
            "flag": st.booleans(),
            "number": st.integers(0, 2**16 - 1),
            "tags": st.lists(st.sampled_from(["", "a", "bc"]), max_size=3),
        }
    ),
    max_size=12,
)


def reversed_keys(value):
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(part) for part in value] if isinstance(value, list) else value


def test_fingerprints_never_change():
    assert fingerprint("stage", 1, {"b": [1.0, None], "a": "\u00e4"}) == (
        "b4fb309f1a70ab3c7fbb9c830b72be6a"
    )


@settings(deadline=None)
@given(JSON)
def test_the_order_of_keys_does_not_matter(value):
    assert fingerprint(value) == fingerprint(reversed_keys(value))


def test_the_order_of_items_and_the_borders_of_parts_matter():
    prints = [fingerprint(*parts) for parts in (["a", "b"], ["b", "a"], ["ab"], [["a", "b"]])]
    assert len(set(prints)) == 4


def test_an_integer_is_not_a_float():
    assert fingerprint(1) != fingerprint(1.0)


@pytest.mark.parametrize(
    ("value", "error"), [(float("nan"), ValueError), (float("inf"), ValueError), ({1}, TypeError)]
)
def test_what_is_not_json_has_no_fingerprint(value, error: type[Exception]):
    with pytest.raises(error):
        fingerprint(value)


def rows_table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@settings(deadline=None)
@given(ROWS, st.data())
def test_chunks_slices_and_metadata_do_not_matter(rows: list[dict], data: st.DataObject):
    whole = rows_table(rows)
    cut = data.draw(st.integers(0, len(rows)))
    chunked = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    longer = pa.concat_tables([whole, whole]).combine_chunks()
    described = whole.replace_schema_metadata({"made": "by hand"})
    digests = {
        content_digest(table)
        for table in (whole, chunked, longer.slice(len(rows)), longer.slice(0, len(rows)))
    }
    assert digests == {content_digest(described)}


@settings(deadline=None)
@given(ROWS)
def test_a_table_read_back_from_parquet_has_the_same_digest(rows: list[dict]):
    file = io.BytesIO()
    pq.write_table(rows_table(rows), file, row_group_size=3)
    assert content_digest(pq.read_table(file)) == content_digest(rows_table(rows))


@settings(deadline=None)
@given(ROWS, ROWS)
def test_different_rows_have_different_digests(a: list[dict], b: list[dict]):
    assert (content_digest(rows_table(a)) == content_digest(rows_table(b))) == (a == b)


def test_a_value_deep_in_a_row_counts():
    row = {"key": "k", "messages": [{"role": "user", "content": "a"}], "template": "t"}
    other = row | {"messages": [{"role": "user", "content": "b"}]}
    digests = {content_digest(pa.Table.from_pylist([r], schema=PAIRS)) for r in (row, other)}
    assert len(digests) == 2


def test_the_name_of_a_column_counts():
    assert content_digest(pa.table({"a": [1]})) != content_digest(pa.table({"b": [1]}))
