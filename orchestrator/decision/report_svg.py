"""The front and the hypervolume as small static pictures, for pages without scripts, Prefect artifacts and the README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.decision import drawing as draw
from orchestrator.decision.drawing import BOTTOM, LEFT, RIGHT, TOP, Scale
from orchestrator.decision.report_data import ReportData, Standing
from orchestrator.decision.wording import number
from orchestrator.domain import Objective, Trial

STANDINGS: dict[Standing, str] = {
    "front": "front",
    "feasible": "feasible",
    "infeasible": "not feasible",
    "predicted": "predicted only",
}
Spot = tuple[Trial, float, float]
# Past this many trials error bars are a thicket; the interactive figure still has them.
_BARS_AT_MOST = 120


def front_svg(data: ReportData) -> str:
    """The front as a self-contained SVG picture of a few kilobytes.

    Two objectives: trials with error bars, the front with what it dominates, the recommendation as a star. One: values by
    trial with the best so far. More: the first two alone.
    """
    shown = [t for t in data.ordered if data.standing(t) is not None]
    if not shown:
        wanted = " and ".join(data.axis(o.metric) for o in data.objectives)
        return _empty(data, f"No trial has an outcome for {wanted} yet.")
    body = _by_trial(data, shown) if len(data.objectives) == 1 else _by_objectives(data, shown)
    extra = f" (2 of {len(data.objectives)} objectives)" if len(data.objectives) > 2 else ""
    return draw.picture(data.spec.name, f"{_count(data)}{extra}", [*body, _legend(data, shown)], data.synthetic)


def hypervolume_svg(data: ReportData) -> str:
    """The hypervolume after each outcome, as a self-contained SVG picture."""
    trace = [0.0, *data.hypervolume]
    last = len(trace) - 1
    if last == 0:
        return _empty(data, "No trial has ended with an outcome yet.")
    x = Scale(0, last, LEFT, RIGHT, padding=(0.0, 0.02))
    y = Scale(0, max(trace) or 1.0, BOTTOM, TOP, padding=(0.0, 0.08))
    steps = "".join(f"H{x(i):.1f}V{y(v):.1f}" for i, v in enumerate(trace) if i == 0 or v != trace[i - 1])
    path = f"M{LEFT},{y(0):.1f}{steps}H{x(last):.1f}"
    body = [
        draw.axes(x, y, "trials that ended with an outcome", hypervolume_axis(data), whole=True),
        draw.area(f"{path}V{y(0):.1f}Z"),
        draw.line(path, width=2.5),
        draw.dots([(x(last), y(trace[-1]))], "front", 10),
        draw.text(x(last) - 8, y(trace[-1]) - 12, number(trace[-1]), "end", 13, "ink", 600),
    ]
    return draw.picture(data.spec.name, f"hypervolume after {last} outcome{'' if last == 1 else 's'}", body, data.synthetic)


def hypervolume_axis(data: ReportData) -> str:
    """The hypervolume with its unit, the product of the objectives' units."""
    units = [data.unit(o.metric) for o in data.objectives if data.unit(o.metric)]
    return f"hypervolume ({' × '.join(units)})" if units else "hypervolume"


def front_corners(data: ReportData) -> list[tuple[float, float]]:
    """Corners of what the front dominates, from the reference point along the front and back; empty without one.

    Between two neighbours of the front the boundary passes the corner that is as bad as the worse of both.
    """
    if data.front is None or not data.front.reference_point:
        return []
    first, second = data.objectives[:2]
    reference = (data.front.reference_point[first.metric], data.front.reference_point[second.metric])
    members = [t for t in data.trials if t.number in data.front.trials]
    points = {(t.outcome[first.metric].mean, t.outcome[second.metric].mean) for t in members}
    beyond = [p for p in points if first.sign * (p[0] - reference[0]) > 0 and second.sign * (p[1] - reference[1]) > 0]
    ranked = sorted(beyond, key=lambda p: -first.sign * p[0])
    if not ranked:
        return []
    corners = [reference, (ranked[0][0], reference[1]), ranked[0]]
    for point in ranked[1:]:
        corners += [(point[0], corners[-1][1]), point]
    return [*corners, (reference[0], ranked[-1][1])]


def best_so_far(data: ReportData, shown: Sequence[Trial]) -> list[tuple[int, float]]:
    """Trial numbers at which the one objective improved, by measured feasible values, with the new best."""
    goal = data.objectives[0]
    steps: list[tuple[int, float]] = []
    for trial in shown:
        mean = trial.outcome[goal.metric].mean
        if data.standing(trial) in ("front", "feasible") and (not steps or goal.sign * mean > goal.sign * steps[-1][1]):
            steps.append((trial.number, mean))
    return steps


def shown_range(data: ReportData, shown: Sequence[Trial], goal: Objective) -> tuple[float, float]:
    """The data with error bars, and the reference point where it would not squeeze the data to less than half."""
    low = min(t.outcome[goal.metric].mean - t.outcome[goal.metric].sem for t in shown)
    high = max(t.outcome[goal.metric].mean + t.outcome[goal.metric].sem for t in shown)
    reference = (data.front.reference_point if data.front else {}).get(goal.metric)
    if reference is not None and max(high, reference) - min(low, reference) <= 2 * (high - low):
        low, high = min(low, reference), max(high, reference)
    return low, high


def _by_objectives(data: ReportData, shown: Sequence[Trial]) -> list[str]:
    first, second = data.objectives[:2]
    x = Scale(*shown_range(data, shown, first), LEFT, RIGHT)
    y = Scale(*shown_range(data, shown, second), BOTTOM, TOP)
    spots = [(t, x(t.outcome[first.metric].mean), y(t.outcome[second.metric].mean)) for t in shown]
    bars = [(a, b, t.outcome[first.metric].sem * x.per_unit, t.outcome[second.metric].sem * y.per_unit) for t, a, b in spots]
    axes = draw.axes(x, y, data.axis(first.metric), data.axis(second.metric))
    arrows = draw.better(first.maximize, second.maximize)
    dominated = _dominated(data, x, y) if len(data.objectives) == 2 else ""
    return [axes, arrows, dominated, _error_bars(bars), *_marks(data, spots)]


def _by_trial(data: ReportData, shown: Sequence[Trial]) -> list[str]:
    goal = data.objectives[0]
    x = Scale(1, max(t.number for t in shown), LEFT, RIGHT, padding=(0.03, 0.03))
    y = Scale(*shown_range(data, shown, goal), BOTTOM, TOP)
    spots = [(t, x(t.number), y(t.outcome[goal.metric].mean)) for t in shown]
    steps = best_so_far(data, shown)
    path = "".join(f"H{x(n):.1f}V{y(best):.1f}" for n, best in steps[1:])
    best = draw.line(f"M{x(steps[0][0]):.1f},{y(steps[0][1]):.1f}{path}H{RIGHT}") if steps else ""
    bars = [(px, py, 0.0, t.outcome[goal.metric].sem * y.per_unit) for t, px, py in spots]
    return [draw.axes(x, y, "trial", data.axis(goal.metric), whole=True), best, _error_bars(bars), *_marks(data, spots)]


def _error_bars(bars: Sequence[tuple[float, float, float, float]]) -> str:
    return draw.error_bars(bars) if len(bars) <= _BARS_AT_MOST else ""


def _dominated(data: ReportData, x: Scale, y: Scale) -> str:
    corners = [f"{x(a):.1f},{y(b):.1f}" for a, b in front_corners(data)]
    if not corners:
        return ""
    plot = f'<clipPath id="vl-plot"><rect x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{BOTTOM - TOP}"/></clipPath>'
    drawn = draw.area(f"M{'L'.join(corners)}Z") + draw.line(f"M{'L'.join(corners[1:])}")
    return f'{plot}<g clip-path="url(#vl-plot)">{drawn}</g>'


def _marks(data: ReportData, spots: Sequence[Spot]) -> list[str]:
    groups: dict[Standing, list[Spot]] = {"predicted": [], "infeasible": [], "feasible": [], "front": []}
    for spot in spots:
        standing = data.standing(spot[0])
        if standing is not None and spot[0].number != data.recommended:
            groups[standing].append(spot)
    drawn = [_mark(standing, [(px, py) for _, px, py in group]) for standing, group in groups.items() if group]
    chosen = [spot for spot in spots if spot[0].number == data.recommended]
    return drawn + _labels(data, groups["front"], chosen) + [draw.star(px, py) for _, px, py in chosen]


def _mark(standing: Standing, spots: Sequence[tuple[float, float]]) -> str:
    if standing == "infeasible":
        return draw.crosses(spots, "bad")
    if standing == "predicted":
        return draw.dots(spots, "muted", 9, hollow=True)
    return draw.dots(spots, standing, 12 if standing == "front" else 9)


def _labels(data: ReportData, front: Iterable[Spot], chosen: Sequence[Spot]) -> list[str]:
    """Trial numbers on the better side of the front, where nothing else is, as many as find room."""
    goals = data.objectives
    side = -1 if len(goals) > 1 and not goals[0].maximize else 1
    up = 1 if goals[min(1, len(goals) - 1)].maximize else -1
    drawn, taken = [], [(px + side * 40, py - up * 13, 42) for _, px, py in chosen]
    for t, px, py in front:
        x, y = px + side * 12, py - up * 11
        if all(abs(x - a) > room or abs(y - b) > 14 for a, b, room in taken):
            taken.append((x, y, 22))
            drawn.append(_beside(px, py, str(t.number), (side, up), 6, 11))
    named = [_beside(px, py, f"trial {t.number}", (side, up), 12, 13, "ink", 700) for t, px, py in chosen]
    return drawn + named


def _beside(
    x: float, y: float, words: str, where: tuple[int, int], away: float, size: float, colour: str = "muted", weight: int = 400
) -> str:
    side, up = where
    below = 0.0 if up > 0 else 0.7 * size
    return draw.text(x + side * away, y - up * away * 0.75 + below, words, "start" if side > 0 else "end", size, colour, weight)


def _legend(data: ReportData, shown: Sequence[Trial]) -> str:
    present = {data.standing(t) for t in shown if t.number != data.recommended}
    parts, at = [], float(LEFT)
    for standing, name in STANDINGS.items():
        if standing in present:
            parts += [_mark(standing, [(at + 6, 46)]), draw.text(at + 17, 50, name, size=12.5)]
            at += 32 + 6.6 * len(name)
    if data.recommended is not None:
        parts += [draw.star(at + 8, 46, 8), draw.text(at + 21, 50, "recommended", size=12.5)]
    return "".join(parts)


def _count(data: ReportData) -> str:
    measured = sum(data.standing(t) in ("front", "feasible", "infeasible") for t in data.trials)
    front = len(data.front.trials) if data.front else 0
    return f"{measured} measured trial{'' if measured == 1 else 's'}, {front} on the front"


def _empty(data: ReportData, words: str) -> str:
    middle = draw.text(draw.WIDTH / 2, draw.HEIGHT / 2, words, "middle", 14)
    return draw.picture(data.spec.name, "nothing to show yet", [middle], data.synthetic)
