"""An emergency stop as a tick sees it: nothing is started, what still runs is stopped, the candidates are not to blame."""

from __future__ import annotations

from flows.bench import Bench
from flows.estop_records import stop_since_dispatch, take_in
from flows.latch import EMERGENCY, StopOrder
from flows.silence import asking, in_turn
from flows.tick import Tick
from orchestrator.domain.cycler import Cycler, RunRef, RunState, RunStatus
from orchestrator.domain.trial import Trial, TrialStatus


def heed_emergency_stops(tick: Tick) -> None:
    """Put what was written down of emergency stops into the log, and see whether one of the campaign's cyclers is latched.

    What may run on a latched cycler without the lab knowing is ordered to stop, at each tick again.
    """
    lab = tick.bench.lab
    lab.note_cyclers(tick.spec)
    lab.note_time()
    take_in(lab.store, lab.folder)
    tick.emergency = latched(tick.bench)
    if tick.emergency:
        _stop_what_may_run(tick)


def _stop_what_may_run(tick: Tick) -> None:
    """The stop may have overtaken a request whose answer was lost, and where nobody knows a run nobody asks for its status."""
    held = tick.having(TrialStatus.DISPATCHING, TrialStatus.UNKNOWN)
    stopped = [trial for trial in held if tick.bench.lab.latch.reason_for(trial.cycler or "")]
    for trial in in_turn(tick, stopped):
        with asking(tick, trial):
            tick.bench.cycler_of(trial).emergency_stop(trial.channel)


def latched(bench: Bench) -> str | None:
    """The emergency stop that keeps a campaign from starting anything, in words."""
    return next(filter(None, map(bench.lab.latch.reason_for, bench.cyclers)), None)


def go_on_when_lifted(tick: Tick) -> None:
    """A campaign that waits because of an emergency stop goes on when the latch has been lifted."""
    if tick.emergency or not (tick.campaign.status_reason or "").startswith(EMERGENCY):
        return
    store, name, now_h = tick.bench.lab.store, tick.campaign.name, tick.bench.now_h
    store.wake(name, by="the emergency stop was lifted", lab_time_h=now_h)


def stop_if_latched(bench: Bench, cycler: Cycler, ref: RunRef, status: RunStatus) -> RunStatus:
    """A test that runs on a latched cycler is stopped there: the button was pressed and the stop has not reached it."""
    if status.state is not RunState.RUNNING or not bench.lab.latch.reason_for(cycler.capabilities.name):
        return status
    cycler.emergency_stop(ref.channel)
    return cycler.status(ref)


def emergency_that_ended(bench: Bench, trial: Trial, status: RunStatus) -> str | None:
    """The emergency stop by which a run has ended, in words; None if it ended otherwise, or for a reason of its own."""
    ended_from_outside = status.state in (RunState.STOPPED, RunState.FAILED) and not status.safety and status.cause is None
    if not ended_from_outside or trial.stop_requested or trial.cycler is None:
        return None
    order = bench.lab.latch.order_for(trial.cycler)
    order = order or stop_since_dispatch(bench.lab.store, bench.campaign.name, trial.number, trial.cycler)
    if order is None or (status.state is RunState.FAILED and _failed_before(order, status)):
        return None
    its_word = f" ({trial.cycler} says: {status.reason})" if status.state is RunState.FAILED and status.reason else ""
    return f"{order.words(trial.cycler)}{its_word}"


def _failed_before(order: StopOrder, status: RunStatus) -> bool:
    """Whether a run had failed by itself when the stop came; a minute is left to the device's clock."""
    if status.ended_h is None or order.lab_time_h is None:
        return False
    return status.ended_h < order.lab_time_h - 1 / 60
