"""The tick: whatever is due in a campaign now, and then stop. Safe to repeat, to kill, and to run twice at once.

reconcile, collect, watch, learn and propose, approve, dispatch, publish. `control.run_campaign` repeats ticks
until the campaign ends; a Prefect deployment runs one per interval.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, replace

from flows.attention import answers, failing, hear_again, look_again, publish
from flows.bench import Bench
from flows.collect import collect, take_back
from flows.disk import disk_faults_told
from flows.dispatch import dispatch, reconcile_dispatch
from flows.emergency import go_on_when_lifted, heed_emergency_stops, latched
from flows.forbidden import withdraw_forbidden
from flows.lab import Lab
from flows.result import channel_hours, ended_with_outcome, reference_point_of
from flows.sharing import claim_channels, free_channels, let_go, time_may_pass
from flows.silence import Patience, asking, count_silence, in_turn, note_answer
from flows.tick import Tick, move, spent
from orchestrator.campaign import Campaign
from orchestrator.decision import infer_reference_point
from orchestrator.domain.cycler import VirtualTimeCycler
from orchestrator.domain.errors import NeedsPersonError
from orchestrator.domain.trial import SAFE_IMPROVEMENT, SAFE_SEED, WITHDRAWN, Trial, TrialStatus
from orchestrator.store import CampaignRecord, LockLostError, NewTrial

_S = TrialStatus
MEASURED_FOR_REFERENCE = 4
UNSAFE_BY_NOW = "withdrawn: by what was measured since, it is not safe with confidence"


@dataclass(frozen=True)
class TickReport:
    """What one tick did.

    Attributes:
        status: the campaign's, after the tick.
        skipped: another tick held the campaign's lock; nothing was done.
        changed: numbers of the trials whose state changed.
        trials: all of them, as they now stand.
        lab_time_h: lab time at the end of the tick.
    """

    campaign: str
    status: str
    skipped: bool = False
    changed: tuple[int, ...] = ()
    trials: tuple[Trial, ...] = ()
    lab_time_h: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether further ticks change nothing until a person does."""
        return self.status != "running"


def advance_campaign(lab: Lab, name: str) -> TickReport:
    """Do whatever is due in a campaign now.

    A campaign that waits for a person still settles what was begun, takes in what ended and carries out stops; it begins
    nothing. If it waited for cyclers that did not answer, it goes on by itself when they do.

    In virtual time, time first passes to the next end of a test.

    Args:
        lab: the opened lab.
        name: the campaign's name.

    Returns:
        What was done; `skipped` if another tick is at work, or has taken over while this one was stalled.

    Raises:
        CampaignError: if there is no such campaign.
        StoreError: if the database or the disk refuses; what was begun is taken up by the next tick.
    """
    with lab.store.campaign_lock(name, _holder()) as fence:
        campaign = lab.store.campaign(name)
        if fence is None:
            return TickReport(name, campaign.status, skipped=True)
        if campaign.status not in ("running", "needs_attention"):
            return _report(lab, campaign, lab.store.trials(name), set())
        try:
            with disk_faults_told():
                lab.cyclers_for(campaign.spec)  # before anybody asks for the clock: one real cycler makes time real
                return _tick(lab.under(name, fence), campaign, fence)
        except LockLostError:
            return TickReport(name, campaign.status, skipped=True)


def _tick(lab: Lab, campaign: CampaignRecord, fence: int) -> TickReport:
    """One tick of a campaign whose lock is held."""
    bench = Bench(lab, campaign, lab.cyclers_for(campaign.spec))
    trials = {trial.number: trial for trial in lab.store.trials(campaign.name)}
    tick = Tick(bench, trials, before=max(trials, default=0), fence=fence)
    waits = campaign.status == "needs_attention"
    _catch_up(lab)
    if not waits:
        _let_time_pass(tick)
    start = time.monotonic()
    for stage in WHILE_WAITING if waits else STAGES:
        stage(tick)
    lab.store.set_campaign(campaign.name, add_wall_s=time.monotonic() - start, lab_time_h=lab.now_h())
    return _report(lab, lab.store.campaign(campaign.name), list(tick.trials.values()), tick.changed)


def _report(lab: Lab, campaign: CampaignRecord, trials: list[Trial], changed: set[int]) -> TickReport:
    return TickReport(
        campaign.name,
        campaign.status,
        changed=tuple(sorted(changed)),
        trials=tuple(sorted(trials, key=lambda trial: trial.number)),
        lab_time_h=lab.now_h(),
    )


def _holder() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _catch_up(lab: Lab) -> None:
    """In virtual time: it is at least as late as anybody who worked in this lab has seen; each process counts for itself."""
    if lab.virtual_time:
        lab.clock.wait_until(lab.store.last_lab_time_h() or 0.0)


def _let_time_pass(tick: Tick) -> None:
    """In virtual time, go to the lab's next end of a test.

    Not while somebody waits for a stop by a cycler that answers, or an emergency stop holds, and not before every campaign has
    dealt with what ended by now.
    """
    bench = tick.bench
    if not bench.lab.virtual_time or any(trial.stop_requested and answers(tick, trial) for trial in tick.having(_S.RUNNING)):
        return
    if not latched(bench) and time_may_pass(tick):
        ends = [c.next_end_h() for c in bench.lab.cyclers if isinstance(c, VirtualTimeCycler)]
        coming = [end for end in ends if end is not None]
        if coming:
            bench.lab.clock.wait_until(min(coming))


def _reconcile(tick: Tick) -> None:
    """Finish what a killed process left between intent and acknowledgement: adopt what runs, submit what does not."""
    begun = tick.having(_S.DISPATCHING)
    unsafe = _no_longer_safe(tick, begun)
    for trial in in_turn(tick, begun):
        now = reconcile_dispatch(tick.bench, trial, UNSAFE_BY_NOW if trial in unsafe else None)
        note_answer(tick, trial.cycler, trial.number, heard=now.status is not _S.DISPATCHING)
        tick.note(now)


def _collect(tick: Tick) -> None:
    parked = [trial for trial in tick.having(_S.UNKNOWN) if trial.run_ref is not None]
    for trial in in_turn(tick, parked, logged=False):
        with asking(tick, trial, logged=False):
            tick.note(take_back(tick.bench, trial))
    for trial in in_turn(tick, tick.having(_S.RUNNING)):
        with asking(tick, trial):
            tick.note(collect(tick.bench, trial))


def _watch(tick: Tick) -> None:
    """Decide whether anything new may start: a requested stop, spent channel-hours, or failures in a row halt the campaign."""
    tick.halt = tick.campaign.stop_requested
    hours, limit = channel_hours(tick.trials.values(), tick.bench.now_h), tick.spec.budget.channel_hours
    if tick.halt is None and limit is not None and hours >= limit:
        tick.halt = f"budget: {hours:.0f} of {limit:.0f} channel-hours are used"
    for trial in tick.having(_S.PROPOSED, _S.APPROVED):
        if tick.halt or trial.stop_requested:
            tick.note(move(tick, trial, _S.CANCELLED, tick.halt or trial.stop_requested))


def _fix_reference_point(tick: Tick) -> None:
    """Infer the hypervolume's reference point once enough was measured, and keep it."""
    if reference_point_of(tick.campaign) is not None:
        return
    measured = {t.number: t.outcome for t in ended_with_outcome(tick.trials.values())}
    point = infer_reference_point(tick.spec.objectives, measured) if len(measured) >= MEASURED_FOR_REFERENCE else None
    if point is not None:
        tick.bench.lab.store.set_campaign(tick.campaign.name, reference_point=point, lab_time_h=tick.bench.now_h)
        tick.bench = replace(tick.bench, campaign=replace(tick.campaign, reference_point=point))


def _look_for_failures(tick: Tick) -> None:
    tick.failing = failing(tick)


def _propose(tick: Tick) -> None:
    """Ask for as many candidates as there are channels without one, and as many ahead as the spec wants, within the budget."""
    wanted = _places(tick)
    if tick.halt or tick.emergency or tick.failing or wanted < 1:
        return
    try:
        campaign = Campaign(tick.spec, tuple(tick.trials.values()), reference_point=tick.campaign.reference_point)
        with tick.bench.lab.store.keeping(tick.campaign.name, tick.fence):
            proposals = campaign.proposals(wanted)
    except NeedsPersonError as error:
        tick.doubt = str(error)
        return
    at_once = TrialStatus.APPROVED if tick.spec.approval.mode == "none" else TrialStatus.PROPOSED
    new = [NewTrial(p.candidate, p.origin, at_once, p.decision) for p in proposals]
    for trial in tick.bench.lab.store.add_trials(tick.campaign.name, new, lab_time_h=tick.bench.now_h):
        tick.note(trial)
    tick.proposed = len(new)


def _places(tick: Tick) -> int:
    waiting = len(tick.having(_S.PROPOSED, _S.APPROVED))
    return min(len(free_channels(tick, if_approved=True)) + tick.spec.prefetch - waiting, tick.spec.budget.trials - spent(tick))


def _approve(tick: Tick) -> None:
    for trial in tick.having(_S.PROPOSED):
        if not tick.spec.approval.needed(trial.number):
            tick.note(move(tick, trial, _S.APPROVED, None))


def _dispatch(tick: Tick) -> None:
    """Start approved trials on free channels; those chosen before the latest results only if they are still safe.

    While tests fail one after the other, or a cycler is stopped in an emergency, none is started: a person looks first. A cycler
    that does not answer is not given all of them.
    """
    if tick.failing or tick.emergency:
        return
    _withdraw_unsafe(tick)
    approved, patience = iter(tick.having(_S.APPROVED)), Patience(tick)
    for cycler, channel in free_channels(tick):
        if not patience.has_for(cycler):
            continue
        if (trial := next(approved, None)) is None:
            break
        now = dispatch(tick.bench, trial, tick.bench.cyclers[cycler], channel)
        note_answer(tick, cycler, trial.number, heard=now.status not in (_S.DISPATCHING, _S.UNKNOWN))
        patience.note(cycler, trial.number)
        tick.note(now)


def _withdraw_unsafe(tick: Tick) -> None:
    """Cancel what waited for a person or a channel, and by now is not safe with confidence."""
    waited = [t for t in tick.having(_S.APPROVED) if t.number <= tick.before]
    for trial in _no_longer_safe(tick, waited) if free_channels(tick) else ():
        tick.note(move(tick, trial, _S.CANCELLED, UNSAFE_BY_NOW, WITHDRAWN))


def _no_longer_safe(tick: Tick, chosen: list[Trial]) -> list[Trial]:
    """Those of the safe proposer's trials that it would not choose now; what a person put in is that person's decision."""
    outside = tick.spec.space.violations  # what an amended space no longer holds is refused as that, not as unsafe
    chosen = [t for t in chosen if t.origin in (SAFE_IMPROVEMENT, SAFE_SEED) and not outside(t.candidate)]
    if not chosen or not tick.spec.safe_constraints:
        return []
    campaign = Campaign(tick.spec, tuple(t for t in tick.trials.values() if t not in chosen))
    safe = campaign.safe([trial.candidate for trial in chosen])
    return [trial for trial, holds in zip(chosen, safe, strict=True) if not holds]


# What was chosen ahead starts before the next candidates are thought about.
_TAKE_IN = (heed_emergency_stops, _reconcile, _collect, count_silence, _watch, withdraw_forbidden, _fix_reference_point)
_START = (_look_for_failures, claim_channels, _dispatch)
STAGES = (*_TAKE_IN, *_START, _look_for_failures, _propose, _approve, _dispatch, publish, let_go)
_LOOK = (_look_for_failures, hear_again, go_on_when_lifted, look_again)
WHILE_WAITING = (heed_emergency_stops, _reconcile, _collect, _watch, withdraw_forbidden, *_LOOK)
