"""Decoding of a dataset's values: names of class labels, parsed JSON."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipelines.sources.arrow_rows import Row


def smallest(schema: pa.Schema) -> list[str]:
    """Return the column that is cheapest to read; [] if there are no columns."""
    return sorted(schema.names, key=lambda name: _cost(schema.field(name).type))[:1]


def _cost(kind: pa.DataType) -> int:
    if pa.types.is_null(kind) or pa.types.is_primitive(kind):
        return 0
    return 1 if pa.types.is_string(kind) or pa.types.is_large_string(kind) else 2


def meant(rows: list[Row], features: Mapping[str, Any] | None) -> list[Row]:
    """Return rows with decoded class labels and JSON instead of Arrow's stored values."""
    coded = {name: feature for name, feature in (features or {}).items() if _is_coded(feature)}
    if not coded:
        return rows
    return [row if isinstance(row, str) else _row(row, coded) for row in rows]


def _row(row: dict[Any, Any], coded: Mapping[str, Any]) -> Row:
    try:
        return {
            name: _value(value, coded[name]) if name in coded else value
            for name, value in row.items()
        }
    except (ValueError, RecursionError) as error:
        return f"a value that is not as its column says: {error}"


def _value(value: Any, feature: Any) -> Any:
    kind = type(feature).__name__
    if value is None:
        return None
    if kind == "Json":
        return json.loads(value)
    if kind == "ClassLabel":
        # -1 means an unknown label.
        return None if value == -1 else feature.int2str(value)
    if isinstance(feature, Mapping):
        return {name: _value(each, feature[name]) for name, each in value.items()}
    if (inner := _item(feature)) is not None:
        return [_value(each, inner) for each in value]
    return value


def _item(feature: Any) -> Any:
    """Return the feature of a list's items, None if it is no list."""
    if isinstance(feature, list):
        return feature[0]
    return getattr(feature, "feature", None)


def _is_coded(feature: Any) -> bool:
    if isinstance(feature, Mapping):
        return any(map(_is_coded, feature.values()))
    if (inner := _item(feature)) is not None:
        return _is_coded(inner)
    return type(feature).__name__ in ("Json", "ClassLabel")
