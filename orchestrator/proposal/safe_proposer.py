"""Feasible first: nothing is proposed whose pessimistic bound passes a safe limit.

The campaign starts from candidates known to be safe, each of which may be tested twice (a replicate is safe, and tells
the spread between cells). From then on every proposal comes from the safe set, which grows with what is measured. Inside
it the noisy expected (hypervolume) improvement decides; where no safe candidate promises any, the one is tested that tells
most about where the limit lies. When the safe set is empty nothing is proposed, and a person is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import CampaignSpec, Candidate, CandidateTable, Estimate
from orchestrator.domain.errors import NoSafeCandidateError
from orchestrator.proposal.acquisition import NoisyImprovement
from orchestrator.proposal.beliefs import Beliefs, fit_beliefs, tested_points
from orchestrator.proposal.dossier import proposals_of
from orchestrator.proposal.history import History, Proposal
from orchestrator.proposal.pool import Pool, sampled_values, space_pool, table_pool
from orchestrator.proposal.safe_set import SafeSet, fit_safe_set
from orchestrator.proposal.space_encoding import SpaceEncoding
from orchestrator.proposal.table_encoding import TableEncoding

Matrix = NDArray[np.float64]

POOL_SIZE = 2048
TESTS_PER_SEED = 2
# Below this improvement, in scaled outcomes, a test is better spent on learning where the limit lies.
NO_IMPROVEMENT = 1e-3
# Distances in the cube within which a second pending test would tell the same.
_TOO_NEAR = 0.05


@dataclass(frozen=True)
class _Ground:
    """What a round of proposals stands on."""

    history: History
    beliefs: Beliefs
    safe: SafeSet
    pool: Pool


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
        first = self._seeds(n, history)
        if len(first) >= n or not history.complete:
            return first if first or history.pending else self._give_up(history)
        return first + self._informed(n - len(first), history, [p.candidate for p in first])

    def predict(self, candidates: Sequence[Candidate], history: History) -> list[dict[str, Estimate]]:
        """The belief about candidates; a metric without any estimate is left out."""
        return fit_beliefs(history, self.encoding).predict(self.encoding.encode(list(candidates)))

    def _seeds(self, n: int, history: History) -> list[Proposal]:
        """Safe seeds not tested yet; while nothing else is known to be safe, each a second time."""
        times = TESTS_PER_SEED if not history.complete else 1
        tried = [p.candidate for p in history.points]
        seeds = [seed for seed in self.spec.safe_candidates if seed not in history.failed]
        due = [seed for round_ in range(times) for seed in seeds if tried.count(seed) <= round_]
        chosen = [(seed, "a safe seed: stated by the spec to keep every safe limit") for seed in due[:n]]
        return proposals_of(chosen, "safe_seed", "safe", history)

    def _informed(self, n: int, history: History, waiting: list[Candidate]) -> list[Proposal]:
        beliefs, safe = fit_beliefs(history, self.encoding), fit_safe_set(history, self.encoding)
        pool = self._pool(history)
        pool = pool.keep(safe.holds(pool.X))
        if not len(pool.X):
            if history.pending or waiting:
                return []
            return self._give_up(history)
        ground = _Ground(history, beliefs, safe, pool)
        baseline = self.encoding.encode([*(p.candidate for p in tested_points(history)), *waiting])
        pending = self.encoding.encode([*(p.candidate for p in history.pending), *waiting])
        chosen, details = [], []
        for _ in range(min(n, len(pool.X))):
            row, why, gain = self._next(ground, baseline, pending)
            chosen.append((pool.candidate(row), why))
            details.append({"improvement": gain, "margin": float(safe.margin(pool.X[[row]])[0]), "safe_set": safe.describe(),
                            "safe_share": len(pool.X) / POOL_SIZE})  # fmt: skip
            baseline, pending = np.vstack([baseline, pool.X[[row]]]), np.vstack([pending, pool.X[[row]]])
        return proposals_of(chosen, "safe improvement", "safe", history, beliefs, details)

    def _next(self, ground: _Ground, baseline: Matrix, pending: Matrix) -> tuple[int, str, float]:
        """The row of the pool to test next, why, and the improvement it promises."""
        X, history = ground.pool.X, ground.history
        others = [c for c in history.spec.constraints if not c.safe]
        gain = NoisyImprovement(history, ground.beliefs, baseline, history.seed("safe"), others)(X)
        best = int(np.argmax(gain))
        if gain[best] >= NO_IMPROVEMENT:
            return best, "promises the largest improvement among candidates that are safe with confidence", float(gain[best])
        information = ground.safe.information(X)
        if len(pending):
            near = ((X[:, None] - pending[None]) ** 2).sum(axis=2).min(axis=1) < _TOO_NEAR**2
            information = np.where(near, 0.0, information)
        why = "no safe candidate promises an improvement: this one tells most about where the limit lies"
        return int(np.argmax(information)), why, float(gain[best])

    def _pool(self, history: History) -> Pool:
        barred = sorted(history.failed, key=lambda c: c.describe())
        if isinstance(self.encoding, TableEncoding):
            return table_pool(self.encoding, barred)
        anchors = [p.candidate for p in tested_points(history)] + list(self.spec.safe_candidates)
        distinct = list(dict.fromkeys(anchors))
        return space_pool(self.encoding, sampled_values(self.encoding, POOL_SIZE, history.seed("pool"), distinct), barred)

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
