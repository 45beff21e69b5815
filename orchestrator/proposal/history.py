"""What a proposer is told and what it answers: one frozen history in, proposals out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from orchestrator.domain import CampaignSpec, Candidate, CandidateTable, Estimate, Trial, TrialStatus
from orchestrator.domain.trial import DEVICE, EMERGENCY_STOP, SOLVER, WITHDRAWN
from orchestrator.learning.seeding import derive_seed

UNSOLVED_UNTIL_BARRED = 2
_FRUITLESS = (TrialStatus.FAILED, TrialStatus.ABORTED, TrialStatus.CANCELLED)


@dataclass(frozen=True)
class Point:
    """A candidate that was proposed: what is known of it, and whether more will come.

    Attributes:
        candidate: with derived parameters computed; a table's row by its id.
        outcome: the latest estimate by metric, as far as it goes: a running, stopped or failed test may have some.
        pending: whether the test has not ended.
        failed: whether it ended without a result that it should have had.
        number: the trial's number; None for a pending candidate that is no trial yet.
        cause: what kind of thing ended it, where the cycler could tell.
        ended_h: lab time at which it ended, hours, where it is known.
    """

    candidate: Candidate
    outcome: Mapping[str, Estimate] = field(default_factory=dict)
    pending: bool = False
    failed: bool = False
    number: int | None = None
    cause: str | None = None
    ended_h: float | None = None

    def awaits(self, metrics: Iterable[str]) -> bool:
        """Whether the test runs and some of the metrics have no estimate yet."""
        return self.pending and any(m not in self.outcome for m in metrics)


@dataclass(frozen=True)
class History:
    """Everything a proposal rests on, read once.

    Attributes:
        spec: the campaign.
        points: every trial by number, cancelled ones as failed; then candidates pending outside the campaign.
        reference_point: of the hypervolume, by metric; None while it is not fixed.
    """

    spec: CampaignSpec
    points: tuple[Point, ...] = ()
    reference_point: Mapping[str, float] | None = None

    def observed(self, metric: str) -> list[Point]:
        """The points with an estimate of a metric."""
        return [p for p in self.points if metric in p.outcome]

    def settled(self, metric: str) -> list[int]:
        """Which of the `observed` estimates of a metric came first, cut to steps of a tenth of their number.

        While tests end one after the other these stay the same from tick to tick, and so does what was learned from them; none
        where there are too few for that.
        """
        ends = [(math.inf if p.pending else p.ended_h or 0.0, i) for i, p in enumerate(self.observed(metric))]
        return sorted(i for _, i in sorted(ends)[: _step_below(len(ends))])

    @cached_property
    def pending(self) -> tuple[Point, ...]:
        """The points whose tests will still tell something about an objective or a constraint."""
        return tuple(p for p in self.points if p.awaits(self.spec.metrics))

    @cached_property
    def failed(self) -> frozenset[Candidate]:
        """Candidates that failed and never gave a result: they are not proposed again.

        A fault of the device or an emergency stop says nothing of the candidate, a solver's failure only when it comes again; one
        that was withdrawn before it began may be safe later.
        """
        fruitful = {p.candidate for p in self.points if not p.failed and p.outcome}
        unsolved = Counter(p.candidate for p in self.points if p.failed and p.cause == SOLVER)
        excused = (DEVICE, SOLVER, WITHDRAWN, EMERGENCY_STOP)
        barred = {p.candidate for p in self.points if p.failed and p.cause not in excused}
        return frozenset(barred | {c for c, times in unsolved.items() if times >= UNSOLVED_UNTIL_BARRED}) - fruitful

    @property
    def complete(self) -> bool:
        """Whether every metric has at least one estimate, so that there is something to learn from."""
        return all(any(m in p.outcome for p in self.points) for m in self.spec.metrics)

    def seed(self, purpose: str) -> int:
        """A seed that moves on with every point and every new estimate."""
        estimates = sum(len(p.outcome) for p in self.points)
        return derive_seed(self.spec.seed, purpose, len(self.points), estimates)

    def basis(self) -> dict[str, Any]:
        """What was known, for the record: numbers of trials such as "1-12, 14", by what they gave; ranges stay short."""
        metrics = self.spec.metrics
        numbered = [p for p in self.points if p.number is not None]
        return {
            "observed": {m: _ranges(p.number for p in numbered if m in p.outcome) for m in metrics},
            "pending": _ranges(p.number for p in numbered if p.awaits(metrics)),
            "failed": _ranges(p.number for p in numbered if p.failed),
        }


@dataclass(frozen=True)
class Proposal:
    """A candidate to test next, and why.

    Attributes:
        candidate: inside the space or table, derived parameters computed.
        origin: which generator made it (`safe_seed`, `Sobol`, `BoTorch` ...).
        expected: the surrogate's belief by metric; empty while nothing is known.
        why: one sentence for a person.
        decision: what was known and how it was weighed, as JSON-ready data.
    """

    candidate: Candidate
    origin: str
    expected: dict[str, Estimate]
    why: str
    decision: dict[str, Any]


class Proposer(Protocol):
    """Anything that turns a history into proposals."""

    def propose(self, n: int, history: History) -> list[Proposal]:
        """At most `n` candidates to test next; fewer where waiting is the sound answer."""
        ...

    def predict(self, candidates: Sequence[Candidate], history: History) -> list[dict[str, Estimate]]:
        """The belief about each candidate by metric; a metric that was never observed is left out."""
        ...


def read_history(
    spec: CampaignSpec,
    trials: Sequence[Trial],
    pending: Sequence[Candidate] = (),
    reference_point: Mapping[str, float] | None = None,
) -> History:
    """The history of a campaign's trials.

    A candidate in `pending` that is already an unfinished trial is counted once. A trial of an earlier version of the
    spec whose candidate the present space cannot place (another set of parameters, a row taken out) teaches nothing.
    """
    known = [t for t in trials if _placed(t.candidate, spec)]
    points = [_point(trial) for trial in known]
    running = [p.candidate for p in points if p.pending]
    for candidate in pending:
        completed = spec.space.complete(candidate)
        if completed in running:
            running.remove(completed)
        else:
            points.append(Point(completed, pending=True))
    return History(spec, tuple(points), reference_point)


_SETTLED_FROM = 64


def _step_below(count: int) -> int:
    step = 0
    following = _SETTLED_FROM
    while following <= count:
        step, following = following, following + following // 10
    return step


def _ranges(numbers: Iterable[int | None]) -> str:
    """Numbers in order, runs drawn together."""
    runs: list[list[int]] = []
    for number in sorted(n for n in numbers if n is not None):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _placed(candidate: Candidate, spec: CampaignSpec) -> bool:
    if isinstance(spec.space, CandidateTable):
        return spec.space.row_of(candidate) is not None
    return spec.space.places(candidate)


def _point(trial: Trial) -> Point:
    failed = trial.status in _FRUITLESS
    return Point(trial.candidate, trial.outcome, not trial.status.ended, failed, trial.number, trial.cause, trial.ended_h)
