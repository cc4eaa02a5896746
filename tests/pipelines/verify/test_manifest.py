"""Listings of folders, and quotas, against the plan and the rows that were kept."""

import hashlib
from pathlib import Path

import pytest

from pipelines.sources.listing import Unit
from pipelines.verify.manifest import quotas_sound
from pipelines.verify.plan import folder_listing_sound, folder_listings
from schemas.recipe import Recipe
from schemas.source_config import ListSource
from schemas.store.storage import Storage

PARTS = [b'{"path": "a.png"}\n', b'{"path": "b.png"}\n']
LISTING = "sources/listing-f.jsonl"
RECIPE = Recipe.model_validate(
    {"name": "r", "sources": [{"name": "f", "kind": "folder", "path": "x"}]}
)


def units() -> list[Unit]:
    starts = [0, len(PARTS[0])]
    return [
        Unit(
            source="f",
            path=f"file:///elsewhere/{LISTING}",
            name="listing-f.jsonl",
            version=hashlib.sha256(part).hexdigest(),
            start=start,
            end=start + len(part),
        )
        for start, part in zip(starts, PARTS, strict=True)
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"".join(PARTS), []),
        (b"".join(PARTS) + b"{}\n", ["bytes after its last unit"]),
        (PARTS[0] + PARTS[1].replace(b"b", b"c"), ["bytes 18 to 36 are not the unit of the plan"]),
        (PARTS[0], ["bytes 18 to 36 are not the unit of the plan", "bytes after its last unit"]),
    ],
)
def test_a_listing_holds_the_parts_of_the_plan(body: bytes, said: list[str], tmp_path: Path):
    store = Storage(str(tmp_path))
    store.commit_bytes(LISTING, body)
    found = folder_listings(RECIPE, units())
    assert found == {LISTING: units()}
    assert [fault.what for fault in folder_listing_sound(store, LISTING, found[LISTING])] == said


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([(2, 1), (1, 0), (9, 0)], ""),
        ([(1, 0), (1, 0), (9, 0)], ""),
        ([(2, 0), (2, 0), (9, 0)], "a: keeps 4 rows and drops 0 for its quota of 3"),
        ([(1, 1), (1, 0), (9, 0)], "a: keeps 2 rows and drops 1 for its quota of 3"),
        ([(2, 1), (1, 0), (9, 2)], "b: keeps 9 rows and drops 2 for its quota, and has none"),
    ],
)
def test_a_source_keeps_its_quota_and_all_of_fewer_rows(found: list[tuple[int, int]], said: str):
    sources = [
        ListSource(kind="list", name="a", path="a.csv", quota=3),
        ListSource(kind="list", name="b", path="b.csv"),
    ]
    faults = list(quotas_sound("duplicates", sources, ["a", "a", "b"], found))
    assert len(faults) == bool(said)
    assert all(said in fault.what for fault in faults)
