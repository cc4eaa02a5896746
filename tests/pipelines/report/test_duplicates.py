"""The report's part on duplicates, of verdicts laid out by hand."""

import pytest

from filters.registry import SIGNALS
from schemas.recipe import DedupConfig, MeasureConfig, Recipe
from schemas.source_config import ListSource

RECIPE = Recipe(
    name="compared",
    sources=(ListSource(kind="list", name="web", path="list.csv"),),
    measure=MeasureConfig(signals=tuple(SIGNALS)),
    dedup=DedupConfig(phash_distance=4),
)
KEYS = {name: name * 32 for name in "0123456789abcdef"}


def section(desk, render, verdicts: dict[str, dict]) -> str:
    """Return the section on duplicates; `verdicts` have kept_key as the name of a row."""
    rows = [{"key": KEYS[name], "source": "web", "url": name} for name in verdicts]
    judged = [
        {"key": KEYS[name], **verdict, "kept_key": KEYS[verdict.get("kept_key", name)]}
        for name, verdict in verdicts.items()
    ]
    for folder in ("sources", "signals", "scores", "selection"):
        desk.put(folder, 0, [{**row, "kept": True} for row in rows])
    for folder in ("raw", "captions", "pairs", "tokens"):
        desk.put(folder, 0, [])
    desk.put("duplicates", 0, judged)
    counts: dict[str, int] = {}
    for verdict in verdicts.values():
        if reason := verdict.get("reason"):
            counts[reason] = counts.get(reason, 0) + 1
    page = render(desk.store, RECIPE, 1, counts)
    return page.partition('<section id="duplicates">')[2].partition("</section>")[0]


def test_a_representative_in_an_earlier_corpus_is_named_and_counted(desk, render) -> None:
    """Row b has the key of a kept row of this corpus, but is of the other one."""
    shown = section(
        desk,
        render,
        {
            "a": {},
            "b": {"kept_key": "a", "kept_in": "first", "reason": "same_bytes"},
            "c": {"kept_key": "a", "reason": "same_bytes"},
            "d": {"kept_key": "f", "kept_in": "first", "reason": "repeated_url"},
            "e": {"kept_key": "f", "kept_in": "second", "reason": "repeated_url"},
        },
    )
    assert "2 rows; the same file, byte by byte; 1 with a representative in first<" in shown
    assert (
        "2 rows; the same address as its representative; 1 with a representative in first; "
        "1 with a representative in second<"
    ) in shown
    assert shown.count("<span>in first</span>") == 2
    assert shown.count("<span>in second</span>") == 1
    assert shown.count("<b>Representative</b>") == shown.count("<b>Dropped</b>") == 4
    assert shown.count('title="a"') == 1  # the only one of this corpus


@pytest.mark.parametrize(
    ("reason", "distance", "direct"),
    [
        ("near_duplicate", 4, True),
        ("near_duplicate", 5, False),
        ("same_bytes", 1, False),
        ("semantic_duplicate", 24, True),
        ("repeated_url", 24, True),
    ],
)
def test_a_distance_that_the_reason_rules_out_is_of_a_duplicate_through_another_row(
    desk, render, reason: str, distance: int, direct: bool
) -> None:
    verdict = {"kept_key": "a", "reason": reason, "distance": distance}
    shown = section(desk, render, {"a": {}, "b": verdict})
    assert f"{distance} of 64 hash bits differ" in shown
    assert ("hash bits differ<" in shown) == direct
    assert ("hash bits differ; a duplicate through another row<" in shown) != direct
