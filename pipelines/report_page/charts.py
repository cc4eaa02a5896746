"""Geometry of the charts; the template draws it as static SVG, so the page needs no script."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from filters.signal import Column
from pipelines.report_page.formats import share, short, value
from pipelines.report_page.histograms import Histogram, bin_edges
from schemas.recipe import Rule

WIDTH, HEIGHT = 320, 96  # of a histogram's plot, SVG units
FUNNEL_WIDTH = 1000


class Bar(NamedTuple):
    """One bin, in SVG units, and what it says when pointed at."""

    x: float
    width: float
    measured: float  # height
    kept: float  # height
    label: str


class Mark(NamedTuple):
    """A threshold or a tick: where, and what is written there."""

    x: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramChart:
    """One signal as the page shows it."""

    name: str
    meaning: str
    bars: tuple[Bar, ...]
    ticks: tuple[Mark, ...]
    thresholds: tuple[Mark, ...]
    sides: tuple[str, ...]  # what each bound cuts off
    described: str  # the chart in words


def histogram_chart(column: Column, histogram: Histogram, rule: Rule | None) -> HistogramChart:
    """Lay out one signal: all measured rows, the kept ones before them, the recipe's bounds."""
    return HistogramChart(
        name=column.name,
        meaning=column.meaning,
        bars=_bars(column, histogram),
        ticks=_ticks(column),
        thresholds=_thresholds(column, rule),
        sides=_sides(histogram, rule),
        described=_described(column, histogram),
    )


def funnel_segments(counts: Mapping[str, int], total: int) -> tuple[tuple[str, float, float], ...]:
    """Lay out one stage: (door, x, width) of kept, dropped and dead; no door is too thin to see."""
    segments: list[tuple[str, float, float]] = []
    x = 0.0
    for door, rows in counts.items():
        width = max(2.0, FUNNEL_WIDTH * rows / max(1, total)) if rows else 0.0
        segments.append((door, round(x, 2), round(width, 2)))
        x += width
    return tuple(segment for segment in segments if segment[2])


def _bars(column: Column, histogram: Histogram) -> tuple[Bar, ...]:
    edges = bin_edges(column)
    tallest = max(1, *histogram.measured)
    width = WIDTH / len(histogram.measured)
    return tuple(
        Bar(
            x=round(number * width, 2),
            width=round(max(width - 1, width * 0.8), 2),
            measured=_height(measured, tallest),
            kept=_height(kept, tallest),
            label=f"{_range(column, edges, number)}: {measured:,} measured, {kept:,} kept",
        )
        for number, (measured, kept) in enumerate(
            zip(histogram.measured, histogram.kept, strict=True)
        )
    )


def _height(rows: int, tallest: int) -> float:
    return round(max(1.0, HEIGHT * rows / tallest), 2) if rows else 0.0


def _range(column: Column, edges: np.ndarray, number: int) -> str:
    if pa.types.is_boolean(column.type):
        return ("no", "yes")[number]
    low, high = value(float(edges[number])), value(float(edges[number + 1]))
    if number == 0:
        return f"below {high}"
    return f"{low} and above" if number == len(edges) - 2 else f"{low} to {high}"


def _ticks(column: Column) -> tuple[Mark, ...]:
    if pa.types.is_boolean(column.type):
        return Mark(WIDTH / 4, "no"), Mark(WIDTH * 3 / 4, "yes")
    edges = bin_edges(column)
    low, high = float(edges[0]), float(edges[-1])
    places = (0.0, 0.25, 0.5, 0.75, 1.0)
    if column.logarithmic:
        return tuple(Mark(WIDTH * p, short(low * (high / low) ** p)) for p in places)
    return tuple(Mark(WIDTH * p, short(low + (high - low) * p)) for p in places)


def _thresholds(column: Column, rule: Rule | None) -> tuple[Mark, ...]:
    if rule is None or pa.types.is_boolean(column.type):
        return ()
    edges = bin_edges(column)
    marks: list[Mark] = []
    for name, bound in (("min", rule.min), ("max", rule.max)):
        if bound is not None:
            # Bins are of equal width on the page, so a bound lies where its bin does.
            place = float(np.interp(_scaled(bound, column), _scaled(edges, column), _steps(edges)))
            marks.append(Mark(round(WIDTH * place, 2), f"{name} {value(bound)}"))
    return tuple(marks)


def _scaled(number: float | np.ndarray, column: Column) -> np.ndarray:
    if not column.logarithmic:
        return np.asarray(number)
    return np.log(np.maximum(number, column.low))


def _steps(edges: np.ndarray) -> np.ndarray:
    return np.linspace(0.0, 1.0, len(edges))


def _sides(histogram: Histogram, rule: Rule | None) -> tuple[str, ...]:
    if rule is None:
        return ()
    measured = sum(histogram.measured)
    sides: list[str] = []
    if rule.min is not None:
        sides.append(f"{_cut(histogram.under, measured)} below min {value(rule.min)}")
    if rule.max is not None:
        sides.append(f"{_cut(histogram.over, measured)} above max {value(rule.max)}")
    if rule.forbid:
        sides.append(f"{_cut(histogram.forbidden, measured)} set, which the recipe forbids")
    return tuple(sides)


def _cut(rows: int, of: int) -> str:
    return f"{rows:,} ({share(rows, of)})"


def _described(column: Column, histogram: Histogram) -> str:
    measured, kept = sum(histogram.measured), sum(histogram.kept)
    if not measured:
        return "no rows"
    if pa.types.is_boolean(column.type):
        marked = _cut(histogram.measured[1], measured)
        return f"set in {marked} of the measured, {_cut(histogram.kept[1], kept)} of the kept"
    low, high = value(histogram.lowest), value(histogram.highest)
    return f"{measured:,} measured, {kept:,} kept; from {low} to {high}"
