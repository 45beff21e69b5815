"""Commands with which a person decides: approve, reject, tell, amend, stop, settle. Each imports what it needs when it runs."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import ByOption, CampaignArgument, JsonOption, LabOption, note, open_lab, print_out
from orchestrator.domain.errors import CampaignError

app = typer.Typer()


TrialsArgument = Annotated[list[int] | None, typer.Argument(metavar="TRIAL...", help="Their numbers.", show_default=False)]
AllOption = Annotated[bool, typer.Option("--all", help="Instead of numbers: every trial that waits.")]
WhyOption = Annotated[str | None, typer.Option("--reason", help="Why; it is kept.", show_default=False)]


@app.command()
def approve(
    campaign: CampaignArgument,
    trials: TrialsArgument = None,
    every: AllOption = False,
    by: ByOption = None,
    reason: WhyOption = None,
    lab: LabOption = None,
) -> None:
    """Let proposed trials run; all of those named, or none."""
    _decide(campaign, trials, every, by, reason, lab, approved=True)


@app.command()
def reject(
    campaign: CampaignArgument,
    trials: TrialsArgument = None,
    every: AllOption = False,
    by: ByOption = None,
    reason: WhyOption = None,
    lab: LabOption = None,
) -> None:
    """Cancel proposed trials, all of those named or none; their candidates are not proposed again."""
    _decide(campaign, trials, every, by, reason, lab, approved=False)


@app.command()
def tell(
    campaign: CampaignArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE.csv")],
    lab: LabOption = None,
) -> None:
    """Add historical or manual results: a column per parameter (or `id`), per metric, and `<metric>_sem` where known."""
    from flows.told import tell_results

    with open_lab(lab, create=False) as opened:
        numbers = tell_results(opened, campaign, file)
    print_out(f"{campaign}: {len(numbers)} results taken in as trials {numbers[0]} to {numbers[-1]}")


@app.command()
def amend(
    campaign: CampaignArgument,
    changes: Annotated[Path, typer.Argument(metavar="CHANGES.toml", help="The fields of the spec that change.")],
    by: ByOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change, and for which trials.")] = False,
    stop_forbidden: Annotated[
        bool, typer.Option("--stop-forbidden", help="Stop running trials that would not be started now; else they are flagged.")
    ] = False,
    lab: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new version of a campaign's spec: budget, limits, objectives' thresholds, bounds, parameters added."""
    from flows.amend import Patience, amend_campaign

    how = Patience(told=note)
    with open_lab(lab, create=False) as opened:
        report = amend_campaign(opened, campaign, changes, by=by, dry_run=dry_run, stop_forbidden=stop_forbidden, patience=how)
    print_out(json.dumps(report.to_json()) if as_json else "\n".join(report.lines()))


@app.command()
def stop(
    campaign: CampaignArgument,
    reason: Annotated[str, typer.Option(help="Why; it is kept with the trial.")],
    trial: Annotated[int | None, typer.Option(help="One trial only.", show_default=False)] = None,
    by: ByOption = None,
    lab: LabOption = None,
) -> None:
    """Ask for a campaign, or one trial, to stop; the next tick carries it out and verifies it."""
    from flows.control import request_stop
    from flows.person import this_person
    from flows.standing import stop_asked_for

    with open_lab(lab, create=False) as opened:
        before = stop_asked_for(opened, campaign, trial)
        request_stop(opened, campaign, trial, reason, by or this_person())
    what = f"{campaign}{'' if trial is None else f' trial {trial}'}"
    if before:
        print_out(f"{what} is to stop already, {before}: that stands")
    else:
        print_out(f"noted: {what} is to stop ({reason}); the next tick carries it out")


class Finding(StrEnum):
    """What a person found out about an unknown trial."""

    STARTED = "started"
    NOT_STARTED = "not-started"


@app.command()
def settle(
    campaign: CampaignArgument,
    trial: Annotated[int, typer.Argument(metavar="TRIAL")],
    finding: Annotated[Finding, typer.Argument(help="Whether its test is running on the cycler.")],
    key: Annotated[
        str | None,
        typer.Option("--key", help="What you looked for; refused if the trial has another now.", show_default=False),
    ] = None,
    by: ByOption = None,
    lab: LabOption = None,
) -> None:
    """Say what became of an `unknown` trial: it runs (it is adopted), or nothing was started (it is tested anew)."""
    from flows.control import settle_trial
    from flows.person import this_person

    with open_lab(lab, create=False) as opened:
        started = finding is Finding.STARTED
        settled = settle_trial(opened, campaign, trial, started=started, by=by or this_person(), key=key)
    print_out(f"{campaign} trial {trial}: {settled.status}; `voltloop resume {campaign}` goes on")


def _decide(
    campaign: str, trials: list[int] | None, every: bool, by: str | None, reason: str | None, lab: Path | None, *, approved: bool
) -> None:
    from flows.control import decide_trials

    if bool(trials) == every:
        raise CampaignError(f"name the trials by number, or give --all. `voltloop status {campaign}` shows which wait.")
    with open_lab(lab, create=False) as opened:
        decided = [t.number for t in decide_trials(opened, campaign, trials or None, approved=approved, by=by, reason=reason)]
        before = [opened.store.trial(campaign, number) for number in sorted(set(trials or ()) - set(decided))]
    what = "approved" if approved else "rejected"
    if decided:
        print_out(f"{campaign}: {what} {', '.join(map(str, decided))}")
    for trial in before:
        print_out(f"{campaign}: trial {trial.number} was {what} before, by {trial.decided_by}; it is {trial.status}")
