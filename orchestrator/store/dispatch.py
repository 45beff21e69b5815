"""Dispatch, exactly once: who holds a channel, under which key and fence, and how it is given back.

The order is that of DESIGN.md. `begin_dispatch` writes the intent: from then on the channel belongs to the trial's
attempt, and every later word about it must carry the fence number that was raised then. `acknowledge` notes the run,
`finish` stores outcome, state and the channel's release together. Nothing here talks to a cycler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import case
from sqlmodel import Session, col, func, insert, select, update

from orchestrator.domain.errors import IllegalMoveError, StoreError
from orchestrator.domain.objectives import Estimate
from orchestrator.domain.trial import Trial, TrialStatus, check_move, trial_key
from orchestrator.store.ledger import Ledger, campaign_row, plain_trial, row_id, trial_row
from orchestrator.store.plain import RecordingFile, StaleFenceError
from orchestrator.store.tables import AttemptRow, ChannelRow, CycleSummaryRow, RecordingRow, TrialRow
from orchestrator.store.trials import add_outcome_rows, plain_outcome

_S = TrialStatus


class DispatchLedger(Ledger):
    """The part of the store that hands out channels and takes in results."""

    def begin_dispatch(self, name: str, number: int, *, cycler: str, channel: str, lab_time_h: float) -> Trial | None:
        """Write the intent to run an approved trial on a channel.

        One transaction: the trial is `dispatching` with its next attempt's key, the channel is held by it, the
        channel's fence is raised.

        Returns:
            The trial with `key`, `fence`, `cycler` and `channel`; None if the channel is not free any more, and then
            nothing was changed.

        Raises:
            IllegalMoveError: if the trial is not approved.
        """
        with self.database.write() as session:
            campaign = campaign_row(session, name)
            row = trial_row(session, campaign, number)
            check_move(number, TrialStatus(row.status), _S.DISPATCHING)
            fence = _take_channel(session, row, cycler, channel)
            if fence is None:
                return None
            row.status, row.attempt = _S.DISPATCHING.value, row.attempt + 1
            row.key = trial_key(name, number, row.attempt)
            row.cycler, row.channel, row.fence = cycler, channel, fence
            row.run_ref = row.stopped_because = row.flag = None
            session.add_all((row, self._new_attempt(row, lab_time_h)))
            said = {"key": row.key, "cycler": cycler, "channel": channel, "fence": fence}
            self._event(session, "trial_dispatching", campaign=campaign, trial=number, lab_time_h=lab_time_h, data=said)
            return plain_trial(session, campaign, row)

    def _new_attempt(self, row: TrialRow, lab_time_h: float) -> AttemptRow:
        return AttemptRow(
            trial_id=row_id(row),
            attempt=row.attempt,
            key=row.key or "",
            cycler=row.cycler or "",
            channel=row.channel or "",
            fence=row.fence or 0,
            state="open",
            begun_at=self.database.now(),
            begun_h=float(lab_time_h),
        )

    def confirm_intent(self, name: str, number: int, *, fence: int) -> Trial:
        """Make sure, right before the cycler is asked to start it, that the intent is still the one that counts, and note it.

        Under a campaign's lock (`under`) the lock is verified and renewed in the same transaction.

        Returns:
            The trial as it stands now: a stop may have been asked for since.

        Raises:
            StaleFenceError: if the intent was given up, or another attempt has begun since.
        """
        with self.database.write() as session:
            campaign = campaign_row(session, name)
            row = trial_row(session, campaign, number)
            _check_fence(row, fence)
            if row.status != _S.DISPATCHING:
                raise StaleFenceError(f"trial {number} is {row.status}; its intent under fence {fence} was given up.")
            attempt = _attempt(session, row)
            attempt.confirmed = True
            session.add(attempt)
            return plain_trial(session, campaign, row)

    def was_confirmed(self, key: str) -> bool:
        """Whether the intent under a key was ever confirmed; if not, nobody of this lab can have submitted it."""
        with self.database.read() as session:
            return bool(session.exec(select(AttemptRow.confirmed).where(AttemptRow.key == key)).first())

    def acknowledge(self, name: str, number: int, *, run_ref: str, started_h: float, fence: int, adopted: bool = False) -> Trial:
        """Note that the cycler runs it: `dispatching` or `unknown` becomes `running`. Saying so twice is harmless.

        `adopted` says, for the log, that it was found running and not started now.

        Raises:
            StaleFenceError: if another attempt has begun since.
            IllegalMoveError: if the trial is neither dispatching nor unknown.
        """
        with self.database.write() as session:
            campaign = campaign_row(session, name)
            row = trial_row(session, campaign, number)
            _check_fence(row, fence)
            if row.status == _S.RUNNING and row.run_ref == run_ref:
                return plain_trial(session, campaign, row)
            check_move(number, TrialStatus(row.status), _S.RUNNING)
            row.status, row.run_ref, row.started_h, row.stopped_because = _S.RUNNING.value, run_ref, float(started_h), None
            attempt = _attempt(session, row)
            attempt.state, attempt.run_ref, attempt.started_h = "running", run_ref, float(started_h)
            session.add_all((row, attempt))
            said = {"key": row.key, "run_ref": run_ref, "fence": fence, "adopted": adopted}
            self._event(session, "trial_running", campaign=campaign, trial=number, lab_time_h=started_h, data=said)
            return plain_trial(session, campaign, row)

    def withdraw_dispatch(self, name: str, number: int, *, fence: int, reason: str, lab_time_h: float) -> Trial:
        """Nothing was started: the trial is `approved` again, its channel free, the attempt closed and its key spent.

        Raises:
            StaleFenceError: if another attempt has begun since.
            IllegalMoveError: if the trial is neither dispatching nor unknown.
        """
        with self.database.write() as session:
            campaign = campaign_row(session, name)
            row = trial_row(session, campaign, number)
            _check_fence(row, fence)
            check_move(number, TrialStatus(row.status), _S.APPROVED)
            _free_channel(session, row)
            _close_attempt(session, row, "withdrawn", reason, lab_time_h)
            said = {"key": row.key, "cycler": row.cycler, "channel": row.channel, "fence": fence, "reason": reason}
            row.status = _S.APPROVED.value
            row.key = row.cycler = row.channel = row.run_ref = row.fence = row.stopped_because = row.started_h = None
            session.add(row)
            self._event(session, "dispatch_withdrawn", campaign=campaign, trial=number, lab_time_h=lab_time_h, data=said)
            return plain_trial(session, campaign, row)

    def park_unknown(self, name: str, number: int, *, reason: str, lab_time_h: float) -> Trial:
        """Whether it runs cannot be told: the trial is `unknown` and keeps its channel until a person has looked."""
        with self.database.write() as session:
            campaign = campaign_row(session, name)
            row = trial_row(session, campaign, number)
            if row.status == _S.UNKNOWN:
                return plain_trial(session, campaign, row)
            check_move(number, TrialStatus(row.status), _S.UNKNOWN)
            row.status, row.stopped_because = _S.UNKNOWN.value, reason
            attempt = _attempt(session, row)
            attempt.state, attempt.reason = "unknown", reason
            session.add_all((row, attempt))
            said = {"key": row.key, "reason": reason}
            self._event(session, "trial_unknown", campaign=campaign, trial=number, lab_time_h=lab_time_h, data=said)
            return plain_trial(session, campaign, row)

    def finish(
        self,
        name: str,
        number: int,
        *,
        status: TrialStatus,
        outcome: Mapping[str, Estimate],
        stopped_because: str | None,
        ended_h: float,
        fence: int,
        recording: RecordingFile | None = None,
        summaries: Sequence[Mapping[str, Any]] = (),
        limits_violated: bool = False,
        cause: str | None = None,
        started_h: float | None = None,
    ) -> Trial:
        """Take in a result: outcome, state, recording, summaries and the channel's release, all or nothing.

        `status` is the state it ended in, `ended_h` the lab time of that; `summaries` holds one mapping per recorded
        cycle; `limits_violated` says that its true value passed a safe limit, `cause` what kind of thing ended it early;
        `started_h` is the lab time of its start, where the cycler tells: it may have been silent, or a person's word taken,
        when the start was noted. A result delivered again changes nothing: the trial is returned as stored.

        Raises:
            StaleFenceError: if another attempt has begun since.
            IllegalMoveError: if the trial cannot end so from where it is.
        """
        with self.database.write() as session:
            campaign = campaign_row(session, name)
            row = trial_row(session, campaign, number)
            if TrialStatus(row.status).ended:
                return plain_trial(session, campaign, row)
            _check_fence(row, fence)
            _check_end(number, TrialStatus(row.status), status)
            add_outcome_rows(session, row_id(row), outcome, None, ended_h)
            self._add_recording(session, row, recording)
            _add_summaries(session, row, summaries)
            if started_h is not None:
                row.started_h = _attempt(session, row).started_h = float(started_h)
            _close_attempt(session, row, "ended", stopped_because, ended_h)
            row.status, row.ended_h, row.stopped_because = status.value, float(ended_h), stopped_because
            row.limits_violated, row.cause = bool(limits_violated), cause
            session.add(row)
            _free_channel(session, row)
            said = {"key": row.key, "stopped_because": stopped_because, "outcome": plain_outcome(outcome)}
            self._event(session, f"trial_{status.value}", campaign=campaign, trial=number, lab_time_h=ended_h, data=said)
            return plain_trial(session, campaign, row)

    def _add_recording(self, session: Session, row: TrialRow, recording: RecordingFile | None) -> None:
        if recording is not None:
            session.add(
                RecordingRow(
                    trial_id=row_id(row),
                    attempt=row.attempt,
                    uri=recording.uri,
                    sha256=recording.sha256,
                    rows=recording.rows,
                    schema_version=recording.schema_version,
                    created_at=self.database.now(),
                )
            )


def _take_channel(session: Session, row: TrialRow, cycler: str, channel: str) -> int | None:
    """Hold a free channel for a trial and raise its fence, in one statement; None if it was not free."""
    here = (col(ChannelRow.cycler) == cycler, col(ChannelRow.name) == channel)
    # A channel that another campaign is taking at this moment is not waited for.
    if session.exec(select(ChannelRow.id).where(*here).with_for_update(skip_locked=True, key_share=True)).first() is None:
        return None
    # Higher than the channel's last and the trial's last: no two attempts at a trial have the same, wherever they were made.
    last = session.exec(select(func.coalesce(func.max(AttemptRow.fence), 0)).where(AttemptRow.trial_id == row.id)).one()
    fence = case((col(ChannelRow.fence) > last, col(ChannelRow.fence)), else_=last) + 1
    taken = update(ChannelRow).where(*here, col(ChannelRow.state) == "free", col(ChannelRow.trial_id).is_(None))
    if session.exec(taken.values(state="held", trial_id=row.id, fence=fence)).rowcount != 1:
        return None
    return session.exec(select(ChannelRow.fence).where(*here)).one()


def _free_channel(session: Session, row: TrialRow) -> None:
    """Give back the channel held under the trial's fence; a quarantined one stays so."""
    held = update(ChannelRow).where(col(ChannelRow.trial_id) == row.id, col(ChannelRow.fence) == row.fence)
    state = case((col(ChannelRow.state) == "quarantined", "quarantined"), else_="free")
    if session.exec(held.values(trial_id=None, state=state)).rowcount != 1:
        raise StoreError(
            f"channel {row.channel} of {row.cycler} is not held by trial {row.number} under fence {row.fence}. "
            "Look with `voltloop channels list`; nothing was changed."
        )


def _check_fence(row: TrialRow, fence: int) -> None:
    if row.fence != fence:
        raise StaleFenceError(
            f"trial {row.number} is {row.status} under fence {row.fence}; what came for fence {fence} is out of date "
            "and was not stored."
        )


def _check_end(number: int, before: TrialStatus, status: TrialStatus) -> None:
    if not status.ended:
        raise IllegalMoveError(f"trial {number} cannot finish as {status}: that is not an end.")
    if not before.holds_channel:
        raise IllegalMoveError(f"trial {number} is {before} and has no run to finish.")
    check_move(number, before, status)


def _attempt(session: Session, row: TrialRow) -> AttemptRow:
    return session.exec(select(AttemptRow).where(AttemptRow.trial_id == row.id, AttemptRow.attempt == row.attempt)).one()


def _close_attempt(session: Session, row: TrialRow, state: str, reason: str | None, lab_time_h: float) -> None:
    attempt = _attempt(session, row)
    attempt.state, attempt.reason, attempt.closed_h = state, reason, float(lab_time_h)
    session.add(attempt)


def _add_summaries(session: Session, row: TrialRow, summaries: Sequence[Mapping[str, Any]]) -> None:
    """In one statement: a long test has thousands of cycles, and objects for each would take a second."""
    if summaries:
        rows = [{"trial_id": row_id(row), "position": n, "data": dict(summary)} for n, summary in enumerate(summaries)]
        session.connection().execute(insert(CycleSummaryRow), rows)
