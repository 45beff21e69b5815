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
from flows.standing import standing, who_asked, why
from flows.terminal import naming_lab
from flows.tick import costs
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
        said, waited = -1, False

        def on_tick(report: TickReport) -> None:
            nonlocal said, waited
            if report.skipped:  # it has looked at no trial
                if not waited:
                    console.print(f"{name}: {at_work(lab, name)}; this one takes over when that has ended")
                waited = True
                return
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


def at_work(lab: Lab, name: str) -> str:
    """Who makes a campaign's ticks at this moment, in words."""
    holder = lab.store.lock_holder(name)
    return f"another tick is at work ({holder})" if holder else "another tick is at work"


def _state(lab: Lab, name: str, report: TickReport) -> tuple[int, int, float]:
    """Trials ended that count against the budget, channels busy, hypervolume so far."""
    campaign = lab.store.campaign(name)
    outcomes = [trial.outcome for trial in ended_with_outcome(report.trials)]
    trace = hypervolume_trace(campaign.spec.objectives, campaign.spec.constraints, outcomes, reference_point_of(campaign))
    ended = sum(trial.status.ended and costs(trial) for trial in report.trials)
    return ended, sum(trial.status.holds_channel for trial in report.trials), trace[-1] if trace else 0.0


def summary(lab: Lab, result: CampaignResult) -> RenderableType:
    """The end of a campaign in a terminal: trials, front, recommendation, where the report lies."""
    campaign = lab.store.campaign(result.campaign)
    metrics = campaign.spec.metrics
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("trial", "status", "candidate", *metrics):
        name = _broken_at_underscores(heading)
        table.add_column(
            name,
            justify="left" if heading in ("status", "candidate") else "right",
            overflow="fold",
            min_width=0 if heading == "candidate" else max(map(len, name.split("\n"))),
        )
    for trial in result.trials:
        star = " *" if trial.number in result.front else ""
        candidate = ", ".join(f"{n} {v:.3g}" if isinstance(v, float) else f"{n} {v}" for n, v in trial.candidate.items())
        table.add_row(f"{trial.number}{star}", trial.status, candidate, *(_cell(trial.outcome.get(m)) for m in metrics))
    said = f"{_reasons(lab, result)}{approvals(result)}\n{_closing_lines(lab, result)}".lstrip("\n")
    return Group(table, Text(), *map(_line, naming_lab(said).splitlines()))


def _line(text: str) -> Text:
    """A line of the summary; one with a command in it stays whole, so that it can be copied."""
    return Text(text, no_wrap=True, overflow="ignore") if "`" in text else Text(text)


def _broken_at_underscores(name: str, width: int = 12) -> str:
    """A long name in lines that a narrow table has room for, none broken within a word."""
    lines = [""]
    for part in name.replace("_", "_ ").split():
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _reasons(lab: Lab, result: CampaignResult) -> str:
    """Why trials ended as they did or have no value: one line a reason, with the trials that share it; and flags."""
    trials: dict[str, list[str]] = {}
    for trial in result.trials:
        if trial.stopped_because:
            by = None
            if trial.status in (TrialStatus.EARLY_STOPPED, TrialStatus.ABORTED, TrialStatus.CANCELLED):
                by = who_asked(lab, result.campaign, trial.number, trial.stopped_because)
            reason = f"{trial.stopped_because} (asked for by {by})" if by else trial.stopped_because
            trials.setdefault(reason, []).append(str(trial.number))
    lines = [f"trial {', '.join(numbers)}: {reason}" for reason, numbers in trials.items()]
    for trial in result.trials:
        if trial.flag:
            ended = TrialStatus(trial.status).ended
            lines.append(f"trial {trial.number} {'ran on, though' if ended else 'runs, but'} {trial.flag}")
    return "".join(f"\n{line}" for line in lines)


def approvals(result: CampaignResult) -> str:
    """Which trials wait for a person and how to answer, and who approved the others."""
    waiting = [str(trial.number) for trial in result.trials if trial.status == TrialStatus.PROPOSED]
    lines = []
    if waiting:
        approve = f"voltloop approve {result.campaign} {' '.join(waiting)}"
        lines.append(
            f"waiting for approval: trial {', '.join(waiting)}; `{approve}` lets them run, `voltloop reject` cancels them"
        )
    said: dict[str, list[str]] = {}
    for trial in result.trials:
        if trial.decided_by and trial.status not in (TrialStatus.PROPOSED, TrialStatus.CANCELLED):
            said.setdefault(trial.decided_by, []).append(str(trial.number))
    lines += [f"approved by {who}: trial {', '.join(numbers)}" for who, numbers in said.items()]
    return "".join(f"\n{line}" for line in lines)


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
        f"{result.campaign}{synthetic}: {result.status}" + (f" ({reason})" if (reason := why(lab, campaign)) else ""),
        *standing(lab, result.campaign),
        f"front: trials {', '.join(map(str, result.front))} (marked *)" if result.front else "front: none yet",
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


def share_table(lab: Lab) -> Table | None:
    """Who shares the channels: what each campaign at work holds and could use; None unless there are several."""
    claims = lab.store.on_offer()[1]
    if len(claims) < 2:
        return None
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("campaign", "priority", "quota", "holds", "could use"):
        table.add_column(heading, justify="left" if heading == "campaign" else "right")
    for claim in claims:
        quota = lab.store.campaign(claim.campaign).spec.sharing.quota
        table.add_row(claim.campaign, f"{claim.priority:g}", str(quota or "-"), str(claim.held), str(claim.wanted))
    return table
