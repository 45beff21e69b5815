"""What a person does with a campaign: start, run, resume, stop, approve."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from flows.bench import Bench, run_ref_of, to_text
from flows.campaign import TickReport, advance_campaign
from flows.dispatch import FROM_A_COPY, is_own, revoked
from flows.lab import Lab
from flows.person import this_person
from flows.report import report_path, write_report
from flows.result import CampaignResult, campaign_result
from flows.spec_check import check_spec
from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.cycler import Cycler, RunRef, RunState
from orchestrator.domain.errors import CampaignError, CyclerUnreachableError, VoltloopError
from orchestrator.domain.trial import Trial, TrialStatus
from orchestrator.store import StopCause

OnTick = Callable[[TickReport], None]


def start_campaign(lab: Lab, spec: CampaignSpec) -> None:
    """Register a campaign; ticks are made by whoever calls `advance_campaign`.

    Raises:
        SpecError: with every fault of the spec against the lab's cyclers; nothing was written.
        CampaignError: if the lab has a campaign of that name.
    """
    check_spec(spec, lab.cyclers_for(spec).values())
    lab.store.register_campaign(spec, lab_time_h=lab.now_h())
    lab.note_cyclers(spec)


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
    wake(lab, name, looked=True)
    try:
        while not (report := _advance(lab, name, on_tick)).ended:
            _wait(lab, name, report)
    except (KeyboardInterrupt, VoltloopError):
        with suppress(VoltloopError):
            lab.store.drop_claim(name)  # nobody here goes on with it: others may have its share of the channels
        raise
    if report.status in ("completed", "stopped") and not report_path(lab, name).exists():
        write_report(lab, name)  # a kill between the end and its report
    return campaign_result(lab, name)


def _advance(lab: Lab, name: str, on_tick: OnTick | None) -> TickReport:
    report = advance_campaign(lab, name)
    if on_tick:
        on_tick(report)
    return report


def request_stop(lab: Lab, name: str, number: int | None, reason: str, by: str = "person", cause: StopCause = "person") -> None:
    """Ask for a campaign, or one trial, to stop; the next tick carries it out.

    `by` is who asks, `cause` what kind of thing: a person, an interlock, an early outcome, the budget, an amendment.

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
    lab.store.request_stop(name, number, reason=reason, by=by, cause=cause, lab_time_h=lab.now_h())
    wake(lab, name)


def decide_trials(
    lab: Lab, name: str, numbers: Iterable[int] | None, *, approved: bool, by: str | None = None, reason: str | None = None
) -> list[Trial]:
    """Approve or reject proposed trials; all or none, also against a tick at work. Saying it again changes nothing.

    Args:
        lab: the opened lab.
        name: the campaign.
        numbers: the trials; None for all that wait.
        approved: whether they may run.
        by: who decides; default the user of this process, `user@host`.
        reason: why; a rejected trial keeps it.

    Returns:
        The trials that were decided now.

    Raises:
        CampaignError: if one of them does not wait for a decision, or all that wait are meant and none does; nothing was decided.
    """
    chosen = waiting_trials(lab, name) if numbers is None else list(numbers)
    if not chosen and numbers is None:
        raise CampaignError(f"no trial of '{name}' waits for a decision.")
    decided = lab.store.decide(
        name, chosen, approved=approved, by=by or this_person(), reason=reason or None, lab_time_h=lab.now_h()
    )
    wake(lab, name)
    return decided


def waiting_trials(lab: Lab, name: str) -> list[int]:
    """Numbers of the trials that wait for a person's approval."""
    needed = lab.store.campaign(name).spec.approval.needed
    return [trial.number for trial in lab.store.trials(name) if trial.status is TrialStatus.PROPOSED and needed(trial.number)]


def settle_trial(lab: Lab, name: str, number: int, *, started: bool, by: str = "person", key: str | None = None) -> Trial:
    """Take a person's word on an `unknown` trial: its test is running, or nothing was started.

    A test that runs is adopted; of one that was not started the channel is freed and the trial tested under a new key. `key` is
    the one that was looked for at the cycler: meanwhile somebody else may have settled it, and the trial wait under another.

    Raises:
        CampaignError: if the trial is not unknown, is so under another key, or its test is said to run and the cycler has no
            reference of it.
    """
    trial = _trial(lab, name, number)
    if trial.status is not TrialStatus.UNKNOWN:
        raise CampaignError(f"trial {number} of '{name}' is {trial.status}; only an unknown trial can be settled.")
    if key is not None and key != trial.key:
        raise CampaignError(f"trial {number} of '{name}' is by now unknown as '{trial.key}': look for that one at the cycler.")
    now_h, fence = lab.now_h(), trial.fence or 0
    if started:
        ref, started_h = trial.run_ref or _found_ref(lab, name, trial), trial.started_h
        settled = lab.store.acknowledge(
            name, number, run_ref=ref, started_h=now_h if started_h is None else started_h, fence=fence
        )
    else:
        _see_that_nothing_runs(lab, name, trial)
        reason = f"{by} found that nothing was started" if trial.run_ref is None else f"{by} had it given up"
        settled = lab.store.withdraw_dispatch(name, number, fence=fence, reason=reason, lab_time_h=now_h)
    said = {"started": started, "by": by}
    lab.store.log("trial_settled", campaign=name, trial=number, data=said, lab_time_h=now_h)
    wake(lab, name)
    return settled


def _see_that_nothing_runs(lab: Lab, name: str, trial: Trial) -> None:
    """Ask the cycler once more; the key of a test that was never acknowledged is revoked: a stalled process may yet submit it."""
    cycler = lab.cyclers_for(lab.store.campaign(name).spec).get(trial.cycler or "")
    if cycler is None:
        return
    with suppress(CyclerUnreachableError):  # then the person's word is all there is
        if trial.run_ref is None:
            ref = revoked(cycler, trial.key or "")
            known = ref is not None and _is_its_own(lab, name, trial, cycler, ref)
        else:
            known = cycler.status(run_ref_of(trial)).state in (RunState.RUNNING, RunState.FINISHED, RunState.STOPPED)
        if known:
            raise CampaignError(
                f"'{trial.cycler}' knows the test '{trial.key}': it was started. Settle trial {trial.number} as started; its "
                f"result is then taken in, and `voltloop stop {name} --trial {trial.number}` ends it."
            )


def _found_ref(lab: Lab, name: str, trial: Trial) -> str:
    """The reference of a test that a person has seen running."""
    cycler = lab.cyclers_for(lab.store.campaign(name).spec).get(trial.cycler or "")
    ref = cycler.find(trial.key or "") if cycler else None
    if cycler is None or ref is None:
        raise CampaignError(
            f"'{trial.cycler}' has no reference of a test '{trial.key}', so it cannot be followed. Stop it at the cycler, "
            f"quarantine the channel if need be, and settle trial {trial.number} as not-started."
        )
    if not _is_its_own(lab, name, trial, cycler, ref):
        raise CampaignError(
            f"'{trial.key}' on channel {ref.channel} of '{trial.cycler}' {FROM_A_COPY}. It is not the test of trial "
            f"{trial.number}, meant for channel {trial.channel}: settle that as not-started, and it goes on under another key."
        )
    return to_text(ref)


def _is_its_own(lab: Lab, name: str, trial: Trial, cycler: Cycler, ref: RunRef) -> bool:
    campaign = lab.store.campaign(name)
    return ref.channel == trial.channel and is_own(Bench(lab, campaign, lab.cyclers_for(campaign.spec)), trial, cycler, ref)


def _trial(lab: Lab, name: str, number: int) -> Trial:
    found = next((t for t in lab.store.trials(name) if t.number == number), None)
    if found is None:
        raise CampaignError(f"'{name}' has no trial {number}.")
    return found


def wake(lab: Lab, name: str, *, looked: bool = False) -> None:
    """A campaign that waited for a person is looked at afresh: if nothing has changed, it will say so again.

    `looked` says that the person has looked at what has ended and wants to go on all the same.
    """
    lab.store.wake(name, by=this_person(), lab_time_h=lab.now_h(), looked=looked)


def _wait(lab: Lab, name: str, report: TickReport) -> None:
    if lab.virtual_time and report.changed:
        return
    cyclers = lab.cyclers_for(lab.store.campaign(name).spec).values()
    poll_s = min((c.capabilities.poll_s for c in cyclers), default=60.0)
    if lab.virtual_time:
        time.sleep(0.2)
        return
    lab.clock.wait_until(lab.now_h() + poll_s / 3600)
