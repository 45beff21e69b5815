"""The report of a campaign: one self-contained HTML file that a scientist can circulate.

It opens with what was asked, what is recommended and why, then shows the evidence: the front, progress, outcomes against
limits, fade, channel use, every trial, what was stopped, and where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from orchestrator.decision import report_figures as figures
from orchestrator.decision import report_sections as sections
from orchestrator.decision.report_data import ReportData
from orchestrator.decision.report_page import page
from orchestrator.decision.report_shares import shares
from orchestrator.decision.report_svg import front_svg, hypervolume_svg
from orchestrator.decision.wording import listing

__all__ = ["ReportData", "front_svg", "hypervolume_svg", "render_report"]

_FIGURES: dict[str, Callable[[ReportData], dict[str, Any] | None]] = {
    "front": figures.front_figure,
    "hypervolume": figures.hypervolume_figure,
    "outcomes": figures.outcomes_figure,
    "fade": figures.fade_figure,
    "channels": figures.channels_figure,
}


def render_report(data: ReportData) -> str:
    """The report as one HTML document.

    Works at every stage: with no trial, or with none that succeeded, it is short and says so. Text that people wrote
    (names, ids, reasons) is escaped. The document makes no request of any kind.

    Args:
        data: everything that is shown.

    Returns:
        HTML of about 2 MB, of which plotly is all but a few kilobytes; without figures plotly is left out.
    """
    drawn = {name: figure for name, make in _FIGURES.items() if (figure := make(data)) is not None}
    parts = [(name, title, body) for name, title, body in _parts(data, drawn) if body]
    links = "".join(f'<li><a href="#{name}">{name.capitalize()}</a></li>' for name, *_ in parts)
    body = "".join(f'<section id="{name}"><h2>{title}</h2>{content}</section>' for name, title, content in parts)
    footer = f"<footer><p>Written by voltloop{' from synthetic data' if data.synthetic else ''}.</p></footer>"
    whole = f'{sections.header(data)}<nav aria-label="Sections"><ul>{links}</ul></nav><main>{body}</main>{footer}'
    settings = {"synthetic": data.synthetic, "name": data.spec.name}
    return page(f"{data.spec.name}: campaign report", whole, drawn, settings)


def _parts(data: ReportData, drawn: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Sections by anchor and title; those with nothing to show are empty."""
    plot = {name: _plot(name, caption, static) for name, caption, static in _captions(data) if name in drawn}
    trials = sections.trial_table(data, data.ordered, _trials_caption(data)) if data.trials else ""
    return [
        ("front", "The front" if len(data.objectives) > 1 else "The best so far", plot.get("front", "") + _alternatives(data)),
        ("outcomes", "Outcomes and limits", plot.get("outcomes", "")),
        ("calibration", "How well the safe limits were foreseen", sections.calibration(data)),
        ("progress", "Progress", plot.get("hypervolume", "")),
        ("groups", "What explains each outcome", shares(data)),
        ("fade", "Capacity fade", plot.get("fade", "")),
        ("trials", "Every trial", trials),
        ("stopped", "What was stopped, and why", sections.stopped(data)),
        ("channels", "Channel use", plot.get("channels", "")),
        ("events", "Events", sections.events(data)),
        ("terms", "What was asked", sections.terms(data)),
        ("provenance", "Provenance", sections.provenance(data)),
    ]


def _captions(data: ReportData) -> list[tuple[str, str, str]]:
    """Name, caption and static picture of each figure."""
    front = data.front.reference_point if data.front else {}
    reference = listing(f"{data.axis(m)} = {x:g}" for m, x in front.items())
    return [
        ("front", _front_caption(data), front_svg(data)),
        ("outcomes", f"Every metric by trial, with one standard error. {sections.margins(data)}", ""),
        ("hypervolume", f"{_PROGRESS} Reference point: {reference or 'not fixed yet'}.", hypervolume_svg(data)),
        ("fade", "Discharge capacity by cycle for every trial with a recording; the dashed line is the end of life.", ""),
        (
            "channels",
            f"Which trial held which channel; {100 * data.channel_utilisation:.0f} % of the channels' time was in use.",
            "",
        ),
    ]


_PROGRESS = "Hypervolume after each trial that ended with an outcome; measured, feasible values alone count."


def _front_caption(data: ReportData) -> str:
    dim = len(data.objectives)
    if dim == 1:
        return "Each trial's measured value with one standard error, and the best so far. Click a trial to find it in the table."
    third = f" Colour tells {data.axis(data.objectives[2].metric)}." if dim > 2 else ""
    fourth = f" {listing(data.axis(o.metric) for o in data.objectives[3:])}: in the table alone." if dim > 3 else ""
    shade = " The line is the front and the shaded area what it dominates, up to the reference point." if dim == 2 else ""
    return f"Measured trials with one standard error.{shade}{third}{fourth} Click a trial to find it in the table."


def _plot(name: str, caption: str, static: str) -> str:
    """A figure's place: the static picture, or a note, until the script draws the interactive one."""
    waiting = f'<p class="waiting">This figure is drawn by JavaScript; {_INSTEAD.get(name, "the tables hold its numbers")}.</p>'
    described = escape(caption, quote=True)
    return (
        f'<figure><div class="plot{" static" if static else ""}" id="plot-{name}" role="group" aria-label="{described}">'
        f"{static or waiting}</div><figcaption>{sections.prose(caption)}</figcaption></figure>"
    )


_INSTEAD = {"fade": "the recordings hold its numbers", "channels": "the table of trials names each trial's channel"}


def _alternatives(data: ReportData) -> str:
    """The front as a table: what else could be chosen."""
    members = [t for t in data.ordered if data.front is not None and t.number in data.front.trials]
    if not members:
        return ""
    caption = _CHOICES if len(data.objectives) > 1 else "The best measured value."
    table = sections.trial_table(data, members, caption, whole=False)
    return f"<details{' open' if len(members) <= _OPEN_AT_MOST else ''}><summary>The choices</summary>{table}</details>"


_OPEN_AT_MOST = 12
_CHOICES = "The trials on the front: nothing measured is better than one of these in one way without being worse in another."


def _trials_caption(data: ReportData) -> str:
    kind = "Synthetic outcomes" if data.synthetic else "Outcomes"
    return (
        f"{kind} with one standard error; 'model' is what the surrogate believes of the candidate, 'predicted' an outcome "
        "foretold from early cycles. Click a column to sort by it."
    )
