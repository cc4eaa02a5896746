"""Labels as the page of `calibrate` saves them, JSON or CSV, and a sample that takes them in."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipelines.calibration import NO, SAMPLE, SKIP, YES, sample_id
from pipelines.runtime.sidecar import column
from schemas.store.storage import CorpusError

LABELS = {YES, NO, SKIP, ""}


def with_labels(sample: pa.Table, rule: str, body: bytes, where: str) -> pa.Table:
    """Put the labels of a file of the page, JSON or CSV, into a sample.

    Args:
        sample: of `rule`, COLUMN.BOUND.
        rule: what the labels are to be of. A file that names no rule or sample is believed.
        body: of the file.
        where: its name, for errors.

    Raises:
        CorpusError: it is no such file, is of another rule or sample, has two labels for a row, or
            names rows that are not in the sample.
    """
    known = column(sample, "key")
    told = _labels(body, {"rule": rule, "sample": sample_id(known)}, where)
    if foreign := [key for key in told if key not in set(known)]:
        raise CorpusError(
            f"{where}: {len(foreign):,} of its {len(told):,} rows are not in the sample, such as "
            f"{foreign[0]}; labels belong to the sample that their page was made of"
        )
    before = column(sample, "label")
    labels = [told.get(key, label) for key, label in zip(known, before, strict=True)]
    place = sample.schema.get_field_index("label")
    return sample.set_column(place, SAMPLE.field("label"), pa.array(labels, pa.string()))


def _labels(body: bytes, expected: Mapping[str, str], where: str) -> dict[str, str]:
    """Read the label of each key; `expected` are the rule and the sample that it may name."""
    try:
        text = body.decode("utf-8-sig")
        rows = _json(text) if text.lstrip().startswith("{") else _csv(text)
        found = [(str(row["key"]), str(row["label"])) for row in rows]
        named = [(name, row[name]) for row in rows for name in expected if row.get(name)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise CorpusError(
            f"{where}: no labels of calibrate's page, JSON or CSV with key and label ({error!r})"
        ) from error
    if not found:
        raise CorpusError(f"{where}: has no labels; label the page, and save them from there")
    for name, value in named:
        if value != expected[name]:
            raise CorpusError(
                f"{where}: its labels are of {name} {value!r}, expected {expected[name]!r}; labels "
                "belong to the sample that their page was made of"
            )
    return _each_once(found, where)


def _json(text: str) -> list[dict[str, Any]]:
    told: Any = json.loads(text)
    about = {name: told[name] for name in ("rule", "sample") if name in told}
    return [{**row, **about} for row in told["labels"]]


def _csv(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _each_once(found: list[tuple[str, str]], where: str) -> dict[str, str]:
    labels: defaultdict[str, list[str]] = defaultdict(list)
    for key, label in found:
        if label not in LABELS:
            raise CorpusError(f"{where}: {key}: label {label!r}; expected yes, no or skip")
        labels[key].append(label)
    for key, given in labels.items():
        if len({*given}) > 1:
            raise CorpusError(
                f"{where}: {key}: is listed with different labels, {' and '.join(given)}; keep one"
            )
    return {key: given[0] for key, given in labels.items()}
