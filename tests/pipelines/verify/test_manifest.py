"""Listings of folders, and quotas, against the plan and the rows that were kept."""

import hashlib
from pathlib import Path

import pytest

from pipelines.sources.listing import Unit
from pipelines.verify.manifest import quotas_sound
from pipelines.verify.plan import folder_listing_sound, folder_listings
from schemas.recipe import Recipe
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
    ("cutoffs", "kept", "said"),
    [
        ({"a": "77"}, [(2, "77"), (1, "55"), (9, "ff")], ""),
        ({"a": "77"}, [(2, "77"), (2, "55"), (9, "ff")], "keeps 4 rows up to 77, its quota is 3"),
        ({"a": "88"}, [(2, "77"), (1, "55"), (9, "ff")], "keeps 3 rows up to 77, its quota is 3"),
        ({}, [(1, "77"), (1, "55"), (9, "ff")], ""),
        ({}, [(2, "77"), (2, "55"), (9, "ff")], "keeps 4 rows without a cut-off"),
        ({"b": "77"}, [(1, "77"), (1, "55"), (9, "ff")], "'b' has no quota"),
    ],
)
def test_a_quota_ends_at_the_rank_of_its_last_row(
    cutoffs: dict[str, str], kept: list[tuple[int, str]], said: str
):
    faults = list(quotas_sound("q.json", {"a": 3}, cutoffs, ["a", "a", "b"], kept))
    assert len(faults) == bool(said)
    assert all(said in fault.what for fault in faults)
