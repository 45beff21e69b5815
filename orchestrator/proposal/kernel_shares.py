"""What share of each metric's variance each group of features explains, over the candidates that gave results."""

from __future__ import annotations

from orchestrator.domain import CandidateTable, Estimate
from orchestrator.proposal.beliefs import fit_beliefs
from orchestrator.proposal.history import History
from orchestrator.proposal.space_encoding import SpaceEncoding
from orchestrator.proposal.table_encoding import TableEncoding
from orchestrator.proposal.table_proposer import TABLE_PRIOR


def kernel_shares(history: History) -> dict[str, dict[str, Estimate]]:
    """Shares by metric and group, `other` and `together` included, each 0 to 1 with its standard deviation.

    Empty where the spec names no groups; a metric is left out while fewer than two candidates have given it.
    """
    if not history.spec.surrogate.groups:
        return {}
    space = history.spec.space
    table = isinstance(space, CandidateTable)
    encoding = TableEncoding(space) if isinstance(space, CandidateTable) else SpaceEncoding(space)
    beliefs = fit_beliefs(history, encoding, TABLE_PRIOR if table else None)
    return {
        metric: {name: Estimate(share.mean, share.sd, "predicted") for name, share in surrogate.shares.items()}
        for metric, surrogate in beliefs.surrogates.items()
        if surrogate.shares
    }
