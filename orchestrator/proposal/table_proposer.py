"""Proposals from a finite list: every row is weighed, exhaustively.

With noise as large as the signal, testing the few best rows again beats covering the list, so a tested row is a proposal
like any other; only noise-free results rule a row out. For one noisy objective the question is which row is best, and
top-two Thompson sampling answers it (Russo 2016): draw a world from the posterior and test its best row, or half of the
time the best row of another world that disagrees. Otherwise the noisy expected (hypervolume) improvement decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import Candidate, CandidateTable, Estimate
from orchestrator.domain.errors import NeedsPersonError
from orchestrator.proposal.acquisition import NoisyImprovement, goals_of, greedy_batch
from orchestrator.proposal.beliefs import Beliefs, fit_beliefs, tested_points
from orchestrator.proposal.dossier import proposals_of
from orchestrator.proposal.history import History, Proposal
from orchestrator.proposal.marginal_likelihood import Prior
from orchestrator.proposal.pool import Pool, spread_rows, table_pool
from orchestrator.proposal.table_encoding import TableEncoding

Matrix = NDArray[np.float64]

# The first rows are spread evenly: at least this many, and one more than there are features, up to the largest design.
SMALLEST_DESIGN, LARGEST_DESIGN = 5, 10
# Standardised columns of a list are of one kind: their lengthscales stay closer together than those of a space.
TABLE_PRIOR = Prior(lengthscale_log_sd=0.25)
# Noise variance, as a share of the signal's, from which finding the best row is a question of telling rows apart.
NOISY_FROM = 0.2
# Without a stated error, results count as noise-free while replicates and residuals leave this sd, as a share of the outcomes'.
NOISE_FREE_SD = 0.2
_SHORTLIST, _CHALLENGES = 1500, 64


class TableProposer:
    """Chooses rows of the campaign's table."""

    def __init__(self, table: CandidateTable) -> None:
        self.encoding = TableEncoding(table)

    def propose(self, n: int, history: History) -> list[Proposal]:
        """The n rows to test next; the same row may come twice when results are noisy.

        Raises:
            NeedsPersonError: if every row has failed, or was tested where results are noise-free.
        """
        first = self._first_rows(n, history)
        if len(first) >= n or not history.complete:
            return first
        beliefs = fit_beliefs(history, self.encoding, TABLE_PRIOR)
        barred = set(history.failed) | (_tested(history) if noise_free(history, beliefs) else set())
        barred |= {p.candidate for p in first}
        pool = table_pool(self.encoding, sorted(barred, key=lambda c: str(c.id)))
        if not len(pool.X):
            if first:
                return first
            raise NeedsPersonError(_EXHAUSTED)
        pending = self.encoding.encode([p.candidate for p in first])
        return first + self._informed(n - len(first), history, beliefs, pool, pending)

    def predict(self, candidates: Sequence[Candidate], history: History) -> list[dict[str, Estimate]]:
        """The belief about rows; a metric without any estimate is left out."""
        return fit_beliefs(history, self.encoding, TABLE_PRIOR).predict(self.encoding.encode(list(candidates)))

    def _first_rows(self, n: int, history: History) -> list[Proposal]:
        """What the even first design still lacks; all of it while some metric has no estimate."""
        tried = self.encoding.rows([p.candidate for p in tested_points(history)])
        wanted = min(max(SMALLEST_DESIGN, self.encoding.dimension + 1), LARGEST_DESIGN, len(self.encoding.table.rows))
        missing = n if not history.complete else min(n, wanted - len(set(tried)))
        if missing <= 0:
            return []
        failed = set(self.encoding.rows(sorted(history.failed, key=lambda c: str(c.id))))
        open_rows = [r for r in range(len(self.encoding.table.rows)) if r not in failed]
        if not open_rows:
            raise NeedsPersonError(_EXHAUSTED)
        place = {row: i for i, row in enumerate(open_rows)}
        X = self.encoding.X[open_rows]
        rows = spread_rows(X, missing, history.seed("design"), [place[r] for r in dict.fromkeys(tried) if r in place])
        chosen = [(self.encoding.table.candidate(open_rows[r]), "first design: rows spread evenly over the table") for r in rows]
        return proposals_of(chosen, "spread", "table", history)

    def _informed(self, n: int, history: History, beliefs: Beliefs, pool: Pool, pending: Matrix) -> list[Proposal]:
        baseline = self._baseline(history, pending)
        if len(history.spec.objectives) == 1 and noise_share(beliefs, history) >= NOISY_FROM:
            rows, origin = top_two_thompson(n, history, beliefs, pool.X, baseline), "top-two Thompson"
            reason = "may be the best row, as sampled from what is known"
        else:
            seed = history.seed("improvement")
            rows = greedy_batch(n, pool.X, baseline, lambda known: NoisyImprovement(history, beliefs, known, seed))
            origin, reason = "expected improvement", "promises the largest improvement over what has been tested"
        tested = _tested(history)
        found = [pool.candidate(row) for row in rows]
        chosen = [(candidate, f"{'tested again: ' if candidate in tested else ''}{reason}") for candidate in found]
        return proposals_of(chosen, origin, "table", history, beliefs)

    def _baseline(self, history: History, pending: Matrix) -> Matrix:
        """The tested rows, each once: testing a row again moves no other row."""
        rows = dict.fromkeys(self.encoding.rows([p.candidate for p in tested_points(history)]))
        return np.vstack([self.encoding.X[list(rows)], pending])


_EXHAUSTED = "no row of the table is left to propose: each was tested or failed. Add rows, or end the campaign."


def _tested(history: History) -> set[Candidate]:
    return {p.candidate for p in tested_points(history)}


def noise_share(beliefs: Beliefs, history: History) -> float:
    """The first objective's noise variance (stated and learned) over its signal's."""
    surrogate = beliefs.surrogates[history.spec.objectives[0].metric]
    stated = float(np.median((surrogate.readings.sem / surrogate.scale) ** 2))
    return (stated + surrogate.hyperparameters.spread) / surrogate.hyperparameters.signal


def noise_free(history: History, beliefs: Beliefs) -> bool:
    """Whether testing a row again would tell nothing: no stated error, and no spread that the data show."""
    for objective in history.spec.objectives:
        surrogate = beliefs.surrogates[objective.metric]
        if surrogate.readings.sem.any() or surrogate.hyperparameters.spread > NOISE_FREE_SD**2:
            return False
    return True


def top_two_thompson(n: int, history: History, beliefs: Beliefs, X: Matrix, baseline: Matrix) -> list[int]:
    """Rows of X by top-two Thompson sampling, for one objective; rows may repeat.

    Args:
        n: how many.
        history: objective and constraints; a row that breaks a constraint in a sampled world is not its best.
        beliefs: a surrogate for every metric.
        X: the rows, shape (N, d); of a long list only the most promising ones are sampled.
        baseline: tested points, shape (n0, d).
    """
    goal = goals_of(history, beliefs, baseline)[0]
    rng = np.random.default_rng(history.seed("thompson"))
    hope = goal.mean(X) + 2 * np.sqrt(goal.surrogate.scaled_variance(X))
    shortlist = np.sort(np.argsort(-hope, kind="stable")[:_SHORTLIST])
    X = X[shortlist]
    factor = _factor(goal.surrogate.scaled_covariance(X, X))
    allowed = NoisyImprovement(history, beliefs, baseline, 0).feasibility(X) if history.spec.constraints else np.ones(len(X))

    def best_of_a_world() -> int:
        world = goal.mean(X) + factor @ rng.standard_normal(len(X))
        return int(np.argmax(np.where(rng.random(len(X)) <= allowed, world, -np.inf)))

    chosen = []
    for _ in range(n):
        leader = best_of_a_world()
        if rng.random() < 0.5:
            leader = next((other for other in (best_of_a_world() for _ in range(_CHALLENGES)) if other != leader), leader)
        chosen.append(int(shortlist[leader]))
    return chosen


def _factor(covariance: Matrix) -> Matrix:
    ridge = 1e-8 * max(float(np.trace(covariance)) / len(covariance), 1e-12)
    for _ in range(6):
        try:
            return np.asarray(np.linalg.cholesky(covariance + ridge * np.eye(len(covariance))), dtype=np.float64)
        except np.linalg.LinAlgError:
            ridge *= 10
    return np.diag(np.sqrt(np.maximum(np.diag(covariance), 0.0)))
