"""What a person sees in the terminal while a campaign runs, and at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from flows.campaign import TickReport
from flows.control import OnTick
from flows.lab import Lab
from flows.result import CampaignResult, ended_with_outcome, last_choice, reference_point_of
from orchestrator.decision import hypervolume_trace
from orchestrator.domain.trial import TrialStatus


@contextmanager
def following(lab: Lab, name: str, console: Console) -> Iterator[OnTick]:
    """A progress line on a terminal, or a plain line every few trials elsewhere; yields the tick's observer."""
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("trials"),
        TextColumn("{task.fields[channels]}"), TextColumn("{task.fields[volume]}"), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        line = progress.add_task(name, total=None, channels="", volume="")
        said = -1

        def on_tick(report: TickReport) -> None:
            nonlocal said
            ended, busy, volume = _state(lab, name, report)
            total = lab.store.campaign(name).spec.budget.trials
            shown = f"hypervolume {volume:.4g}"
            progress.update(line, completed=ended, total=total, channels=f"{busy} channels busy", volume=shown)
            if not console.is_terminal and ended != said and (ended % 4 == 0 or report.ended):
                said = ended
                console.print(
                    f"{name}: {ended}/{total} trials, {busy} channels busy, {shown}, lab time {report.lab_time_h:.0f} h"
                )

        yield on_tick


def _state(lab: Lab, name: str, report: TickReport) -> tuple[int, int, float]:
    """Trials ended, channels busy, hypervolume so far."""
    campaign = lab.store.campaign(name)
    outcomes = [trial.outcome for trial in ended_with_outcome(report.trials)]
    trace = hypervolume_trace(campaign.spec.objectives, campaign.spec.constraints, outcomes, reference_point_of(campaign))
    ended = sum(trial.status.ended and trial.status is not TrialStatus.CANCELLED for trial in report.trials)
    return ended, sum(trial.status.holds_channel for trial in report.trials), trace[-1] if trace else 0.0


def summary(lab: Lab, result: CampaignResult) -> RenderableType:
    """The end of a campaign in a terminal: trials, front, recommendation, where the report lies."""
    campaign = lab.store.campaign(result.campaign)
    metrics = campaign.spec.metrics
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("trial", "status", "candidate", *metrics):
        table.add_column(heading, justify="left" if heading in ("status", "candidate") else "right", overflow="fold")
    for trial in result.trials:
        star = " *" if trial.number in result.front else ""
        candidate = ", ".join(f"{n} {v:.3g}" if isinstance(v, float) else f"{n} {v}" for n, v in trial.candidate.items())
        table.add_row(f"{trial.number}{star}", trial.status, candidate, *(_cell(trial.outcome.get(m)) for m in metrics))
    return Group(table, Text(_reasons(result)), Text(_closing_lines(lab, result)))


def _reasons(result: CampaignResult) -> str:
    """Why trials ended as they did or have no value: one line a reason, with the trials that share it."""
    trials: dict[str, list[str]] = {}
    for trial in result.trials:
        if trial.stopped_because:
            trials.setdefault(trial.stopped_because, []).append(str(trial.number))
    return "".join(f"\ntrial {', '.join(numbers)}: {reason}" for reason, numbers in trials.items())


def _cell(estimate: dict[str, object] | None) -> str:
    if estimate is None:
        return "-"
    mark = "~" if estimate["source"] == "predicted" else ""
    return f"{mark}{estimate['mean']:.4g} ± {estimate['sem']:.2g}"


def _closing_lines(lab: Lab, result: CampaignResult) -> str:
    campaign = lab.store.campaign(result.campaign)
    synthetic = " (synthetic cells)" if is_synthetic(lab, result.campaign) else ""
    lines = [
        "",
        f"{result.campaign}{synthetic}: {result.status}" + (f" ({campaign.status_reason})" if campaign.status_reason else ""),
        f"front: trials {', '.join(map(str, result.front)) or 'none'} (marked *)",
        f"channels busy {result.channel_utilisation:.0%} of {result.lab_time_h:.0f} h lab time; {result.wall_s:.0f} s at work",
    ]
    if campaign.spec.safe_constraints:
        lines.append(f"trials past a safe limit (by the noise-free truth, where it is known): {result.limits_violated}")
    choice = last_choice(lab, result.campaign)
    if choice is not None:
        lines.append(
            f"recommendation: {choice[1]['why']}" if choice[0] == "recommended" else f"no recommendation: {choice[1]['why']}"
        )
    if choice is not None and choice[0] == "recommended":
        lines.append("(the recommendation is what all trials together say of a candidate; the table shows what single cells did)")
    if result.report:
        lines.append(f"report: {result.report}")
    return "\n".join(lines)


def is_synthetic(lab: Lab, name: str) -> bool:
    """Whether any of a campaign's numbers come from a model."""
    spec = lab.store.campaign(name).spec
    return any(cycler.capabilities.synthetic for cycler in lab.cyclers_for(spec).values())


def channel_table(lab: Lab) -> Table:
    """Every channel, its state and who holds it."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("channel", "state", "held by", "reason"):
        table.add_column(heading)
    for channel in lab.store.channels():
        holder = f"{channel.campaign} trial {channel.trial}" if channel.campaign else ""
        table.add_row(f"{channel.cycler}/{channel.name}", channel.state, holder, channel.reason or "")
    return table
