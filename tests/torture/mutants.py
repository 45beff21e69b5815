"""Faults put into the shipped code by substitution, each of which the simulation must catch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any
from unittest.mock import patch

from sqlmodel import col, select, update

from flows import campaign, control, dispatch, forbidden, live
from orchestrator.domain.trial import TrialStatus
from orchestrator.store import dispatch as intents
from orchestrator.store import lock
from orchestrator.store.dispatch import DispatchLedger
from orchestrator.store.ledger import campaign_row, trial_row
from orchestrator.store.lock import LockLedger
from orchestrator.store.process import ProcessIdentity
from orchestrator.store.tables import ChannelRow
from orchestrator.store.trials import TrialLedger

Mutant = Callable[[], AbstractContextManager[object]]


@contextmanager
def _put_in(*places: tuple[Any, str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for target, name, substitute in places:
            stack.enter_context(patch.object(target, name, substitute))
        yield


def no_lease_expiry() -> AbstractContextManager[object]:
    """A lock is kept until it is given back or its holder is known to be dead."""

    def is_free(row: Any, _now: Any) -> bool:
        return row.holder is None or (row.process is not None and ProcessIdentity.from_text(row.process).certainly_dead())

    return _put_in((lock, "_is_free", is_free))


def timeout_taken_for_failure() -> AbstractContextManager[object]:
    """No answer to a submission ends the trial as failed."""

    def unanswered(bench: Any, trial: Any, _cycler: Any, error: Exception) -> Any:
        return bench.lab.store.finish(
            bench.campaign.name,
            trial.number,
            status=TrialStatus.FAILED,
            outcome={},
            stopped_because=str(error),
            ended_h=bench.now_h,
            fence=trial.fence,
        )

    return _put_in((dispatch, "_unanswered", unanswered))


def safety_checked_only_at_proposal() -> AbstractContextManager[object]:
    """What was safe when it was proposed is started: neither an amendment nor dispatch looks again."""
    return _put_in((dispatch, "dispatch_faults", lambda *_: []), (forbidden, "_faults", lambda *_: []))


def no_idempotency_key() -> AbstractContextManager[object]:
    """Every submission goes under a name of its own."""
    submissions, original = count(), dispatch.run_request

    def run_request(*arguments: Any, **more: Any) -> Any:
        request = original(*arguments, **more)
        return replace(request, key=f"{request.key}/{next(submissions)}")

    return _put_in((dispatch, "run_request", run_request))


def channel_freed_before_the_outcome_is_stored() -> AbstractContextManager[object]:
    """The end of a trial is two transactions, the channel's release the first."""
    original = DispatchLedger.finish

    def finish(self: Any, name: str, number: int, **more: Any) -> Any:
        with self.database.write() as session:
            row = trial_row(session, campaign_row(session, name), number)
            here = update(ChannelRow).where(col(ChannelRow.trial_id) == row.id)
            session.exec(here.values(trial_id=None, state="free"))
        return original(self, name, number, **more)

    return _put_in((DispatchLedger, "finish", finish), (intents, "_free_channel", lambda *_: None))


def release_without_fence() -> AbstractContextManager[object]:
    """Whoever says that a trial's attempt is over is believed, whichever attempt they speak of."""

    def free_channel(session: Any, row: Any) -> None:
        session.exec(update(ChannelRow).where(col(ChannelRow.trial_id) == row.id).values(trial_id=None, state="free"))

    return _put_in((intents, "_check_fence", lambda *_: None), (intents, "_free_channel", free_channel))


def lease_not_atomic() -> AbstractContextManager[object]:
    """Whether the lock is free is read in one transaction, and it is taken in the next."""

    def acquire(self: Any, name: str, holder: str, ttl_s: float, *_: Any) -> int | None:
        with self.database.write() as session:
            row = lock._lock_row(session, name)
            if not lock._is_free(row, self.database.now()):
                return None
            fence = row.fence + 1
        with self.database.write() as session:
            row = lock._lock_row(session, name)
            row.fence, row.holder, row.process = fence, holder, lock.this_process().to_text()
            row.acquired_at, row.expires_at = self.database.now(), self.database.now() + timedelta(seconds=ttl_s)
            session.add(row)
        return fence

    return _put_in((LockLedger, "_acquire", acquire))


def adoption_skipped() -> AbstractContextManager[object]:
    """What a killed process left is begun anew, without asking the cycler."""

    def reconcile(bench: Any, trial: Any, *_: Any) -> Any:
        said = {"fence": trial.fence, "reason": "left by a killed process", "lab_time_h": bench.now_h}
        return bench.lab.store.withdraw_dispatch(bench.campaign.name, trial.number, **said)

    return _put_in((campaign, "reconcile_dispatch", reconcile))


def result_delivered_twice_counted_twice() -> AbstractContextManager[object]:
    """Every answer is new, whatever its cursor says."""

    def all_rows(cycler: Any, ref: Any, cursor: str | None = None) -> list[Any]:
        parts: list[Any] = []
        while (answer := cycler.read(ref, cursor))[0]:
            parts.append(answer[0])
            cursor = answer[1]
        return parts

    return _put_in((live, "all_rows", all_rows))


def amendment_ignored_by_queued_candidates() -> AbstractContextManager[object]:
    """A trial is started under the version of the spec that it was proposed under."""
    original = dispatch._checked_request

    def checked_request(bench: Any, trial: Any, cycler: Any) -> Any:
        versions = {version.version: version.spec for version in bench.lab.store.spec_versions(bench.campaign.name)}
        as_proposed = replace(bench.campaign, spec=versions[trial.spec_version])
        return original(replace(bench, campaign=as_proposed), trial, cycler)

    return _put_in((dispatch, "_checked_request", checked_request), (forbidden, "_faults", lambda *_: []))


def unfenced_writes() -> AbstractContextManager[object]:
    """A tick writes whether or not it still holds the lock."""
    return _put_in((LockLedger, "under", lambda self, *_: self))


def withdrawal_without_revoking() -> AbstractContextManager[object]:
    """An intent is given up while a stalled process may still submit it."""
    return _put_in((dispatch, "revoked", lambda *_: None), (control, "revoked", lambda *_: None))


def intent_not_confirmed() -> AbstractContextManager[object]:
    """What was intended is submitted, however long ago that was."""
    return _put_in((DispatchLedger, "confirm_intent", lambda self, name, number, fence: self.trial(name, number)))


def unknown_taken_for_not_started() -> AbstractContextManager[object]:
    """An intent at a cycler that cannot be searched is begun anew instead of put before a person."""

    def park(bench: Any, trial: Any, reason: str) -> Any:
        said = {"fence": trial.fence, "reason": reason, "lab_time_h": bench.now_h}
        return bench.lab.store.withdraw_dispatch(bench.campaign.name, trial.number, **said)

    return _put_in((dispatch, "_park", park))


def channel_leaked_by_withdrawal() -> AbstractContextManager[object]:
    """An intent given up keeps its channel."""
    original = intents._free_channel

    def free_channel(session: Any, row: Any) -> None:
        if session.exec(select(ChannelRow.id).where(col(ChannelRow.trial_id) == row.id)).first() and row.status == "dispatching":
            return
        original(session, row)

    return _put_in((intents, "_free_channel", free_channel))


def rejected_taken_for_approved() -> AbstractContextManager[object]:
    """A person's no is stored as a yes."""
    original = TrialLedger.decide

    def decide(self: Any, name: str, numbers: Any, *, approved: bool, **more: Any) -> Any:
        return original(self, name, numbers, approved=True, **more)

    return _put_in((TrialLedger, "decide", decide))


def answers_not_looked_for() -> AbstractContextManager[object]:
    """A campaign that waits goes on when it is told to, never by what it sees."""
    waiting = tuple(stage for stage in campaign.WHILE_WAITING if stage is not campaign.look_again)
    return _put_in((campaign, "WHILE_WAITING", waiting))


ASKED: tuple[Mutant, ...] = (
    no_lease_expiry,
    timeout_taken_for_failure,
    safety_checked_only_at_proposal,
    no_idempotency_key,
    channel_freed_before_the_outcome_is_stored,
    release_without_fence,
    lease_not_atomic,
    adoption_skipped,
    result_delivered_twice_counted_twice,
    amendment_ignored_by_queued_candidates,
)
FURTHER: tuple[Mutant, ...] = (
    unfenced_writes,
    withdrawal_without_revoking,
    intent_not_confirmed,
    unknown_taken_for_not_started,
    channel_leaked_by_withdrawal,
    rejected_taken_for_approved,
    answers_not_looked_for,
)
