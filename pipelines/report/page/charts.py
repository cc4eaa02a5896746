"""Geometry of the charts, in SVG units; the template draws them without a script."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from filters.signal import Column
from pipelines.report.page.formats import share, short, value
from pipelines.report.page.histograms import Histogram, bin_edges
from schemas.rule_config import Rule

WIDTH, HEIGHT = 320, 96  # plot of a histogram, SVG units
FUNNEL_WIDTH = 1000


class Bar(NamedTuple):
    """One bin in SVG units, and its tooltip."""

    x: float
    width: float
    measured: float  # height
    kept: float  # height
    label: str  # tooltip


class Mark(NamedTuple):
    """A threshold or a tick: its place in SVG units, and its label."""

    x: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramChart:
    """The histogram of one signal on the page."""

    name: str
    meaning: str
    bars: tuple[Bar, ...]
    ticks: tuple[Mark, ...]
    thresholds: tuple[Mark, ...]
    sides: tuple[str, ...]  # the rows that each bound drops, in words
    described: str  # the chart in words


def histogram_chart(column: Column, histogram: Histogram, rules: Sequence[Rule]) -> HistogramChart:
    """Return the chart of one column: its rows, kept rows in front, the recipe's bounds.

    Sources may have different rules for the column.
    """
    return HistogramChart(
        name=column.name,
        meaning=column.meaning,
        bars=_bars(column, histogram),
        ticks=_ticks(column),
        thresholds=_thresholds(column, rules),
        sides=_sides(histogram, rules),
        described=_described(column, histogram),
    )


def funnel_segments(counts: Mapping[str, int], total: int) -> tuple[tuple[str, float, float], ...]:
    """Return (outcome, x, width) of each outcome of a stage; the smallest width is 2 SVG units."""
    segments: list[tuple[str, float, float]] = []
    x = 0.0
    for outcome, rows in counts.items():
        width = max(2.0, FUNNEL_WIDTH * rows / max(1, total)) if rows else 0.0
        segments.append((outcome, round(x, 2), round(width, 2)))
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
    if column.logarithmic:
        powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        numbers = [10.0**power for power in powers]
    else:
        step = _round_step((high - low) / 4)
        numbers = [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return tuple(Mark(_place(number, column), short(number)) for number in numbers)


def _round_step(step: float) -> float:
    """Return the smallest 1, 2 or 5 times a power of ten that is not below `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= step * 0.999)


def _thresholds(column: Column, rules: Sequence[Rule]) -> tuple[Mark, ...]:
    if pa.types.is_boolean(column.type):
        return ()
    bounds = [("min", bound) for bound in _distinct(rule.min for rule in rules)]
    bounds += [("max", bound) for bound in _distinct(rule.max for rule in rules)]
    return tuple(Mark(_place(bound, column), f"{name} {value(bound)}") for name, bound in bounds)


def _distinct(bounds: Iterable[float | None]) -> list[float]:
    return sorted({bound for bound in bounds if bound is not None})


def _place(number: float, column: Column) -> float:
    """Return the place of a value on the axis, in SVG units, clipped to its ends.

    Bins have equal width on the page, so the place is interpolated between their edges.
    """
    edges = bin_edges(column)
    if column.logarithmic:
        number, edges = math.log(max(number, column.low)), np.log(edges)
    return round(float(np.interp(number, edges, np.linspace(0, WIDTH, len(edges)))), 2)


def _sides(histogram: Histogram, rules: Sequence[Rule]) -> tuple[str, ...]:
    measured = sum(histogram.measured)
    sides: list[str] = []
    if lowest := _distinct(rule.min for rule in rules):
        sides.append(f"{_with_share(histogram.under, measured)} below min {_either(lowest)}")
    if highest := _distinct(rule.max for rule in rules):
        sides.append(f"{_with_share(histogram.over, measured)} above max {_either(highest)}")
    if any(rule.forbid for rule in rules):
        sides.append(f"{_with_share(histogram.forbidden, measured)} set, which the recipe forbids")
    return tuple(sides)


def _either(bounds: Sequence[float]) -> str:
    """Return the bounds of different sources in words."""
    return " or ".join(map(value, bounds))


def _with_share(rows: int, total: int) -> str:
    return f"{rows:,} ({share(rows, total)})"


def _described(column: Column, histogram: Histogram) -> str:
    measured, kept = sum(histogram.measured), sum(histogram.kept)
    if not measured:
        return "no rows"
    if pa.types.is_boolean(column.type):
        marked = _with_share(histogram.measured[1], measured)
        return (
            f"set in {marked} of the measured, {_with_share(histogram.kept[1], kept)} of the kept"
        )
    low, high = value(histogram.lowest), value(histogram.highest)
    return f"{measured:,} measured, {kept:,} kept; from {low} to {high}"
