"""Writer of the report page: computes the contents; the template has words and layout."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.dedup.contamination import CONTAMINATED
from pipelines.dedup.lists import Lists
from pipelines.dedup.rows import OF_DUPLICATES
from pipelines.report.build_log import StageTime
from pipelines.report.page import charts, formats
from pipelines.report.page.captioned import (
    bin_names,
    engine_lines,
    language_lines,
    length_lines,
)
from pipelines.report.page.charts import HistogramChart, funnel_segments, histogram_chart
from pipelines.report.page.examples import Example, Found, Thumbnail
from pipelines.report.page.medians import median
from pipelines.report.page.pictures import (
    Pictures,
    dropped_galleries,
    duplicate_galleries,
    threshold_galleries,
)
from pipelines.report.page.records import Group, Summary
from pipelines.report.page.worded import word_lines
from pipelines.report.summary import MOST_SHARDS, shown_columns, shown_rules
from pipelines.runtime.counting import counted
from schemas.recipe import Recipe
from schemas.subsets import SUBSETS

MOST_SOURCES = 100
MOST_LICENCE_LINES = 100


class Stage(NamedTuple):
    """One line of the funnel."""

    name: str
    rows_in: int
    kept: int
    dropped: tuple[tuple[str, int], ...]  # (reason, rows), most rows first
    failed: tuple[tuple[str, int], ...]  # (reason, rows), most rows first
    time: StageTime | None  # None where the log has none
    segments: tuple[tuple[str, float, float], ...]


class FailedLine(NamedTuple):
    """The rejects of one stage, outcome and reason, with a few examples."""

    stage: str
    outcome: str
    reason: str
    rows: int
    letters: tuple[tuple[str, str, str], ...]  # id, URL where known, detail


class ScoreLine(NamedTuple):
    """A score of the rows of one source."""

    score: str
    source: str
    rows: int  # that have it
    median: float  # in few digits; True or False of a flag
    outside: int  # rows that a bound of the recipe drops
    kept: int  # rows in the shards


class Correlations(NamedTuple):
    """Coefficients of each column with each score."""

    scores: tuple[str, ...]
    lines: tuple[tuple[str, tuple[float | None, ...]], ...]


def render_page(
    summary: Summary,
    found: Found,
    manifest: Mapping[str, Any],
    times: Mapping[str, StageTime],
    recipe: Recipe,
    draw: Callable[[Example], Thumbnail],
    lists: Lists,
) -> str:
    """Return the report as HTML.

    Args:
        summary: the summary of the whole corpus.
        found: the rows of the summary's examples.
        manifest: `manifest.json`, with the shards and the tokenizer.
        times: by stage; unknown for a stage that is missing.
        recipe: the resolved recipe.
        draw: makes the thumbnail of an example.
        lists: what dedup knows of the lists that it compared rows with.
    """
    pictures = Pictures(summary, found, draw, recipe.dedup.phash_distance)
    stages = _stages(manifest["funnel"], times)
    css = _environment().get_template("style.css").render()
    by_dedup = _dropped_by(stages, "dedup")
    alone = {reason: rows for reason, rows in by_dedup.items() if reason not in OF_DUPLICATES}
    rules = recipe.rules_by_source().values()
    return (
        _environment()
        .get_template("page.html")
        .render(
            css=Markup(css),
            style_hash=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
            recipe=recipe,
            manifest=manifest,
            random_weights=sorted(
                {m["checkpoint"] for m in manifest["tokens"] if "random weights" in m["checkpoint"]}
            ),
            summary=summary,
            stages=stages,
            listed=stages[0].rows_in if stages else 0,
            sources=_largest(summary.sources, MOST_SOURCES),
            licences=_largest(summary.licences, MOST_LICENCE_LINES),
            histograms=_histograms(summary, recipe),
            correlations=_correlations(summary, recipe),
            score_lines=_score_lines(summary, recipe),
            at_thresholds=threshold_galleries(summary, rules, pictures),
            kept=pictures.of(Group("kept")),
            dropped=dropped_galleries({**_dropped_by(stages, "select"), **alone}, rules, pictures),
            duplicates=duplicate_galleries(
                summary, {r: rows for r, rows in by_dedup.items() if r in OF_DUPLICATES}, pictures
            ),
            pairs={name: pictures.pairs(SUBSETS[name]) for name in _subsets(summary)},
            words=word_lines(summary.words, recipe.pair),
            engines=engine_lines(summary.captions, recipe.caption),
            lengths=length_lines(summary.captions),
            length_bins=bin_names(),
            languages=language_lines(summary.captions),
            balance=lists.balance,
            benchmarks={
                name: (counts, by_dedup.get(f"{CONTAMINATED}:{name}", 0))
                for name, counts in lists.benchmarks.items()
            },
            failed=_failed(summary, found, [line["stage"] for line in manifest["funnel"]]),
            most_shards=MOST_SHARDS,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipelines.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("whole", "share", "value", "size", "duration"):
        environment.filters[name] = getattr(formats, name)
    environment.filters["counted"] = counted
    environment.globals["plot"] = (charts.WIDTH, charts.HEIGHT, charts.FUNNEL_WIDTH)
    return environment


def _stages(funnel: Sequence[Mapping[str, Any]], times: Mapping[str, StageTime]) -> list[Stage]:
    total = max((line["rows_in"] for line in funnel), default=0)
    return [
        Stage(
            name=line["stage"],
            rows_in=line["rows_in"],
            kept=line["kept"],
            dropped=_most_rows_first(line["dropped"]),
            failed=_most_rows_first(line["failed"]),
            time=times.get(line["stage"]),
            segments=funnel_segments(
                {
                    "kept": line["kept"],
                    "dropped": sum(line["dropped"].values()),
                    "failed": sum(line["failed"].values()),
                },
                total,
            ),
        )
        for line in funnel
    ]


def _subsets(summary: Summary) -> list[str]:
    """Return the subsets with samples, in the order of SUBSETS."""
    return [name for name in SUBSETS if Group("pair", name) in summary.examples]


def _most_rows_first(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _largest(tallies: Mapping[Any, Any], most: int) -> list[tuple[Any, Any]]:
    return sorted(tallies.items(), key=lambda item: (-item[1].rows, item[0]))[:most]


def _histograms(summary: Summary, recipe: Recipe) -> list[HistogramChart]:
    rules = shown_rules(recipe).values()
    return [
        histogram_chart(
            column,
            summary.histograms[column.name],
            [of_source[column.name] for of_source in rules if column.name in of_source],
        )
        for column in shown_columns(recipe)
        if column.name in summary.histograms
    ]


def _correlations(summary: Summary, recipe: Recipe) -> Correlations:
    both = {**summary.moments, **{(y, x): m for (x, y), m in summary.moments.items()}}
    scores = tuple(dict.fromkeys(x for x, _ in summary.moments))
    names = [c.name for c in shown_columns(recipe) if any((x, c.name) in both for x in scores)]
    lines = (
        (name, tuple(m.correlation if (m := both.get((x, name))) else None for x in scores))
        for name in names
    )
    return Correlations(
        scores, tuple(line for line in lines if any(r is not None for r in line[1]))
    )


def _score_lines(summary: Summary, recipe: Recipe) -> list[ScoreLine]:
    """Return a line for each score and source, of the sources that have most rows."""
    shown = {name for name, _ in _largest(summary.sources, MOST_SOURCES)}
    lines: list[ScoreLine] = []
    for column in shown_columns(recipe):
        for source in sorted(shown):
            found = summary.scores_of_sources.get((source, column.name))
            if found and sum(found.measured):
                outside = found.under + found.over + found.forbidden
                rows, kept = sum(found.measured), sum(found.kept)
                middle = median(summary.score_values[source, column.name])
                lines.append(ScoreLine(column.name, source, rows, middle, outside, kept))
    return lines


def _dropped_by(stages: Sequence[Stage], stage: str) -> dict[str, int]:
    return {reason: rows for line in stages if line.name == stage for reason, rows in line.dropped}


def _failed(summary: Summary, found: Found, order: Sequence[str]) -> list[FailedLine]:
    lines: list[FailedLine] = []
    for outcome, rejected in summary.rejects.items():
        letters: list[tuple[str, str, str]] = []
        for letter in rejected.examples:
            example = found.at(letter.shard, letter.id)
            letters.append((letter.id, example.url if example else "", letter.detail))
        lines.append(FailedLine(*outcome, rejected.rows, tuple(letters)))

    def place(line: FailedLine) -> tuple[int, str, int, str]:
        return order.index(line.stage), line.outcome, -line.rows, line.reason

    return sorted(lines, key=place)
