"""Checks that run a stage again on a shard's side-cars and compare the results."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipelines.runtime.sidecar import column, dead_letters_path
from pipelines.runtime.stage import MapStage, ShardResult
from pipelines.verify.faults import Fault
from pipelines.verify.look import ShardLook


def made_again(look: ShardLook, folder: str) -> Iterator[Fault]:
    """Run a stage again that publishes nothing but its side-car, and compare the results."""
    stage = look.corpus.stages[folder]
    assert isinstance(stage, MapStage)
    outcome = stage.without_work().process(look.shard, look.corpus.store, Path(os.devnull))
    yield from same_outcome(look, folder, outcome)


def same_outcome(look: ShardLook, folder: str, outcome: ShardResult) -> Iterator[Fault]:
    """Compare a stage's side-car and dead letters with the result of running it again."""
    for what in _differing(look.tables[folder], outcome.table):
        yield look.fault(folder, what)
    if folder in look.origins and look.origins[folder].counts != outcome.counts():
        found, expected = look.origins[folder].counts, outcome.counts()
        yield look.fault(folder, f"its footer counts {found}, its stage counts {expected} now")
    if folder in look.origins and look.origins[folder].used != outcome.used:
        found, expected = dict(look.origins[folder].used), dict(outcome.used)
        yield look.fault(folder, f"its footer counts {found}, its rows rest on {expected}")
    if look.corpus.stages[folder].judges or folder not in look.letters:
        return
    expected = sorted(
        (r.id, "dropped" if r.dropped else "failed", r.reason, r.detail) for r in outcome.rejects
    )
    letters = look.letters[folder]
    names = ("id", "outcome", "reason", "detail")
    if sorted(zip(*(column(letters, name) for name in names), strict=True)) != expected:
        path = dead_letters_path(look.corpus.stages[folder].name, look.shard)
        yield Fault(path, "rows are not the ones that the stage rejects")


def _differing(found: pa.Table, expected: pa.Table) -> Iterator[str]:
    rows = {row["key"]: row for row in found.to_pylist()}
    for row in expected.to_pylist():
        stored = rows.pop(row["key"], None)
        if stored is None:
            yield f"{row['key']} is missing"
            continue
        for name, value in row.items():
            if stored[name] != value:
                before = f"{name} is {stored[name]!r:.150}"
                yield f"{row['key']}: {before}, its stage makes it {value!r:.150}"
    yield from (f"{key}: its stage makes no such row" for key in rows)
