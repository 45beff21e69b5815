"""Strategy `expected_improvement`: the textbook rule, visible and exact, for one objective.

After an even first design the candidate with the largest analytic LogEI is tested next; LogEI orders candidates as EI does
and stays finite where EI underflows. With noise the incumbent is the best posterior mean, not the luckiest measurement.
Within a batch each choice is followed by the belief that it came out as expected (kriging believer, Ginsbourger 2010).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.domain import CampaignSpec, Candidate, CandidateTable, Estimate, Fault, SpecError
from orchestrator.domain.errors import NeedsPersonError
from orchestrator.proposal.acquisition import feasibility
from orchestrator.proposal.beliefs import fit_beliefs, tested_points
from orchestrator.proposal.dossier import proposals_of
from orchestrator.proposal.expected_improvement import log_expected_improvement
from orchestrator.proposal.history import History, Proposal
from orchestrator.proposal.pool import Pool, sampled_values, space_pool, spread_rows, table_pool
from orchestrator.proposal.sobol import first_design
from orchestrator.proposal.space_encoding import SpaceEncoding
from orchestrator.proposal.surrogate import Surrogate
from orchestrator.proposal.table_encoding import TableEncoding

Matrix = NDArray[np.float64]

POOL_SIZE = 2048
SMALLEST_DESIGN = 5
_LEAST_CHANCE = 1e-12


class ImprovementProposer:
    """Maximises the analytic expected improvement over a dense sample of the space, or over a table's rows."""

    def __init__(self, spec: CampaignSpec) -> None:
        if len(spec.objectives) != 1:
            problem = f"'expected_improvement' takes one objective (this spec has {len(spec.objectives)})."
            raise SpecError(Fault("strategy", problem, "Use strategy = 'auto'."))
        self.spec = spec
        table = isinstance(spec.space, CandidateTable)
        self.encoding: SpaceEncoding | TableEncoding = TableEncoding(spec.space) if table else SpaceEncoding(spec.space)  # type: ignore[arg-type]

    def propose(self, n: int, history: History) -> list[Proposal]:
        """The n candidates to test next."""
        missing = max(SMALLEST_DESIGN, self.encoding.dimension + 1) - len(history.points)
        first = (
            self._design(n if not history.complete else min(n, missing), history) if missing > 0 or not history.complete else []
        )
        rest = n - len(first)
        return [*first, *(self._informed(rest, history, [p.candidate for p in first]) if rest else [])]

    def predict(self, candidates: Sequence[Candidate], history: History) -> list[dict[str, Estimate]]:
        """The belief about candidates; a metric without any estimate is left out."""
        return fit_beliefs(history, self.encoding).predict(self.encoding.encode(list(candidates)))

    def _design(self, n: int, history: History) -> list[Proposal]:
        if isinstance(self.encoding, TableEncoding):
            taken = self.encoding.rows([p.candidate for p in history.points])
            rows = spread_rows(self.encoding.X, n, history.seed("design"), list(dict.fromkeys(taken)))
            found = [self.encoding.table.candidate(row) for row in rows]
        else:
            found = first_design(self.encoding.space, n, history)
        return proposals_of([(c, "first design: spread evenly") for c in found], "Sobol", "expected_improvement", history)

    def _informed(self, n: int, history: History, waiting: list[Candidate]) -> list[Proposal]:
        beliefs, pool = fit_beliefs(history, self.encoding), self._pool(history)
        if not len(pool.X):
            raise NeedsPersonError("no candidate is left to propose: each has failed. Widen the space, or end the campaign.")
        goal = self.spec.objectives[0]
        surrogate = beliefs.surrogates[goal.metric]
        chance = feasibility(beliefs, history.spec.constraints, pool.X)
        tried = self.encoding.encode([*(p.candidate for p in tested_points(history)), *waiting])
        open_X = self.encoding.encode([*(p.candidate for p in history.pending), *waiting])
        log_chance = np.log(np.maximum(chance, _LEAST_CHANCE))
        values = self._sequence(n, surrogate, goal.sign, pool.X, log_chance, tried, open_X)
        chosen = [(pool.candidate(row), f"has the largest expected improvement (log EI {value:.3g})") for row, value in values]
        details = [{"log_expected_improvement": value} for _, value in values]
        return proposals_of(chosen, "expected improvement", "expected_improvement", history, beliefs, details)

    def _sequence(
        self, n: int, surrogate: Surrogate, sign: float, X: Matrix, log_chance: Matrix, tried: Matrix, open_X: Matrix
    ) -> list[tuple[int, float]]:
        """Rows and their log EI, one after the other; what waits or was just chosen counts as measured at its mean."""
        found: list[tuple[int, float]] = []
        for _ in range(min(n, len(X))):
            best = float((sign * surrogate.scaled_mean(tried)).max())
            mean, sd = _believed(surrogate, X, np.vstack([open_X, X[[row for row, _ in found]]]))
            log_ei = log_expected_improvement(torch.from_numpy(sign * mean), torch.from_numpy(sd), best).numpy() + log_chance
            log_ei[[row for row, _ in found]] = -np.inf
            row = int(np.argmax(log_ei))
            found.append((row, float(log_ei[row])))
        return found

    def _pool(self, history: History) -> Pool:
        barred = sorted(history.failed, key=lambda c: c.describe())
        if isinstance(self.encoding, TableEncoding):
            return table_pool(self.encoding, barred)
        anchors = list(dict.fromkeys(p.candidate for p in tested_points(history)))
        return space_pool(self.encoding, sampled_values(self.encoding, POOL_SIZE, history.seed("pool"), anchors), barred)


def _believed(surrogate: Surrogate, X: Matrix, chosen: Matrix) -> tuple[Matrix, Matrix]:
    """Scaled mean and sd at X when the chosen points have come out at their means: the mean stays, the sd shrinks."""
    variance = surrogate.scaled_variance(X)
    if len(chosen):
        among = surrogate.scaled_covariance(chosen, chosen) + (surrogate.hyperparameters.spread + 1e-6) * np.eye(len(chosen))
        cross = surrogate.scaled_covariance(chosen, X)
        variance = np.maximum(variance - (cross * np.linalg.solve(among, cross)).sum(axis=0), 1e-12)
    return surrogate.scaled_mean(X), np.sqrt(variance)
