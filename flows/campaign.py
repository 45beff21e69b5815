"""The tick: whatever is due in a campaign now, and then stop. Safe to repeat, to kill, and to run twice at once.

reconcile, collect, watch, learn and propose, approve, dispatch, publish. `control.run_campaign` repeats ticks
until the campaign ends; a Prefect deployment runs one per interval.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from flows.closing import close_campaign
from flows.lab import Lab
from flows.result import channel_hours, ended_with_outcome, reference_point_of
from flows.trial import UNREACHABLE, Bench, collect, dispatch, reconcile_dispatch, run_ref_of
from orchestrator.campaign import Campaign
from orchestrator.decision import infer_reference_point
from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.cycler import RunState, VirtualTimeCycler
from orchestrator.domain.errors import CyclerUnreachableError, NeedsPersonError
from orchestrator.domain.trial import DEVICE, SAFE_IMPROVEMENT, SAFE_SEED, WITHDRAWN, Trial, TrialStatus
from orchestrator.store import CampaignRecord, NewTrial

_S = TrialStatus
FAILURES_IN_A_ROW = 4
MEASURED_FOR_REFERENCE = 4
UNANSWERED_UNTIL_ASKED = 20
NO_ANSWER = "no answer from"
RESUMED = "resumed"
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


@dataclass
class _Tick:
    """The state of one tick: the history read once, and changed as trials move."""

    bench: Bench
    trials: dict[int, Trial]
    before: int
    changed: set[int] = field(default_factory=set)
    proposed: int = 0
    halt: str | None = None
    doubt: str | None = None
    failing: str | None = None

    @property
    def campaign(self) -> CampaignRecord:
        return self.bench.campaign

    @property
    def spec(self) -> CampaignSpec:
        return self.bench.campaign.spec

    def note(self, trial: Trial) -> None:
        before = self.trials.get(trial.number)
        if before is None or before != trial:
            self.changed.add(trial.number)
        self.trials[trial.number] = trial

    def having(self, *states: TrialStatus) -> list[Trial]:
        return [trial for trial in self.trials.values() if trial.status in states]


def advance_campaign(lab: Lab, name: str) -> TickReport:
    """Do whatever is due in a campaign now.

    A campaign that waits for a person still settles what was begun, takes in what ended and carries out stops; it begins
    nothing. If it waited for cyclers that did not answer, it goes on by itself when they do.

    In virtual time, time first passes to the next end of a test.

    Args:
        lab: the opened lab.
        name: the campaign's name.

    Returns:
        What was done; `skipped` if another tick is at work.

    Raises:
        CampaignError: if there is no such campaign.
    """
    with lab.store.campaign_lock(name, _holder()) as fence:
        campaign = lab.store.campaign(name)
        if fence is None:
            return TickReport(name, campaign.status, skipped=True)
        if campaign.status not in ("running", "needs_attention"):
            return _report(lab, campaign, lab.store.trials(name), set())
        bench = Bench(lab, campaign, lab.cyclers_for(campaign.spec))
        trials = {trial.number: trial for trial in lab.store.trials(name)}
        tick = _Tick(bench, trials, before=max(trials, default=0))
        waits = campaign.status == "needs_attention"
        if not waits:
            _let_time_pass(tick)
        with _timed(lab, name):
            for stage in WHILE_WAITING if waits else STAGES:
                stage(tick)
        return _report(lab, lab.store.campaign(name), list(tick.trials.values()), tick.changed)


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


@contextmanager
def _timed(lab: Lab, name: str) -> Iterator[None]:
    """Add the tick's wall time to the campaign's."""
    start = time.monotonic()
    try:
        yield
    finally:
        lab.store.set_campaign(name, add_wall_s=time.monotonic() - start, lab_time_h=lab.now_h())


def _let_time_pass(tick: _Tick) -> None:
    """In virtual time, go to the next end of a test; not while somebody waits for one to be stopped by a cycler that answers."""
    bench = tick.bench
    if bench.lab.virtual_time and not any(trial.stop_requested for trial in tick.having(_S.RUNNING) if _answers(tick, trial)):
        ends = [c.next_end_h() for c in bench.cyclers.values() if isinstance(c, VirtualTimeCycler)]
        coming = [end for end in ends if end is not None]
        if coming:
            bench.lab.clock.wait_until(min(coming))


def _answers(tick: _Tick, trial: Trial) -> bool:
    """Whether a trial's cycler can be asked now."""
    try:
        return tick.bench.cycler_of(trial).status(run_ref_of(trial)).state is not RunState.UNKNOWN
    except CyclerUnreachableError:
        return False


def _reconcile(tick: _Tick) -> None:
    """Finish what a killed process left between intent and acknowledgement: adopt what runs, submit what does not."""
    begun = tick.having(_S.DISPATCHING)
    unsafe = _no_longer_safe(tick, begun)
    for trial in begun:
        tick.note(reconcile_dispatch(tick.bench, trial, UNSAFE_BY_NOW if trial in unsafe else None))


def _collect(tick: _Tick) -> None:
    for trial in tick.having(_S.RUNNING):
        tick.note(collect(tick.bench, trial))


def _watch(tick: _Tick) -> None:
    """Decide whether anything new may start: a requested stop, spent channel-hours, or failures in a row halt the campaign."""
    tick.halt = tick.campaign.stop_requested
    hours, limit = channel_hours(tick.trials.values(), tick.bench.now_h), tick.spec.budget.channel_hours
    if tick.halt is None and limit is not None and hours >= limit:
        tick.halt = f"budget: {hours:.0f} of {limit:.0f} channel-hours are used"
    for trial in tick.having(_S.PROPOSED, _S.APPROVED):
        if tick.halt or trial.stop_requested:
            tick.note(_move(tick, trial, _S.CANCELLED, tick.halt or trial.stop_requested))


def _fix_reference_point(tick: _Tick) -> None:
    """Infer the hypervolume's reference point once enough was measured, and keep it."""
    if reference_point_of(tick.campaign) is not None:
        return
    measured = {t.number: t.outcome for t in ended_with_outcome(tick.trials.values())}
    point = infer_reference_point(tick.spec.objectives, measured) if len(measured) >= MEASURED_FOR_REFERENCE else None
    if point is not None:
        tick.bench.lab.store.set_campaign(tick.campaign.name, reference_point=point, lab_time_h=tick.bench.now_h)
        tick.bench = replace(tick.bench, campaign=replace(tick.campaign, reference_point=point))


def _failing(tick: _Tick) -> str | None:
    """Why a person should look before more cells are spent: the last few trials since they last looked all failed."""
    ended = _ends_one_by_one(tick, _looked_at(tick))
    last = ended[-FAILURES_IN_A_ROW:]
    if len(ended) < FAILURES_IN_A_ROW:
        return None
    if any(t.status not in (_S.FAILED, _S.ABORTED, _S.CANCELLED) or t.stop_requested for t in last):
        return None
    return f"the last {FAILURES_IN_A_ROW} trials all failed; the latest: {last[-1].stopped_because}"


def _look_for_failures(tick: _Tick) -> None:
    tick.failing = _failing(tick)


def _ends_one_by_one(tick: _Tick, first: int) -> list[Trial]:
    """Ended trials in order, after so many; ended together by a fault of the device they are one end; withdrawn ones are none."""
    ended: list[Trial] = []
    in_order = sorted((t for t in tick.trials.values() if t.status.ended), key=lambda t: (t.ended_h or 0.0, t.number))
    for trial in in_order[first:]:
        if trial.cause == WITHDRAWN:
            continue
        last = ended[-1] if ended else None
        if not (last and trial.cause == last.cause == DEVICE and trial.ended_h == last.ended_h):
            ended.append(trial)
    return ended


def _looked_at(tick: _Tick) -> int:
    """How many trials had ended when a person last told the campaign to go on."""
    looks = tick.bench.lab.store.events(tick.campaign.name, limit=1, kinds=(RESUMED,))
    return int(looks[-1].data.get("ended", 0)) if looks else 0


def _propose(tick: _Tick) -> None:
    """Ask for as many candidates as there are channels without one, and as many ahead as the spec wants, within the budget."""
    wanted = _places(tick)
    if tick.halt or wanted < 1:
        return
    if tick.failing:
        return
    try:
        proposals = Campaign(tick.spec, tuple(tick.trials.values()), reference_point=tick.campaign.reference_point).proposals(
            wanted
        )
    except NeedsPersonError as error:
        tick.doubt = str(error)
        return
    at_once = TrialStatus.APPROVED if tick.spec.approval.mode == "none" else TrialStatus.PROPOSED
    new = [NewTrial(p.candidate, p.origin, at_once, p.decision) for p in proposals]
    for trial in tick.bench.lab.store.add_trials(tick.campaign.name, new, lab_time_h=tick.bench.now_h):
        tick.note(trial)
    tick.proposed = len(new)


def _places(tick: _Tick) -> int:
    waiting = len(tick.having(_S.PROPOSED, _S.APPROVED))
    return min(len(_free_channels(tick)) + tick.spec.prefetch - waiting, tick.spec.budget.trials - _spent(tick))


def _spent(tick: _Tick) -> int:
    """Trials that count against the budget: none that was cancelled, told from elsewhere, or ended by a fault of the device."""
    return sum(
        trial.status is not _S.CANCELLED and trial.origin != "told" and trial.cause != DEVICE for trial in tick.trials.values()
    )


def _free_channels(tick: _Tick) -> list[tuple[str, str]]:
    mine = {name: frozenset(cycler.capabilities.channels) for name, cycler in tick.bench.cyclers.items()}
    return [(cycler, name) for cycler, name in tick.bench.lab.store.free_channels() if name in mine.get(cycler, ())]


def _approve(tick: _Tick) -> None:
    for trial in tick.having(_S.PROPOSED):
        if not tick.spec.approval.needed(trial.number):
            tick.note(_move(tick, trial, _S.APPROVED, None))


def _dispatch(tick: _Tick) -> None:
    """Start approved trials on free channels; those chosen before the latest results only if they are still safe.

    While tests fail one after the other none is started: a person looks first.
    """
    if tick.failing:
        return
    _withdraw_unsafe(tick)
    for trial, (cycler, channel) in zip(tick.having(_S.APPROVED), _free_channels(tick), strict=False):
        tick.note(dispatch(tick.bench, trial, tick.bench.cyclers[cycler], channel))


def _withdraw_unsafe(tick: _Tick) -> None:
    """Cancel what waited for a person or a channel, and by now is not safe with confidence."""
    waited = [t for t in tick.having(_S.APPROVED) if t.number <= tick.before]
    for trial in _no_longer_safe(tick, waited) if _free_channels(tick) else ():
        tick.note(_move(tick, trial, _S.CANCELLED, UNSAFE_BY_NOW, WITHDRAWN))


def _no_longer_safe(tick: _Tick, chosen: list[Trial]) -> list[Trial]:
    """Those of the safe proposer's trials that it would not choose now; what a person put in is that person's decision."""
    chosen = [trial for trial in chosen if trial.origin in (SAFE_IMPROVEMENT, SAFE_SEED)]
    if not chosen or not tick.spec.safe_constraints:
        return []
    campaign = Campaign(tick.spec, tuple(t for t in tick.trials.values() if t not in chosen))
    safe = campaign.safe([trial.candidate for trial in chosen])
    return [trial for trial, holds in zip(chosen, safe, strict=True) if not holds]


def _publish(tick: _Tick) -> None:
    """Say where the campaign stands: ended, waiting for a person, or running on."""
    store, name = tick.bench.lab.store, tick.campaign.name
    if store.campaign(name).status != "running":
        return
    if question := _question(tick):
        store.set_campaign(name, status="needs_attention", reason=question, lab_time_h=tick.bench.now_h)
    elif tick.having(_S.RUNNING, _S.DISPATCHING, _S.APPROVED):
        return
    elif tick.halt:
        close_campaign(tick.bench.lab, name, "stopped" if tick.campaign.stop_requested else "completed", tick.halt)
    elif not _places_left(tick):
        close_campaign(tick.bench.lab, name, "completed", "the budget of trials is used")


def _question(tick: _Tick) -> str | None:
    """What only a person can settle, once nothing goes on without them."""
    if running := tick.having(_S.RUNNING, _S.DISPATCHING):
        return _silent(tick, running)
    if tick.failing and not tick.halt and (_places_left(tick) or tick.having(_S.PROPOSED, _S.APPROVED)):
        return tick.failing
    if tick.having(_S.APPROVED):
        stuck = not _free_channels(tick) and not _others_hold(tick)
        return "no channel is free to run the approved trials" if stuck else None
    if parked := tick.having(_S.UNKNOWN):
        return f"trial {parked[0].number} may or may not be running; a person must look at channel {parked[0].channel}"
    if proposed := tick.having(_S.PROPOSED):
        return f"{len(proposed)} proposed trials wait for approval"
    if tick.halt or tick.doubt or not _places_left(tick):
        return None if tick.halt else tick.doubt
    if tick.proposed or _others_hold(tick):
        return None  # this tick's proposals were all refused, or other campaigns hold the channels: a later tick goes on
    return "no channel is free to run the remaining trials" if not _free_channels(tick) else "no candidate is left to propose"


def _silent(tick: _Tick, running: list[Trial]) -> str | None:
    """Why a person should look at cyclers that have stopped answering, once nothing else happens any more."""
    events, most = tick.bench.lab.store.events, UNANSWERED_UNTIL_ASKED * len(running)
    if any(event.kind != UNREACHABLE for event in events(tick.campaign.name, limit=1)):
        return None
    said = events(tick.campaign.name, limit=most)
    if len(said) < most or any(event.kind != UNREACHABLE for event in said):
        return None
    if {event.trial for event in said} != {trial.number for trial in running}:
        return None
    names = sorted({trial.cycler or "" for trial in running})
    asked = f"{NO_ANSWER} {', '.join(names)}, asked {UNANSWERED_UNTIL_ASKED} times; at last: {said[-1].data.get('error')}"
    return f"{asked} Look at it and its line; when it answers, the service goes on by itself, and so does `voltloop resume`."


def _hear_again(tick: _Tick) -> None:
    """A campaign that waits for silent cyclers goes on when they answer."""
    store, name = tick.bench.lab.store, tick.campaign.name
    if not (tick.campaign.status_reason or "").startswith(NO_ANSWER):
        return
    running = tick.having(_S.RUNNING)
    if any(_answers(tick, trial) for trial in running) or not (running or tick.having(_S.DISPATCHING)):
        store.log(
            RESUMED, campaign=name, data={"ended": _looked_at(tick), "by": "the cyclers answer"}, lab_time_h=tick.bench.now_h
        )
        store.set_campaign(name, status="running", reason=None, lab_time_h=tick.bench.now_h)


def _others_hold(tick: _Tick) -> bool:
    """Whether another campaign's test holds a channel of this campaign's cyclers."""
    channels = tick.bench.lab.store.channels()
    return any(c.state == "held" and c.campaign != tick.campaign.name and c.cycler in tick.bench.cyclers for c in channels)


def _places_left(tick: _Tick) -> bool:
    return _spent(tick) < tick.spec.budget.trials


def _move(tick: _Tick, trial: Trial, to: TrialStatus, reason: str | None, cause: str | None = None) -> Trial:
    now_h = tick.bench.now_h
    return tick.bench.lab.store.move(tick.campaign.name, trial.number, to, lab_time_h=now_h, reason=reason, cause=cause)


# What was chosen ahead starts before the next candidates are thought about.
_TAKE_IN = (_reconcile, _collect, _watch, _fix_reference_point)
_START = (_look_for_failures, _dispatch)
STAGES = (*_TAKE_IN, *_START, _look_for_failures, _propose, _approve, _dispatch, _publish)
WHILE_WAITING = (_reconcile, _collect, _watch, _hear_again)
