"""What a person does with a campaign: start, run, resume, stop, approve."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict

from flows.campaign import RESUMED, TickReport, advance_campaign
from flows.lab import Lab
from flows.report import report_path, write_report
from flows.result import CampaignResult, campaign_result
from flows.spec_check import check_spec
from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.errors import CampaignError
from orchestrator.domain.trial import Trial, TrialStatus

OnTick = Callable[[TickReport], None]


def start_campaign(lab: Lab, spec: CampaignSpec) -> None:
    """Register a campaign; ticks are made by whoever calls `advance_campaign`.

    Raises:
        SpecError: with every fault of the spec against the lab's cyclers; nothing was written.
        CampaignError: if the lab has a campaign of that name.
    """
    check_spec(spec, lab.cyclers_for(spec).values())
    lab.store.register_campaign(spec, lab_time_h=lab.now_h())


def run_campaign(lab: Lab, spec: CampaignSpec, on_tick: OnTick | None = None) -> CampaignResult:
    """Run a campaign to its end: the blocking form of the loop.

    Args:
        lab: the opened lab.
        spec: the campaign; its name must be new in this lab.
        on_tick: called after every tick, for progress.

    Returns:
        The result, as `voltloop run --json` prints it.

    Raises:
        SpecError: if the spec is at fault.
        CampaignError: if the name is taken; `resume_campaign` goes on with it.
    """
    start_campaign(lab, spec)
    return resume_campaign(lab, spec.name, on_tick)


def resume_campaign(lab: Lab, name: str, on_tick: OnTick | None = None) -> CampaignResult:
    """Go on with a registered campaign until it ends or needs a person.

    Raises:
        CampaignError: if there is none of that name.
    """
    _wake(lab, name)
    while True:
        report = advance_campaign(lab, name)
        if on_tick:
            on_tick(report)
        if report.ended:
            if report.status in ("completed", "stopped") and not report_path(lab, name).exists():
                write_report(lab, name)  # a kill between the end and its report
            return campaign_result(lab, name)
        _wait(lab, name, report)


def request_stop(lab: Lab, name: str, number: int | None, reason: str, by: str = "person") -> None:
    """Ask for a campaign, or one trial, to stop; the next tick carries it out.

    Raises:
        CampaignError: if there is no such campaign or trial, or it has ended.
    """
    campaign = lab.store.campaign(name)
    if campaign.status in ("completed", "stopped"):
        raise CampaignError(f"the campaign '{name}' has ended ({campaign.status}); there is nothing to stop.")
    if number is not None:
        trial = _trial(lab, name, number)
        if trial.status.ended:
            raise CampaignError(f"trial {number} has ended ({trial.status}); there is nothing to stop.")
    _wake(lab, name)
    lab.store.request_stop(name, number, reason=reason, by=by, lab_time_h=lab.now_h())


def decide_trials(lab: Lab, name: str, numbers: list[int], *, approved: bool) -> None:
    """Approve or reject proposed trials; all or none.

    Raises:
        CampaignError: if one of them does not wait for a decision.
    """
    waiting = {t.number for t in lab.store.trials(name) if t.status is TrialStatus.PROPOSED}
    wrong = [n for n in numbers if n not in waiting]
    if wrong:
        known = ", ".join(map(str, sorted(waiting))) or "none"
        raise CampaignError(f"trial {wrong[0]} of '{name}' does not wait for approval (waiting: {known}).")
    to, reason = (TrialStatus.APPROVED, "approved by a person") if approved else (TrialStatus.CANCELLED, "rejected by a person")
    for number in numbers:
        lab.store.move(name, number, to, lab_time_h=lab.now_h(), reason=reason)
    _wake(lab, name)


def settle_trial(lab: Lab, name: str, number: int, *, started: bool, by: str = "person") -> Trial:
    """Take a person's word on an `unknown` trial: its test is running, or nothing was started.

    A test that runs is adopted; of one that was not started the channel is freed and the trial tested under a new key.

    Raises:
        CampaignError: if the trial is not unknown, or its test is said to run and the cycler has no reference of it.
    """
    trial = _trial(lab, name, number)
    if trial.status is not TrialStatus.UNKNOWN:
        raise CampaignError(f"trial {number} of '{name}' is {trial.status}; only an unknown trial can be settled.")
    now_h, fence = lab.now_h(), trial.fence or 0
    if started:
        ref, started_h = trial.run_ref or _found_ref(lab, name, trial), trial.started_h
        settled = lab.store.acknowledge(
            name, number, run_ref=ref, started_h=now_h if started_h is None else started_h, fence=fence
        )
    else:
        reason = f"a {by} found that nothing was started" if trial.run_ref is None else f"a {by} had it given up"
        settled = lab.store.withdraw_dispatch(name, number, fence=fence, reason=reason, lab_time_h=now_h)
    said = {"started": started, "by": by}
    lab.store.log("trial_settled", campaign=name, trial=number, data=said, lab_time_h=now_h)
    _wake(lab, name)
    return settled


def _found_ref(lab: Lab, name: str, trial: Trial) -> str:
    """The reference of a test that a person has seen running."""
    cycler = lab.cyclers_for(lab.store.campaign(name).spec).get(trial.cycler or "")
    ref = cycler.find(trial.key or "") if cycler else None
    if ref is None:
        raise CampaignError(
            f"'{trial.cycler}' has no reference of a test '{trial.key}', so it cannot be followed. Stop it at the cycler, "
            f"quarantine the channel if need be, and settle trial {trial.number} as not-started."
        )
    return json.dumps(asdict(ref), sort_keys=True)


def _trial(lab: Lab, name: str, number: int) -> Trial:
    found = next((t for t in lab.store.trials(name) if t.number == number), None)
    if found is None:
        raise CampaignError(f"'{name}' has no trial {number}.")
    return found


def _wake(lab: Lab, name: str) -> None:
    """A campaign that waited for a person is looked at afresh: if nothing has changed, it will say so again."""
    if lab.store.campaign(name).status == "needs_attention":
        ended = sum(trial.status.ended for trial in lab.store.trials(name))
        lab.store.log(RESUMED, campaign=name, data={"ended": ended}, lab_time_h=lab.now_h())
        lab.store.set_campaign(name, status="running", reason=None, lab_time_h=lab.now_h())


def _wait(lab: Lab, name: str, report: TickReport) -> None:
    if lab.virtual_time and report.changed:
        return
    cyclers = lab.cyclers_for(lab.store.campaign(name).spec).values()
    poll_s = min((c.capabilities.poll_s for c in cyclers), default=60.0)
    if lab.virtual_time:
        time.sleep(0.2)
        return
    lab.clock.wait_until(lab.now_h() + poll_s / 3600)
