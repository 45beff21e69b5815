"""A candidate with a fate: its states, and which moves between them are legal."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.domain.candidate import Candidate
from orchestrator.domain.errors import IllegalMoveError
from orchestrator.domain.objectives import Estimate


class TrialStatus(StrEnum):
    """Where a trial stands."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    DISPATCHING = "dispatching"
    RUNNING = "running"
    COMPLETED = "completed"
    EARLY_STOPPED = "early_stopped"
    FAILED = "failed"
    ABORTED = "aborted"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        """Whether nothing can change any more."""
        return not LEGAL_MOVES[self]

    @property
    def holds_channel(self) -> bool:
        """Whether a channel is held by a trial in this state."""
        return self in (TrialStatus.DISPATCHING, TrialStatus.RUNNING, TrialStatus.UNKNOWN)


_S = TrialStatus
LEGAL_MOVES: dict[TrialStatus, frozenset[TrialStatus]] = {
    _S.PROPOSED: frozenset({_S.APPROVED, _S.CANCELLED}),
    _S.APPROVED: frozenset({_S.DISPATCHING, _S.CANCELLED}),
    _S.DISPATCHING: frozenset({_S.RUNNING, _S.APPROVED, _S.FAILED, _S.ABORTED, _S.CANCELLED, _S.UNKNOWN}),
    _S.RUNNING: frozenset({_S.COMPLETED, _S.EARLY_STOPPED, _S.FAILED, _S.ABORTED, _S.UNKNOWN}),
    _S.UNKNOWN: frozenset({_S.APPROVED, _S.RUNNING, _S.FAILED, _S.ABORTED, _S.CANCELLED}),
    _S.COMPLETED: frozenset(),
    _S.EARLY_STOPPED: frozenset(),
    _S.FAILED: frozenset(),
    _S.ABORTED: frozenset(),
    _S.CANCELLED: frozenset(),
}


def check_move(number: int, before: TrialStatus, after: TrialStatus) -> None:
    """Refuse an illegal move.

    Raises:
        IllegalMoveError: naming the trial, both states and what would be legal.
    """
    if after not in LEGAL_MOVES[before]:
        legal = ", ".join(sorted(LEGAL_MOVES[before])) or "nothing: it has ended"
        raise IllegalMoveError(f"trial {number} is {before} and cannot become {after}; from {before} it can become {legal}.")


@dataclass(frozen=True)
class Trial:
    """A trial as it stands in the store.

    Attributes:
        number: from 1, in the order proposed.
        outcome: the latest estimate by metric; a measured one has superseded a predicted one.
        origin: which generator proposed it (`safe_seed`, `sobol`, `BoTorch` ...), for the report.
        attempt: how often dispatch was begun; the key of attempt n is never used again.
        key: the idempotency key of the current attempt.
        run_ref: the cycler's own reference, once acknowledged.
        stop_requested: why a person, a budget or an interlock wants it stopped.
        stopped_because: why it did not run to its planned end.
        started_h, ended_h: lab time, hours since the lab's epoch.
        cause: what kind of thing ended it early, where the cycler could tell (see `RunStatus.cause`).
        decided_by: the person who approved or rejected it; None if nobody was asked.
        flag: why it would not be started today, although it runs: an amended spec forbids it.
    """

    number: int
    candidate: Candidate
    status: TrialStatus
    spec_version: int = 1
    origin: str = ""
    outcome: dict[str, Estimate] = field(default_factory=dict)
    attempt: int = 0
    key: str | None = None
    cycler: str | None = None
    channel: str | None = None
    run_ref: str | None = None
    fence: int | None = None
    stop_requested: str | None = None
    stopped_because: str | None = None
    started_h: float | None = None
    ended_h: float | None = None
    cause: str | None = None
    decided_by: str | None = None
    flag: str | None = None

    @property
    def measured(self) -> dict[str, Estimate]:
        """The measured estimates alone."""
        return {name: e for name, e in self.outcome.items() if e.source == "measured"}


# Causes that decisions rest on; `WITHDRAWN` is a trial that never started, since it was no longer safe with confidence,
# `REJECTED` one that a person did not want.
DEVICE, SOLVER, WITHDRAWN, REJECTED = "device", "solver", "withdrawn", "rejected"
# Ended by an emergency stop: no fault of the candidate, and no cost to it.
EMERGENCY_STOP = "emergency_stop"
# Origins of trials that the safe proposer chose: they are started only while they are still safe with confidence.
SAFE_IMPROVEMENT, SAFE_SEED = "safe improvement", "safe_seed"


def trial_key(campaign: str, number: int, attempt: int) -> str:
    """The idempotency key of one attempt at one trial."""
    return f"{campaign}/{number}/{attempt}"
