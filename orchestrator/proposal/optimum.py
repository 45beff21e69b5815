"""The best candidate the surrogate believes in, tested or not: what to test next if the campaign ended here."""

from __future__ import annotations

import numpy as np

from orchestrator.domain import Candidate, CandidateTable
from orchestrator.domain.errors import CampaignError
from orchestrator.proposal.acquisition import feasibility
from orchestrator.proposal.beliefs import fit_beliefs, tested_points
from orchestrator.proposal.history import History
from orchestrator.proposal.pool import Pool, perturbed, sampled_values, space_pool, table_pool
from orchestrator.proposal.safe_set import fit_safe_set
from orchestrator.proposal.space_encoding import SpaceEncoding
from orchestrator.proposal.table_encoding import TableEncoding
from orchestrator.proposal.table_proposer import table_beliefs

POOL_SIZE, ROUNDS = 4096, 4


def best_believed(history: History, confidence: float) -> Candidate:
    """The candidate with the best posterior mean of the one objective, over the whole space or table.

    In a space a dense sample is refined around its best point a few times. Where a constraint is safe only the safe set counts.

    Args:
        history: what is known.
        confidence: probability with which the campaign's constraints must hold.

    Raises:
        CampaignError: if nothing has been measured, or no candidate keeps the constraints with that confidence.
    """
    if not history.complete:
        raise CampaignError("nothing can be recommended yet: no test has measured every metric.")
    if isinstance(history.spec.space, CandidateTable):
        encoding = TableEncoding(history.spec.space)
        pool = table_pool(encoding)
        return pool.candidate(_best(history, encoding, pool, confidence))
    space = SpaceEncoding(history.spec.space)
    tested = list(dict.fromkeys(p.candidate for p in tested_points(history)))
    pool = space_pool(space, sampled_values(space, POOL_SIZE, history.seed("optimum"), tested))
    best = pool.candidate(_best(history, space, pool, confidence))
    for round_ in range(ROUNDS):
        centre = space.values([best])
        pool = space_pool(space, np.vstack([centre, perturbed(space, centre, history.seed(f"optimum {round_}"))]))
        best = pool.candidate(_best(history, space, pool, confidence))
    return best


def _best(history: History, encoding: SpaceEncoding | TableEncoding, pool: Pool, confidence: float) -> int:
    spec, goal = history.spec, history.spec.objectives[0]
    beliefs = table_beliefs(history, encoding) if isinstance(encoding, TableEncoding) else fit_beliefs(history, encoding)
    mean, _ = beliefs.surrogates[goal.metric].posterior(pool.X)
    allowed = feasibility(beliefs, spec.constraints, pool.X) >= confidence
    if spec.safe_constraints:
        allowed &= fit_safe_set(history, encoding).holds(pool.X)
    if not allowed.any():
        raise CampaignError(f"no candidate keeps the constraints with probability >= {confidence:g}. Accept a lower confidence.")
    return int(np.argmax(np.where(allowed, goal.sign * mean, -np.inf)))
