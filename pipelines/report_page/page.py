"""What stands on the page, in the page's order; the template adds the words and the layout."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.report_page import charts, formats
from pipelines.report_page.charts import HistogramChart, funnel_segments, histogram_chart
from pipelines.report_page.examples import Example, Found, Thumbnail
from pipelines.summary import MOST_SHARDS, Choice, Group, Summary, shown_columns
from schemas.recipe import STAGES, Recipe, Rule

MOST_DROPPED = 96  # thumbnails of dropped rows, all reasons together
MOST_SOURCES = 100
MOST_LICENCE_LINES = 100
REASONS = {
    "repeated_url": "the same address, listed twice",
    "same_bytes": "the same file, byte by byte",
    "near_duplicate": "perceptual hashes within the recipe's distance",
    "quota": "beyond the source's quota",
}


class Stage(NamedTuple):
    """One line of the funnel."""

    name: str
    rows_in: int
    kept: int
    dropped: tuple[tuple[str, int], ...]  # commonest first
    dead: tuple[tuple[str, int], ...]  # commonest first
    seconds: float | None  # None where the log does not know
    segments: tuple[tuple[str, float, float], ...]


class Picture(NamedTuple):
    """One row as it is shown, and what is said of it."""

    example: Example
    thumbnail: Thumbnail
    note: str = ""


class Twins(NamedTuple):
    """A duplicate beside the row that stands for it."""

    dropped: Picture
    kept: Picture | None
    distance: int  # bits


class Gallery(NamedTuple):
    """Pictures that share a fate."""

    reason: str
    rows: int
    meaning: str
    pictures: tuple[Any, ...]


class DeadLine(NamedTuple):
    """One stage, door and reason, with a few rejects."""

    stage: str
    door: str
    reason: str
    rows: int
    letters: tuple[tuple[str, str, str], ...]  # id, URL where known, detail


def render_page(
    summary: Summary,
    found: Found,
    manifest: Mapping[str, Any],
    seconds: Mapping[str, float],
    recipe: Recipe,
    draw: Callable[[Example], Thumbnail],
) -> str:
    """Write the page.

    Args:
        summary: of the whole corpus.
        found: the rows that its examples name.
        manifest: `manifest.json`, for what the shards and the tokenizer are.
        seconds: by stage; a stage that is missing took an unknown time.
        recipe: as resolved by the build.
        draw: makes the thumbnail of an example.
    """
    pictures = _Pictures(summary, found, draw)
    stages = _stages(manifest["funnel"], seconds)
    css = _environment().get_template("style.css").render()
    return (
        _environment()
        .get_template("page.html")
        .render(
            css=Markup(css),
            style_hash=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
            recipe=recipe,
            manifest=manifest,
            random_weights="random weights" in str(manifest["tokens"].get("checkpoint", "")),
            summary=summary,
            stages=stages,
            listed=stages[0].rows_in if stages else 0,
            sources=_largest(summary.sources, MOST_SOURCES),
            licences=_largest(summary.licences, MOST_LICENCE_LINES),
            histograms=_histograms(summary, recipe),
            kept=pictures.of(Group("kept")),
            dropped=_dropped(summary, stages, pictures, recipe),
            duplicates=_duplicates(summary, stages, pictures),
            pairs=pictures.of(Group("pair")),
            dead=_dead(summary, found),
            most_shards=MOST_SHARDS,
        )
    )


class _Pictures:
    """Looks examples up and draws them."""

    def __init__(
        self, summary: Summary, found: Found, draw: Callable[[Example], Thumbnail]
    ) -> None:
        self._summary = summary
        self._found = found
        self._draw = draw

    def of(self, group: Group, most: int | None = None, signal: str = "") -> tuple[Picture, ...]:
        choices = self._summary.examples.get(group, ())[:most]
        drawn = (self._picture(self._found.at(c.shard, c.key), signal) for c in choices)
        return tuple(picture for picture in drawn if picture)

    def twins(self, choice: Choice) -> Twins | None:
        dropped = self._picture(self._found.at(choice.shard, choice.key))
        kept = self._picture(self._found.standing(choice.kept_key))
        return dropped and Twins(dropped, kept, choice.distance)

    def _picture(self, example: Example | None, signal: str = "") -> Picture | None:
        if example is None:
            return None
        known = signal in example.values
        note = f"{signal} = {formats.value(example.values[signal])}" if known else ""
        return Picture(example, self._draw(example), note)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipelines", "report_page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("whole", "rows", "share", "value", "size", "duration"):
        environment.filters[name] = getattr(formats, name)
    environment.globals["plot"] = (charts.WIDTH, charts.HEIGHT, charts.FUNNEL_WIDTH)
    return environment


def _stages(funnel: Sequence[Mapping[str, Any]], seconds: Mapping[str, float]) -> list[Stage]:
    total = max((line["rows_in"] for line in funnel), default=0)
    return [
        Stage(
            name=line["stage"],
            rows_in=line["rows_in"],
            kept=line["kept"],
            dropped=_commonest(line["dropped"]),
            dead=_commonest(line["dead"]),
            seconds=seconds.get(line["stage"]),
            segments=funnel_segments(
                {
                    "kept": line["kept"],
                    "dropped": sum(line["dropped"].values()),
                    "dead": sum(line["dead"].values()),
                },
                total,
            ),
        )
        for line in funnel
    ]


def _commonest(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _largest(tallies: Mapping[Any, Any], most: int) -> list[tuple[Any, Any]]:
    return sorted(tallies.items(), key=lambda item: (-item[1].rows, item[0]))[:most]


def _histograms(summary: Summary, recipe: Recipe) -> list[HistogramChart]:
    return [
        histogram_chart(column, summary.histograms[column.name], recipe.select.get(column.name))
        for column in shown_columns(recipe)
        if column.name in summary.histograms
    ]


def _dropped_by(stages: Sequence[Stage], stage: str) -> dict[str, int]:
    return {reason: rows for line in stages if line.name == stage for reason, rows in line.dropped}


def _dropped(
    summary: Summary, stages: Sequence[Stage], pictures: _Pictures, recipe: Recipe
) -> list[Gallery]:
    counts = _dropped_by(stages, "select")
    rules = _rules_by_reason(recipe.select)
    most = max(1, MOST_DROPPED // max(1, len(counts)))
    galleries: list[Gallery] = []
    for reason, rows in counts.items():
        signal, meaning = rules.get(reason, ("", REASONS.get(reason, "")))
        shown = pictures.of(Group("dropped", reason), most, signal)
        galleries.append(Gallery(reason, rows, meaning, shown))
    return galleries


def _rules_by_reason(rules: Mapping[str, Rule]) -> dict[str, tuple[str, str]]:
    """Map the reasons of `filters.rules.judge` to the signal and the rule in words."""
    found: dict[str, tuple[str, str]] = {}
    for name, rule in rules.items():
        if rule.forbid:
            found[name] = name, f"the recipe forbids {name}"
        if rule.min is not None:
            found[f"{name}_min"] = name, f"the recipe asks for {name} of at least {rule.min:g}"
        if rule.max is not None:
            found[f"{name}_max"] = name, f"the recipe asks for {name} of at most {rule.max:g}"
    return found


def _duplicates(summary: Summary, stages: Sequence[Stage], pictures: _Pictures) -> list[Gallery]:
    galleries: list[Gallery] = []
    for reason, rows in _dropped_by(stages, "dedup").items():
        choices = summary.examples.get(Group("duplicate", reason), ())
        shown = tuple(twins for choice in choices if (twins := pictures.twins(choice)))
        galleries.append(Gallery(reason, rows, REASONS.get(reason, ""), shown))
    return galleries


def _dead(summary: Summary, found: Found) -> list[DeadLine]:
    lines: list[DeadLine] = []
    order = {stage: number for number, stage in enumerate(STAGES)}
    for door, rejected in summary.rejects.items():
        letters: list[tuple[str, str, str]] = []
        for letter in rejected.examples:
            example = found.at(letter.shard, letter.id)
            letters.append((letter.id, example.url if example else "", letter.detail))
        lines.append(DeadLine(*door, rejected.rows, tuple(letters)))
    return sorted(lines, key=lambda line: (order[line.stage], line.door, -line.rows, line.reason))
