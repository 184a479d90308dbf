"""Training curves as small inline SVG: a few hundred bytes each, readable without colour and without sight."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from pgcn_cluster.gallery.views.formatting import number

WIDTH, HEIGHT, MARGIN = 240, 84, 4
MAX_POINTS = 120

# Curves that are read against each other share a chart; any other name has a chart of its own.
TOGETHER: Mapping[str, tuple[str, ...]] = {
    "energy": ("energy_observed", "energy_synthesized", "energy_recovered"),
}
CHART_OF = {name: chart for chart, names in TOGETHER.items() for name in names}
ORDER = ("energy", "recovery_error", "loss", "synthesized_std", "step_norm")
# A schedule that the settings tell, not something that training found.
NOT_DRAWN = frozenset({"learning_rate"})

Point = tuple[int, float]


class Metric(NamedTuple):
    """One row of `metrics.parquet` without its job."""

    scale: int
    iteration: int
    name: str
    value: float | None


class Line(NamedTuple):
    """One curve of a chart: its legend and its points by rising iteration, finite values only."""

    label: str
    points: Sequence[Point]


class Chart(NamedTuple):
    """One chart of curves: a heading, the legends in order, and the drawing."""

    heading: str
    labels: list[str]
    svg: Markup


def charts_by_scale(metrics: Iterable[Metric]) -> dict[int, list[Chart]]:
    """Every scale's charts, in the same order at each scale. Metrics of the whole pyramid (scale -1) are left out."""
    curves: dict[int, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for metric in metrics:
        drawn = metric.scale >= 0 and metric.name not in NOT_DRAWN
        if drawn and metric.value is not None and math.isfinite(metric.value):
            curves[metric.scale][metric.name].append((metric.iteration, metric.value))
    return {scale: _charts(scale, curves[scale]) for scale in sorted(curves)}


def _charts(scale: int, curves: Mapping[str, list[Point]]) -> list[Chart]:
    grouped: dict[str, list[Line]] = defaultdict(list)
    for name in sorted(curves):
        chart = CHART_OF.get(name, name)
        label = name.removeprefix(chart).strip("_").replace("_", " ")
        grouped[chart].append(Line(label, thinned(sorted(curves[name]))))
    known = {name: place for place, name in enumerate(ORDER)}
    names = sorted(grouped, key=lambda name: (known.get(name, len(known)), name))
    return [_chart(f"c{scale}-{place}", scale, name, grouped[name]) for place, name in enumerate(names)]


def _chart(key: str, scale: int, name: str, lines: list[Line]) -> Chart:
    heading = name.replace("_", " ").capitalize()
    svg = draw(key, f"{heading}, scale {scale}", lines)
    return Chart(heading, [line.label for line in lines if line.label], svg)


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most MAX_POINTS of the points: the lowest and the highest of each stretch, so that no spike is lost.

    The first and the last point always stay: they are the values a person reads off.
    """
    if len(points) <= MAX_POINTS:
        return list(points)
    stretches = (MAX_POINTS - 2) // 2
    kept = {0, len(points) - 1}
    for k in range(stretches):
        stretch = range(k * len(points) // stretches, (k + 1) * len(points) // stretches)
        kept.add(min(stretch, key=lambda i: points[i][1]))
        kept.add(max(stretch, key=lambda i: points[i][1]))
    return [points[i] for i in sorted(kept)]


def draw(key: str, title: str, lines: Sequence[Line], description: str = "", caption: str = "") -> Markup:
    """The lines in one frame with a common range. `key` makes the ids of title and description unique.

    The description is by default that of curves over iterations, and the caption the range of their values.
    """
    points = [point for line in lines for point in line.points]
    low, high = min(y for _, y in points), max(y for _, y in points)
    first, last = min(x for x, _ in points), max(x for x, _ in points)

    def place(point: Point) -> str:
        # A curve that never moves lies in the middle; a single iteration at the left edge.
        x = (point[0] - first) / (last - first) if last > first else 0.0
        y = (point[1] / 2 - low / 2) / (high / 2 - low / 2) if high / 2 > low / 2 else 0.5
        return f"{MARGIN + x * (WIDTH - 2 * MARGIN):.1f} {HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN):.1f}"

    paths = [
        # A path of one point draws nothing; closing it makes the round line ends a dot.
        f'<path class="line{place_in_legend}" d="M{"L".join(place(p) for p in line.points)}'
        f'{"z" if len(line.points) == 1 else ""}"/>'
        for place_in_legend, line in enumerate(lines)
    ]
    if low < 0 < high:
        zero = place((first, 0.0)).split()[1]
        paths.insert(0, f'<path class="zero" d="M{MARGIN} {zero}H{WIDTH - MARGIN}"/>')
    return Markup(  # noqa: S704 - every text in it is escaped here, the rest are numbers
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{key}t {key}d">'
        f'<title id="{key}t">{escape(title)}</title><desc id="{key}d">{escape(description or _described(lines))}</desc>'
        f"{''.join(paths)}</svg>"
        f'<span class="range">{escape(caption or f"{number(low)} … {number(high)}")}</span>'
    )


def _described(lines: Sequence[Line]) -> str:
    return " ".join(
        f"{line.label.capitalize() + ': ' if line.label else ''}"
        f"from {number(line.points[0][1])} at iteration {line.points[0][0]} "
        f"to {number(line.points[-1][1])} at iteration {line.points[-1][0]}, "
        f"lowest {number(min(y for _, y in line.points))}, highest {number(max(y for _, y in line.points))}."
        for line in lines
    )
