"""The interactive figures of a report, as plain plotly JSON (data and layout): building them needs no plotly.

Colours are tokens such as `@front`; the page replaces them by its own, light or dark. Text that people wrote is escaped:
plotly reads markup in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from orchestrator.decision.report_data import ReportData, Standing
from orchestrator.decision.report_svg import STANDINGS, best_so_far, front_corners, hypervolume_axis, shown_range
from orchestrator.decision.wording import label, quantity, status_words
from orchestrator.domain import Objective, Trial, TrialStatus

Figure = dict[str, Any]
Trace = dict[str, Any]

_MARKERS: dict[Standing, Mapping[str, Any]] = {
    "predicted": {"symbol": "circle-open", "size": 9, "color": "@muted"},
    "infeasible": {"symbol": "x-thin", "size": 9, "color": "@bad", "line": {"width": 2, "color": "@bad"}},
    "feasible": {"symbol": "circle", "size": 9, "color": "@feasible"},
    "front": {"symbol": "circle", "size": 12, "color": "@front"},
}
_STAR = {"symbol": "star", "size": 20, "color": "@star", "line": {"width": 1.2, "color": "@ink"}}
_STATUS_COLOURS = {
    TrialStatus.COMPLETED: "@front",
    TrialStatus.EARLY_STOPPED: "@star",
    TrialStatus.RUNNING: "@good",
    TrialStatus.FAILED: "@bad",
    TrialStatus.ABORTED: "@purple",
}
_POINTS_PER_CURVE = 120
_HOURS_SHOWN_AS_HOURS = 96.0


def front_figure(data: ReportData) -> Figure | None:
    """Trials by the first two objectives (or one objective by trial) with error bars, the front and the recommendation."""
    shown = [t for t in data.ordered if data.standing(t) is not None]
    if not shown:
        return None
    if len(data.objectives) == 1:
        traces = [_best_line(data, shown), *_groups(data, shown, None, data.objectives[0])]
        return _figure(traces, {"title": {"text": "trial"}}, _axis(data, data.objectives[0], shown), height=480)
    first, second = data.objectives[:2]
    traces = _dominated(data) if len(data.objectives) == 2 else []
    traces += _groups(data, shown, first, second)
    return _figure(traces, _axis(data, first, shown), _axis(data, second, shown), height=520)


def hypervolume_figure(data: ReportData) -> Figure | None:
    """The hypervolume after each outcome."""
    if not data.hypervolume:
        return None
    trace = {
        "type": "scatter",
        "mode": "lines",
        "x": list(range(len(data.hypervolume) + 1)),
        "y": [0.0, *_rounded(data.hypervolume)],
        "line": {"shape": "hv", "color": "@front", "width": 2.5},
        "fill": "tozeroy",
        "fillcolor": "@shade",
        "hovertemplate": "after %{x} outcomes: %{y:.4g}<extra></extra>",
        "showlegend": False,
    }
    titles = {"title": {"text": "trials that ended with an outcome"}, "rangemode": "tozero"}
    return _figure([trace], titles, {"title": {"text": hypervolume_axis(data)}, "rangemode": "tozero"}, height=380)


def outcomes_figure(data: ReportData) -> Figure | None:
    """Every metric by trial, one panel a metric, with the campaign's limits."""
    metrics = [m for m in data.spec.metrics if any(m in t.outcome for t in data.trials)]
    if not metrics:
        return None
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "trial"}, "anchor": f"y{len(metrics)}"},
        "shapes": [],
        "annotations": [],
    }
    traces: list[Trace] = []
    gap = 0.06
    share = (1 - gap * (len(metrics) - 1)) / len(metrics)
    for i, metric in enumerate(metrics):
        top = 1 - i * (share + gap)
        axis = f"y{i + 1}"
        layout[f"yaxis{i + 1}"] = {"title": {"text": escape(data.axis(metric))}, "domain": [max(top - share, 0), top]}
        traces += _outcomes(data, metric, axis, legend=i == 0)
        for shape, note in _limits(data, metric, axis):
            layout["shapes"].append(shape)
            layout["annotations"].append(note)
    return {"data": traces, "layout": {**layout, "height": 90 + 210 * len(metrics), "showlegend": True}}


def fade_figure(data: ReportData) -> Figure | None:
    """Discharge capacity by cycle, one curve a trial; the front and the recommendation stand out."""
    curves = [(t, _curve(data.traces.get(t.number, ()))) for t in data.ordered]
    front = set(data.front.trials) if data.front else set()
    named = [(_role(data, t, front), t, c) for t, c in curves if len(c) > 1]
    ranked = sorted(named, key=lambda drawn: list(_FADE_LINES).index(drawn[0]))
    if not ranked:
        return None
    roles = [role for role, *_ in ranked]
    traces = [_fade(data, t, c, role, first=role not in roles[:i]) for i, (role, t, c) in enumerate(ranked)]
    end = data.spec.experiment.end_of_life * data.spec.experiment.cell.nominal_capacity_Ah
    shape, note = _level(end, f"end of life, {end:.4g} Ah")
    figure = _figure(traces, {"title": {"text": "cycle"}}, {"title": {"text": "discharge capacity (Ah)"}}, height=460)
    figure["layout"] |= {"shapes": [shape], "annotations": [note]}
    return figure


def channels_figure(data: ReportData) -> Figure | None:
    """Which trial held which channel when: one row a channel, one bar a trial."""
    spans = [(f"{c} {ch}", n, start, end) for c, ch, used in data.channels for n, start, end in used]
    if not spans:
        return None
    days = max(end for *_, end in spans) > _HOURS_SHOWN_AS_HOURS
    per, unit = (24.0, "days") if days else (1.0, "h")
    status = {t.number: t.status for t in data.trials}
    traces = []
    for kind in dict.fromkeys([*_STATUS_COLOURS, *TrialStatus]):
        used = [s for s in spans if status.get(s[1], TrialStatus.UNKNOWN) is kind]
        if used:
            traces.append(_channel_bars(data, kind, used, per, unit))
    rows = [f"{c} {ch}" for c, ch, _ in data.channels]
    titles = {"title": {"text": f"lab time since the start ({unit})"}}
    order = {
        "categoryorder": "array",
        "categoryarray": [escape(r) for r in reversed(rows)],
        "type": "category",
        "automargin": True,
    }
    figure = _figure(traces, titles, order, height=130 + 30 * len(rows))
    figure["layout"] |= {"barmode": "overlay", "bargap": 0.25}
    return figure


def hover(data: ReportData, trial: Trial) -> str:
    """What a trial shows under the pointer: its candidate with units, outcomes, and what the surrogate believes."""
    lines = [f"<b>Trial {trial.number}</b> ({status_words(trial.status)})"]
    lines += [escape(part) for part in data.candidate_text(trial).split(", ")]
    for metric, estimate in trial.outcome.items():
        source = "" if estimate.source == "measured" else " (predicted)"
        lines.append(f"{escape(label(metric))}: {escape(quantity(metric, estimate, data.unit(metric)))}{source}")
    if trial.number == data.recommended:
        lines.append("<b>recommended</b>")
    return "<br>".join(lines)


def _figure(traces: Sequence[Trace], x: Mapping[str, Any], y: Mapping[str, Any], height: int) -> Figure:
    return {"data": list(traces), "layout": {"xaxis": dict(x), "yaxis": dict(y), "height": height, "showlegend": len(traces) > 1}}


def _axis(data: ReportData, goal: Objective, shown: Sequence[Trial]) -> dict[str, Any]:
    low, high = shown_range(data, shown, goal)
    margin = 0.07 * ((high - low) or abs(high) or 1.0)
    way = "more is better" if goal.maximize else "less is better"
    words = f"{escape(data.axis(goal.metric))}, {way}"
    return {"title": {"text": words}, "range": _rounded([low - margin, high + margin])}


def _groups(data: ReportData, shown: Sequence[Trial], first: Objective | None, second: Objective) -> list[Trace]:
    """One trace for each standing, the recommendation on top."""
    groups = {s: [t for t in shown if data.standing(t) == s and t.number != data.recommended] for s in _MARKERS}
    traces = [_scatter(data, g, first, second, STANDINGS[s], _MARKERS[s]) for s, g in groups.items() if g]
    chosen = [t for t in shown if t.number == data.recommended]
    return traces + ([_scatter(data, chosen, first, second, "recommended", _STAR)] if chosen else [])


def _scatter(
    data: ReportData, group: Sequence[Trial], first: Objective | None, second: Objective, name: str, marker: Mapping[str, Any]
) -> Trace:
    trace = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [t.number for t in group] if first is None else _means(group, first.metric),
        "y": _means(group, second.metric),
        "error_y": _errors(group, second.metric),
        "marker": dict(marker) | _third(data, group, name),
        "text": [hover(data, t) for t in group],
        "customdata": [t.number for t in group],
        "hovertemplate": "%{text}<extra></extra>",
    }
    if name == "recommended":
        trace |= {"mode": "markers+text", "texttemplate": f"<b>trial {group[0].number}</b>", "textposition": _better_side(data)}
    return trace if first is None else trace | {"error_x": _errors(group, first.metric)}


def _better_side(data: ReportData) -> str:
    """Where a label beside the front meets no other mark."""
    goals = data.objectives
    side = "left" if len(goals) > 1 and not goals[0].maximize else "right"
    return f"{'top' if goals[min(1, len(goals) - 1)].maximize else 'bottom'} {side}"


def _third(data: ReportData, group: Sequence[Trial], name: str) -> dict[str, Any]:
    """A third objective as colour, on the marks that keep their shape without it."""
    if len(data.objectives) < 3 or name not in (STANDINGS["front"], STANDINGS["feasible"]):
        return {}
    metric = data.objectives[2].metric
    values = [t.outcome[metric].mean for t in data.trials if data.standing(t) in ("front", "feasible")]
    bar = {"title": {"text": escape(data.axis(metric)), "side": "right"}, "thickness": 12, "outlinewidth": 0}
    line = {"width": 2 if name == STANDINGS["front"] else 0, "color": "@ink"}
    scale = {"colorscale": "Cividis", "cmin": min(values), "cmax": max(values), "showscale": name == STANDINGS["front"]}
    return {"color": _means(group, metric), "colorbar": bar, "line": line, **scale}


def _best_line(data: ReportData, shown: Sequence[Trial]) -> Trace:
    steps = best_so_far(data, shown)
    last = [shown[-1].number] if steps else []
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "best so far",
        "x": [n for n, _ in steps] + last,
        "y": _rounded([*(best for _, best in steps), *([steps[-1][1]] if steps else [])]),
        "line": {"shape": "hv", "color": "@front", "width": 2},
        "hoverinfo": "skip",
    }


def _dominated(data: ReportData) -> list[Trace]:
    corners = front_corners(data)
    if not corners:
        return []
    x, y = _rounded(a for a, _ in corners), _rounded(b for _, b in corners)
    common = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False}
    region = {"x": x, "y": y, "fill": "toself", "fillcolor": "@shade", "line": {"width": 0}}
    return [common | region, common | {"x": x[1:], "y": y[1:], "line": {"color": "@front", "width": 2}}]


def _outcomes(data: ReportData, metric: str, axis: str, legend: bool) -> list[Trace]:
    named = [t for t in data.ordered if metric in t.outcome]
    kinds = {"measured": ("circle", "@front"), "predicted": ("circle-open", "@muted")}
    traces = []
    for source, (symbol, colour) in kinds.items():
        group = [t for t in named if t.outcome[metric].source == source and t.number != data.recommended]
        traces.append((source, group, {"symbol": symbol, "size": 8, "color": colour}))
    traces.append(("recommended", [t for t in named if t.number == data.recommended], {**_STAR, "size": 16}))
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "legendgroup": name,
            "showlegend": legend,
            "x": [t.number for t in group],
            "y": _means(group, metric),
            "error_y": _errors(group, metric),
            "yaxis": axis.replace("y1", "y") if axis == "y1" else axis,
            "marker": marker,
            "text": [hover(data, t) for t in group],
            "customdata": [t.number for t in group],
            "hovertemplate": "%{text}<extra></extra>",
        }
        for name, group, marker in traces
        if group
    ]


def _limits(data: ReportData, metric: str, axis: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The bounds of a metric as lines across its panel, each with its words."""
    constraint = data.constraint(metric)
    bounds = [] if constraint is None else [b for b in (constraint.lower, constraint.upper) if b is not None]
    return [_level(b, f"limit {b:g} {data.unit(metric)}", "y" if axis == "y1" else axis) for b in bounds]


def _level(height: float, words: str, axis: str = "y") -> tuple[dict[str, Any], dict[str, Any]]:
    """A dashed line across a panel, and the words on it."""
    line = {"color": "@bad", "dash": "dash", "width": 1.6}
    shape = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": axis, "y0": height, "y1": height, "line": line}
    place = {"xref": "paper", "x": 0, "yref": axis, "y": height, "xanchor": "left", "yanchor": "bottom", "xshift": 4}
    return shape, {"text": escape(words), "showarrow": False, "font": {"color": "@bad", "size": 12}, **place}


def _curve(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Cycle and capacity where both are known, thinned evenly; the first and the last stay."""
    known = [(r.get("cycle_count"), r.get("discharge_capacity_Ah")) for r in rows]
    curve = [(int(n), float(q)) for n, q in known if n is not None and q is not None and math.isfinite(q)]
    if len(curve) <= _POINTS_PER_CURVE:
        return curve
    step = (len(curve) - 1) / (_POINTS_PER_CURVE - 1)
    return [curve[round(i * step)] for i in range(_POINTS_PER_CURVE)]


_FADE_LINES = {"other trials": ("@muted", 1.2, 0.45), "front": ("@front", 2, 0.9), "recommended": ("@star", 3.5, 1.0)}


def _role(data: ReportData, trial: Trial, front: set[int]) -> str:
    return "recommended" if trial.number == data.recommended else "front" if trial.number in front else "other trials"


def _fade(data: ReportData, trial: Trial, curve: Sequence[tuple[int, float]], kind: str, first: bool) -> Trace:
    colour, width, opacity = _FADE_LINES[kind]
    words = f"trial {trial.number}, cycle %{{x}}: %{{y:.3f}} Ah<br>{_plain(data.candidate_text(trial))}<extra></extra>"
    return {
        "type": "scatter",
        "mode": "lines",
        "name": kind,
        "legendgroup": kind,
        "showlegend": first,
        "x": [n for n, _ in curve],
        "y": _rounded(q for _, q in curve),
        "line": {"color": colour, "width": width},
        "opacity": opacity,
        "hovertemplate": words,
    }


def _plain(words: str) -> str:
    """Text inside a template: escaped, and without what a template would replace."""
    return escape(words).replace("%{", "% {")


def _channel_bars(
    data: ReportData, kind: TrialStatus, spans: Sequence[tuple[str, int, float, float]], per: float, unit: str
) -> Trace:
    candidates = {t.number: escape(data.candidate_text(t)) for t in data.trials}

    def _held(number: int, start: float, end: float) -> str:
        return f"<b>Trial {number}</b> ({status_words(kind)}), {start:.4g} to {end:.4g}"

    return {
        "type": "bar",
        "orientation": "h",
        "name": status_words(kind),
        "y": [escape(row) for row, *_ in spans],
        "base": _rounded(start / per for *_, start, _ in spans),
        "x": _rounded((end - start) / per for *_, start, end in spans),
        "marker": {"color": _STATUS_COLOURS.get(kind, "@muted"), "line": {"color": "@paper", "width": 1}},
        "text": [str(n) for _, n, *_ in spans],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "hovertext": [f"{_held(n, start / per, end / per)} {unit}<br>{candidates.get(n, '')}" for _, n, start, end in spans],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "customdata": [n for _, n, *_ in spans],
    }


def _means(group: Iterable[Trial], metric: str) -> list[float | None]:
    return [float(f"{t.outcome[metric].mean:.6g}") if metric in t.outcome else None for t in group]


def _errors(group: Iterable[Trial], metric: str) -> dict[str, Any]:
    sems = [float(f"{t.outcome[metric].sem:.3g}") for t in group]
    return {"type": "data", "array": sems, "visible": any(sems), "thickness": 1.2, "width": 0, "color": "@muted"}


def _rounded(values: Iterable[float]) -> list[float]:
    return [float(f"{v:.6g}") for v in values]
