"""Feasible first: nothing is proposed whose pessimistic bound passes a safe limit.

The campaign starts from candidates known to be safe, each of which may be tested twice (a replicate is safe, and tells
the spread between cells). From then on every proposal comes from the safe set, which grows with what is measured. Inside
it the test is chosen that brings most: its own noisy expected (hypervolume) improvement, and what it opens beyond the safe set
(`safe_expansion`). Where no safe candidate promises any, the one is tested that tells most about where the limit lies. Pending
tests shrink no bound: their readings are not known. When the safe set is empty nothing is proposed, and a person is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import CampaignSpec, Candidate, CandidateTable, Estimate
from orchestrator.domain.errors import NoSafeCandidateError
from orchestrator.domain.trial import SAFE_IMPROVEMENT, SAFE_SEED
from orchestrator.proposal.acquisition import NoisyImprovement, feasibility, goals_of
from orchestrator.proposal.beliefs import Beliefs, fit_beliefs, tested_points
from orchestrator.proposal.dossier import proposals_of
from orchestrator.proposal.history import History, Proposal
from orchestrator.proposal.pool import Pool, sampled_values, space_pool, table_pool
from orchestrator.proposal.safe_expansion import openings
from orchestrator.proposal.safe_set import SafeSet, fit_safe_set
from orchestrator.proposal.second_look import standing_seeds
from orchestrator.proposal.space_encoding import SpaceEncoding
from orchestrator.proposal.table_encoding import TableEncoding

Matrix = NDArray[np.float64]

POOL_SIZE = 2048
# Points around which the sample of a space is dense: of more than this, the safe seeds, the best and those nearest to a limit.
ANCHORS = 48
TESTS_PER_SEED = 2
# Below this improvement, in scaled outcomes, a test is better spent on learning where the limit lies.
NO_IMPROVEMENT = 1e-3
# What a test opens stays open for the rest of the campaign, an improvement is had once.
OPENING_WEIGHT = 2.0
# Distances in the cube within which a second pending test would tell the same.
_TOO_NEAR = 0.05
_IMPROVING = "promises the largest improvement among candidates that are safe with confidence"
_OPENING = "is safe with confidence and tells most about whether a more promising candidate is:"
_INFORMATIVE = "no safe candidate promises an improvement: this one tells most about where the limit lies"


@dataclass(frozen=True)
class _Ground:
    """What a round of proposals stands on.

    Attributes:
        inside, beyond: candidates in the safe set and outside it.
        chance: by candidate beyond, the probability that it keeps the safe limits, by the neutral belief.
    """

    safe: SafeSet
    inside: Pool
    beyond: Pool
    chance: Matrix


@dataclass(frozen=True)
class _Choice:
    """A safe candidate to test, why, and the figures that decided."""

    row: int
    why: str
    figures: dict[str, object]


class SafeProposer:
    """Proposes inside the safe set of a space or a table."""

    def __init__(self, spec: CampaignSpec) -> None:
        self.spec = spec
        table = isinstance(spec.space, CandidateTable)
        self.encoding: SpaceEncoding | TableEncoding = TableEncoding(spec.space) if table else SpaceEncoding(spec.space)  # type: ignore[arg-type]

    def propose(self, n: int, history: History) -> list[Proposal]:
        """At most n candidates to test next; fewer while only the safe seeds are known to be safe.

        Raises:
            NoSafeCandidateError: if nothing is safe with confidence.
        """
        first = self._seeds(n, history, 1 if history.complete else TESTS_PER_SEED)
        if len(first) >= n or not history.complete:
            return first if first or history.pending else self._give_up(history)
        return first + self._informed(n - len(first), history, [p.candidate for p in first])

    def predict(self, candidates: Sequence[Candidate], history: History) -> list[dict[str, Estimate]]:
        """The belief about candidates; a metric without any estimate is left out."""
        return fit_beliefs(history, self.encoding).predict(self.encoding.encode(list(candidates)))

    def _seeds(self, n: int, history: History, times: int) -> list[Proposal]:
        """Safe seeds that were not tested so many times yet."""
        tried = [p.candidate for p in history.points]
        due = [seed for round_ in range(times) for seed in standing_seeds(history) if tried.count(seed) <= round_]
        chosen = [(seed, "a safe seed: stated by the spec to keep every safe limit") for seed in due[:n]]
        return proposals_of(chosen, SAFE_SEED, "safe", history)

    def _informed(self, n: int, history: History, waiting: list[Candidate]) -> list[Proposal]:
        beliefs, safe = fit_beliefs(history, self.encoding), fit_safe_set(history, self.encoding)
        ground = self._ground(history, beliefs, safe)
        inside = ground.inside
        if not len(inside.X):
            # Nothing else is known to be safe: a seed's replicate is, and tells more.
            again = [] if waiting else self._seeds(n, history, TESTS_PER_SEED)
            return again if again or history.pending or waiting else self._give_up(history)
        baseline = self.encoding.encode([*(p.candidate for p in tested_points(history)), *waiting])
        pending = self.encoding.encode([*(p.candidate for p in history.pending), *waiting])
        others = [c for c in history.spec.constraints if not c.safe]
        improvement = NoisyImprovement(history, beliefs, baseline, history.seed("safe"), others)
        share = len(inside.X) / (len(inside.X) + len(ground.beyond.X))
        chosen, details = [], []
        for _ in range(min(n, len(inside.X))):
            choice = self._next(ground, improvement, pending)
            x = inside.X[[choice.row]]
            chosen.append((inside.candidate(choice.row), choice.why))
            details.append({**choice.figures, "margin": float(safe.margin(x)[0]), "safety": safe.believed(x),
                            "safe_set": safe.describe(), "safe_share": share})  # fmt: skip
            improvement, pending = improvement.joined_by(x), np.vstack([pending, x])
        return proposals_of(chosen, SAFE_IMPROVEMENT, "safe", history, beliefs, details)

    def _ground(self, history: History, beliefs: Beliefs, safe: SafeSet) -> _Ground:
        pool = self._pool(history, beliefs, safe)
        holds = safe.holds(pool.X)
        beyond = pool.keep(~holds)
        return _Ground(safe, pool.keep(holds), beyond, feasibility(beliefs, history.spec.safe_constraints, beyond.X))

    def _next(self, ground: _Ground, improvement: NoisyImprovement, pending: Matrix) -> _Choice:
        """The safe candidate whose test brings most: by itself, and by what it opens."""
        X = ground.inside.X
        gain = improvement(X)
        extra = improvement(ground.beyond.X) * ground.chance - gain.max()
        opening = openings(ground.safe, X, ground.beyond.X, extra, pending)
        opened = np.zeros(len(X)) if opening is None else OPENING_WEIGHT * opening.worth
        row = int(np.argmax(gain + opened))
        figures: dict[str, object] = {"improvement": float(gain[row]), "opens": float(opened[row])}
        if gain[row] + opened[row] < NO_IMPROVEMENT:
            return _Choice(self._informative(ground, pending), _INFORMATIVE, figures)
        if opening is None or gain[row] >= opened[row]:
            return _Choice(row, _IMPROVING, figures)
        goal = ground.beyond.candidate(int(opening.goal[row])).describe(self.spec.space.units)
        return _Choice(row, f"{_OPENING} {goal}", {**figures, "share_of_the_way": float(opening.share[row])})

    def _informative(self, ground: _Ground, pending: Matrix) -> int:
        """The row whose test tells most about where the limits lie, away from what is pending."""
        X = ground.inside.X
        information = ground.safe.information(X)
        if len(pending):
            near = ((X[:, None] - pending[None]) ** 2).sum(axis=2).min(axis=1) < _TOO_NEAR**2
            information = np.where(near, 0.0, information)
        return int(np.argmax(information))

    def _pool(self, history: History, beliefs: Beliefs, safe: SafeSet) -> Pool:
        barred = sorted(history.failed, key=lambda c: c.describe())
        if isinstance(self.encoding, TableEncoding):
            return table_pool(self.encoding, barred)
        anchors = self._anchors(history, beliefs, safe)
        return space_pool(self.encoding, sampled_values(self.encoding, POOL_SIZE, history.seed("pool"), anchors), barred)

    def _anchors(self, history: History, beliefs: Beliefs, safe: SafeSet) -> list[Candidate]:
        """Tested candidates and safe seeds; of too many, the seeds and by turns the best safe and the nearest to a limit."""
        seeds = list(self.spec.safe_candidates)
        distinct = list(dict.fromkeys([*(p.candidate for p in tested_points(history)), *seeds]))
        if len(distinct) <= ANCHORS:
            return distinct
        X = self.encoding.encode(distinct)
        margin = safe.margin(X)
        heights = np.column_stack([goal.mean(X) for goal in goals_of(history, beliefs, X)])
        better = np.array([(heights[margin >= 0] > height).all(axis=1).sum() for height in heights])
        best = np.lexsort((better, margin < 0))
        nearest = np.lexsort((np.abs(margin), margin < 0))
        by_turns = [distinct[int(i)] for pair in zip(best, nearest, strict=True) for i in pair]
        kept = set(list(dict.fromkeys([*seeds, *by_turns]))[: max(ANCHORS, len(seeds))])
        return [candidate for candidate in distinct if candidate in kept]

    def _give_up(self, history: History) -> list[Proposal]:
        missing = [m for m in self.spec.metrics if not history.observed(m)]
        if missing and history.points:
            raise NoSafeCandidateError(
                f"no test has given {', '.join(missing)} yet, after {len(history.points)} trials. "
                "See why in the trials' list; raise experiment.max_cycles, or tell results."
            )
        limits = "; ".join(c.describe() for c in self.spec.safe_constraints)
        raise NoSafeCandidateError(
            f"no candidate keeps {limits} with confidence, after {len(history.points)} trials. "
            "Add safe seeds, widen the limit, or end the campaign."
        )
