"""Proposals from a finite list: every row is weighed, exhaustively.

With noise as large as the signal, testing the few best rows again beats covering the list, so a tested row is a proposal
like any other; only noise-free results rule a row out, and rows with the same features with it. For one noisy objective the
question is which row is best: top-two Thompson sampling asks it, under beliefs averaged over hyperparameters. Otherwise the
noisy expected (hypervolume) improvement decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import Candidate, CandidateTable, Estimate
from orchestrator.domain.errors import NeedsPersonError
from orchestrator.proposal.acquisition import NoisyImprovement, feasibility
from orchestrator.proposal.beliefs import Beliefs, fit_beliefs, tested_points
from orchestrator.proposal.dossier import proposals_of
from orchestrator.proposal.history import History, Proposal
from orchestrator.proposal.hyperparameter_samples import average_of, averaged
from orchestrator.proposal.marginal_likelihood import Prior
from orchestrator.proposal.pool import spread_rows
from orchestrator.proposal.surrogate import Surrogate
from orchestrator.proposal.table_encoding import TableEncoding
from orchestrator.proposal.top_two_thompson import top_two

Matrix = NDArray[np.float64]
Rows = NDArray[np.intp]

# The first rows are spread evenly: at least this many, and one more than there are features, up to the largest design.
SMALLEST_DESIGN, LARGEST_DESIGN = 5, 10
# Standardised columns of a list are of one kind: their lengthscales stay closer together than those of a space.
TABLE_PRIOR = Prior(lengthscale_log_sd=0.25)
# Noise variance, as a share of the signal's, from which finding the best row is a question of telling rows apart.
NOISY_FROM = 0.2
# Without a stated error, results count as noise-free while replicates and residuals leave this sd, as a share of the outcomes'.
NOISE_FREE_SD = 0.2
# Rows of a long list among which the best is sought where results are noisy, and that are weighed again within a batch.
CONTENDERS, PROMISING = 192, 4096
FIRST_LOOK_SAMPLES = 8


def table_beliefs(history: History, encoding: TableEncoding) -> Beliefs:
    """The belief about every metric at a table's rows, averaged over hyperparameters."""
    return averaged(fit_beliefs(history, encoding, TABLE_PRIOR))


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
        beliefs = table_beliefs(history, self.encoding)
        pending = self.encoding.rows([p.candidate for p in first])
        open_rows = self._open_rows(history, pending, noise_free(history, beliefs))
        if not len(open_rows):
            if first:
                return first
            raise NeedsPersonError(_EXHAUSTED)
        return first + self._informed(n - len(first), history, beliefs, open_rows, pending)

    def predict(self, candidates: Sequence[Candidate], history: History) -> list[dict[str, Estimate]]:
        """The belief about rows; a metric without any estimate is left out."""
        return table_beliefs(history, self.encoding).predict(self.encoding.encode(list(candidates)))

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

    def _open_rows(self, history: History, pending: Sequence[int], once: bool) -> Rows:
        """The rows that may be proposed; where one test tells all, rows with equal features count as one, and once."""
        barred = {*self.encoding.rows(list(history.failed)), *pending}
        rows = np.setdiff1d(np.arange(len(self.encoding.table.rows)), sorted(barred))
        if not once:
            return rows
        like = self.encoding.first_like
        tested = like[self.encoding.rows([p.candidate for p in tested_points(history)]) + list(pending)]
        rows = rows[~np.isin(like[rows], tested)]
        return np.asarray(rows[np.sort(np.unique(like[rows], return_index=True)[1])])

    def _informed(self, n: int, history: History, beliefs: Beliefs, open_rows: Rows, pending: Sequence[int]) -> list[Proposal]:
        if len(history.spec.objectives) == 1 and noise_share(beliefs, history) >= NOISY_FROM:
            rows, origin = self._contenders(n, history, beliefs, open_rows), "top-two Thompson"
            reason = "may well be the best row: drawn from what is believed of all"
        else:
            baseline = self._baseline(history, pending)
            improvement = NoisyImprovement(history, beliefs, baseline, history.seed("improvement"))
            rows, origin = lazily_greedy(n, self.encoding.X[open_rows], improvement), "expected improvement"
            rows, reason = [int(open_rows[row]) for row in rows], "promises the largest improvement over what has been tested"
        tested = {p.candidate for p in tested_points(history)}
        found = [self.encoding.table.candidate(row) for row in rows]
        chosen = [(candidate, f"{'tested again: ' if candidate in tested else ''}{reason}") for candidate in found]
        return proposals_of(chosen, origin, "table", history, beliefs)

    def _contenders(self, n: int, history: History, beliefs: Beliefs, open_rows: Rows) -> list[int]:
        """Rows for one noisy objective, drawn from those that hope most."""
        objective = history.spec.objectives[0]
        surrogate = average_of(beliefs.surrogates[objective.metric])
        X = self.encoding.X
        mean, sd = surrogate.fitted_posterior(X[open_rows])
        hope = feasibility(beliefs, history.spec.constraints, X[open_rows]) * _above_least(objective.sign * mean + 2 * sd)
        rows = np.sort(open_rows[np.argsort(-hope, kind="stable")[:CONTENDERS]])
        mean, covariance = surrogate.moments(X[rows])
        chance = feasibility(beliefs, history.spec.constraints, X[rows])
        rng = np.random.default_rng(history.seed("contenders"))
        return [int(rows[i]) for i in top_two(n, objective.sign * mean, covariance, chance, rng)]

    def _baseline(self, history: History, pending: Sequence[int]) -> Matrix:
        """The tested rows, each once: testing a row again moves no other row."""
        tested = self.encoding.rows([p.candidate for p in tested_points(history)])
        return np.asarray(self.encoding.X[list(dict.fromkeys([*tested, *pending]))])


_EXHAUSTED = "no row of the table is left to propose: each was tested or failed. Add rows, or end the campaign."


def noise_share(beliefs: Beliefs, history: History) -> float:
    """The first objective's noise variance (stated and learned) over its signal's."""
    surrogate = beliefs.surrogates[history.spec.objectives[0].metric]
    return _noise(surrogate) / surrogate.hyperparameters.signal


def _noise(surrogate: Surrogate) -> float:
    """The scaled variance of one cell's result, as the median states and the spread between cells adds."""
    return float(np.median(surrogate.noise)) + surrogate.hyperparameters.spread


def _above_least(hope: Matrix) -> Matrix:
    return np.asarray(hope - hope.min())


def noise_free(history: History, beliefs: Beliefs) -> bool:
    """Whether testing a row again would tell nothing: no stated error, and no spread that the data show."""
    for objective in history.spec.objectives:
        surrogate = beliefs.surrogates[objective.metric]
        if surrogate.readings.sem.any() or surrogate.hyperparameters.spread > NOISE_FREE_SD**2:
            return False
    return True


def lazily_greedy(n: int, X: Matrix, improvement: NoisyImprovement, promising: int = PROMISING) -> list[int]:
    """Choose n different rows of X one after another, each joining what the next must improve on.

    All rows are weighed once, those of a long list by the first few samples. What has joined can only take away from what a row
    promises (the expected improvement, and that of the hypervolume, are submodular), so for each choice the most promising are
    weighed again by all samples, and further ones only while a row left out promised more than the best of those: the same
    choice as weighing all each time (Minoux 1978), up to the samples' error.
    """
    bound = (improvement.roughly(FIRST_LOOK_SAMPLES) if len(X) > promising else improvement)(X)
    chosen: list[int] = []
    while len(chosen) < min(n, len(X)):
        if chosen:
            improvement = improvement.joined_by(X[chosen[-1:]])
        bound = _weighed_again(bound, X, improvement, promising)
        bound[chosen] = -np.inf
        chosen.append(int(np.argmax(bound)))
    return chosen


def _weighed_again(bound: Matrix, X: Matrix, improvement: NoisyImprovement, promising: int) -> Matrix:
    """The same bounds, exact for so many rows that the highest is."""
    order, value = np.argsort(-bound, kind="stable"), bound.copy()
    for start in range(0, len(order), promising):
        again, others = order[start : start + promising], order[start + promising :]
        value[again] = improvement(X[again])
        if not len(others) or value[order[: start + promising]].max() >= bound[others[0]]:
            break
    return value
