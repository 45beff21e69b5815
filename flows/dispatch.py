"""Dispatch, exactly once, with the trial's key as the idempotency key.

The steps are those of DESIGN.md, in its order:

1. intent: one transaction makes the trial `dispatching`, has it hold the channel, and raises the fence;
2. safety is checked again, against today's limits;
3. the cycler is asked whether it knows the key; only if not, and if the intent is still the one that counts, it is submitted;
4. one transaction acknowledges: the trial is `running`, the run's reference stored.

Between any two of these steps the process may die; `reconcile_dispatch` goes on from the intent at the start of the next tick.
Or it may be stalled and go on much later, when another tick has dealt with the intent: its writes are refused by the lock's
fence, and an intent is never given up before its key was revoked, so that what it still submits starts nothing.
"""

from __future__ import annotations

from contextlib import suppress

from flows.bench import Bench, log_silence, to_text
from orchestrator.domain.cycler import Cycler, Revocable, RunRef, RunRequest
from orchestrator.domain.errors import (
    ChannelBusyError,
    CyclerUnreachableError,
    Fault,
    KeyRevokedError,
    RequestRefusedError,
    SpecError,
)
from orchestrator.domain.trial import WITHDRAWN, Trial, TrialStatus
from orchestrator.representation.requests import run_request
from orchestrator.safety.limits import dispatch_faults
from orchestrator.store import StaleFenceError

FROM_A_COPY = "is another test's key at the cycler: the lab was restored from a backup, or there are two of it"
ENDED_WHILE_STARTING = "the program ended while it was being started; it may run, a person must look"


def dispatch(bench: Bench, trial: Trial, cycler: Cycler, channel: str) -> Trial:
    """Take a channel for an approved trial and start it there; returns the trial as it then stands.

    The intent is on disk before the cycler hears of it. If the channel was taken meanwhile, nothing happens.
    """
    name = cycler.capabilities.name
    intent = bench.lab.store.begin_dispatch(
        bench.campaign.name, trial.number, cycler=name, channel=channel, lab_time_h=bench.now_h
    )
    return trial if intent is None else continue_dispatch(bench, intent)


def reconcile_dispatch(bench: Bench, trial: Trial, doubt: str | None = None) -> Trial:
    """Go on with an intent that a killed or stalled process left; a cycler that cannot be searched leaves it to a person."""
    cycler = bench.cycler_of(trial)
    if cycler.capabilities.searchable:
        return continue_dispatch(bench, trial, doubt)
    try:
        return _leave_to_a_person(bench, trial, cycler)
    except CyclerUnreachableError as error:
        return _asked_in_vain(bench, trial, error)


def continue_dispatch(bench: Bench, trial: Trial, doubt: str | None = None) -> Trial:
    """From a stored intent to an acknowledged run, or to an intent given up.

    Args:
        bench: what it is done with.
        trial: with its intent.
        doubt: why it must not be started any more; if it runs already it is adopted all the same.
    """
    cycler = bench.cycler_of(trial)
    try:
        return _carry_through(bench, trial, cycler, doubt)
    except CyclerUnreachableError as error:
        return _unanswered(bench, trial, cycler, error)
    except StaleFenceError:
        return bench.lab.store.trial(bench.campaign.name, trial.number)


def close_intent(bench: Bench, trial: Trial, reason: str) -> Trial:
    """Leave no intent open: adopt the run if there is one, else give the intent up and let the trial wait again.

    Returns:
        The trial, `running`, `approved`, or `unknown` if its cycler cannot be searched; `dispatching` still if no answer came.
    """
    cycler = bench.cycler_of(trial)
    try:
        if not cycler.capabilities.searchable:
            return _leave_to_a_person(bench, trial, cycler)
        ref = cycler.find(_key(trial))
        return _give_up(bench, trial, cycler, reason) if ref is None else _adopt(bench, trial, cycler, ref)
    except CyclerUnreachableError:
        return trial


def revoked(cycler: Cycler, key: str) -> RunRef | None:
    """Have a key never started from now on, if the cycler can promise that; its run, if it was started already."""
    return cycler.revoke(key) if isinstance(cycler, Revocable) else None


def _carry_through(bench: Bench, trial: Trial, cycler: Cycler, doubt: str | None) -> Trial:
    request, faults = _checked_request(bench, trial, cycler)
    ref = cycler.find(_key(trial))
    if ref is not None:
        return _adopt(bench, trial, cycler, ref)
    if request is None or faults:
        return _give_up(bench, trial, cycler, "unsafe: " + " ".join(map(str, faults)), TrialStatus.CANCELLED)
    if doubt:
        return _give_up(bench, trial, cycler, doubt, TrialStatus.CANCELLED, WITHDRAWN)
    now = bench.lab.store.confirm_intent(bench.campaign.name, trial.number, fence=_fence(trial))
    if now.stop_requested:
        return _give_up(bench, trial, cycler, now.stop_requested, TrialStatus.CANCELLED)
    if emergency := bench.lab.latch.reason_for(cycler.capabilities.name):
        return _give_up(bench, trial, cycler, emergency)
    try:
        return _acknowledge(bench, trial, cycler, _submit(bench, trial, cycler, request), adopted=False)
    except KeyRevokedError as error:
        return _give_up(bench, trial, cycler, str(error))
    except ChannelBusyError as error:
        back = _give_up(bench, trial, cycler, str(error))
        if back.status is TrialStatus.APPROVED:
            name, channel = cycler.capabilities.name, trial.channel or ""
            bench.lab.store.quarantine(name, channel, reason=str(error), lab_time_h=bench.now_h)
        return back
    except RequestRefusedError as error:
        return _give_up(bench, trial, cycler, f"refused by {cycler.capabilities.name}: {error}", TrialStatus.CANCELLED)


def _adopt(bench: Bench, trial: Trial, cycler: Cycler, ref: RunRef) -> Trial:
    """A test that the cycler knows under the intent's key.

    While the intent was never confirmed nobody here can have submitted it: it was started from another copy of this lab, and may
    be another candidate's. Then it is adopted if it is the same test there (to submit a known key starts nothing, and is
    refused where the content is another), else its key is used up.
    """
    if is_own(bench, trial, cycler, ref):
        return _acknowledge(bench, trial, cycler, ref)
    return bench.lab.store.withdraw_dispatch(
        bench.campaign.name, trial.number, fence=_fence(trial), reason=f"{ref.key} {FROM_A_COPY}", lab_time_h=bench.now_h
    )


def is_own(bench: Bench, trial: Trial, cycler: Cycler, ref: RunRef) -> bool:
    """Whether the test that a cycler knows under an intent's key is the one that was intended."""
    if bench.lab.store.was_confirmed(_key(trial)):
        return True
    request, _ = _checked_request(bench, trial, cycler)
    if request is None or ref.channel != trial.channel:
        return False
    with suppress(RequestRefusedError):
        return cycler.submit(request) == ref
    return False


def _submit(bench: Bench, trial: Trial, cycler: Cycler, request: RunRequest) -> RunRef:
    """Start it; if the emergency stop was pressed meanwhile, its order may have come before the start, so it is given again.

    Also where no answer came: it may run all the same. What does not reach the cycler now, each later tick orders again.
    """
    try:
        return cycler.submit(request)
    finally:
        if bench.lab.latch.reason_for(cycler.capabilities.name):
            try:
                cycler.emergency_stop(request.channel)
            except CyclerUnreachableError as error:
                log_silence(bench, trial, error)


def _checked_request(bench: Bench, trial: Trial, cycler: Cycler) -> tuple[RunRequest | None, list[Fault]]:
    """What the cycler is to be asked, and why it must not be."""
    try:
        request = run_request(bench.campaign.spec, trial.candidate, key=_key(trial), channel=trial.channel or "")
        return request, dispatch_faults(bench.campaign.spec, request, cycler.capabilities)
    except SpecError as error:
        return None, list(error.faults)


def _acknowledge(bench: Bench, trial: Trial, cycler: Cycler, ref: RunRef, *, adopted: bool = True) -> Trial:
    return bench.lab.store.acknowledge(
        bench.campaign.name,
        trial.number,
        run_ref=to_text(ref),
        started_h=_start_h(bench, cycler, ref),
        fence=_fence(trial),
        adopted=adopted,
    )


def _start_h(bench: Bench, cycler: Cycler, ref: RunRef) -> float:
    """When the run started, by the cycler's word; a cycler that does not answer now loses no reference."""
    try:
        started_h = cycler.status(ref).started_h
    except CyclerUnreachableError:
        started_h = None
    return bench.now_h if started_h is None else started_h


def _give_up(
    bench: Bench, trial: Trial, cycler: Cycler, reason: str, end: TrialStatus | None = None, cause: str | None = None
) -> Trial:
    """Nothing was started: see to it that nothing will be, free the channel, and end the trial or let it wait again."""
    ref = revoked(cycler, _key(trial))
    if ref is not None:
        return _adopt(bench, trial, cycler, ref)
    store, name = bench.lab.store, bench.campaign.name
    back = store.withdraw_dispatch(name, trial.number, fence=_fence(trial), reason=reason, lab_time_h=bench.now_h)
    if end is None:
        return back
    return store.move(name, trial.number, end, lab_time_h=bench.now_h, reason=reason, cause=cause)


def _unanswered(bench: Bench, trial: Trial, cycler: Cycler, error: CyclerUnreachableError) -> Trial:
    """No answer is not a no: the intent stays and is asked for again, unless the cycler cannot be searched."""
    if not cycler.capabilities.searchable:
        return _park(bench, trial, f"{error} It may run; a person must look.")
    return _asked_in_vain(bench, trial, error)


def _asked_in_vain(bench: Bench, trial: Trial, error: CyclerUnreachableError) -> Trial:
    log_silence(bench, trial, error)
    return trial


def _leave_to_a_person(bench: Bench, trial: Trial, cycler: Cycler) -> Trial:
    """Whether another process started it cannot be searched for; if it has not yet, see to it that it never will."""
    ref = revoked(cycler, _key(trial))
    return _park(bench, trial, ENDED_WHILE_STARTING) if ref is None else _adopt(bench, trial, cycler, ref)


def _park(bench: Bench, trial: Trial, reason: str) -> Trial:
    return bench.lab.store.park_unknown(bench.campaign.name, trial.number, reason=reason, lab_time_h=bench.now_h)


def _key(trial: Trial) -> str:
    assert trial.key is not None  # noqa: S101 - an intent always has its key, channel and fence
    return trial.key


def _fence(trial: Trial) -> int:
    assert trial.fence is not None  # noqa: S101
    return trial.fence
