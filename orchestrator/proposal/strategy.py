"""Which proposer works for a campaign: the spec's own choice, or the one that fits what the spec asks for."""

from __future__ import annotations

import logging
from collections import OrderedDict

from orchestrator.domain import CampaignSpec, CandidateTable, SpecError
from orchestrator.proposal.held import SharedValueProposer
from orchestrator.proposal.history import Proposer

_KEPT = 8
_made: OrderedDict[int, tuple[CampaignSpec, Proposer]] = OrderedDict()


def proposer_for(spec: CampaignSpec) -> Proposer:
    """The proposer of a campaign; it holds what the spec says and nothing of its history, so one serves every tick.

    Raises:
        SpecError: if the strategy cannot serve the spec.
    """
    known, proposer = _made.pop(id(spec), (None, None))
    if proposer is None or known is not spec:
        proposer = SharedValueProposer(spec, _make) if _shares(spec) else _make(spec)
    _made[id(spec)] = spec, proposer
    while len(_made) > _KEPT:
        _made.popitem(last=False)
    return proposer


def _make(spec: CampaignSpec) -> Proposer:
    """The proposer that serves a spec.

    `auto` takes the safe proposer where a constraint is safe, the table proposer for a finite list, and Ax for
    everything else. Each is imported when it is needed: Ax takes seconds.

    Raises:
        SpecError: if the strategy cannot serve the spec.
    """
    strategy = spec.strategy if spec.strategy != "auto" else _fitting(spec)
    if strategy == "safe":
        from orchestrator.proposal.safe_proposer import SafeProposer

        return SafeProposer(spec)
    if strategy == "expected_improvement":
        from orchestrator.proposal.improvement_proposer import ImprovementProposer

        return ImprovementProposer(spec)
    if isinstance(spec.space, CandidateTable):
        from orchestrator.proposal.table_proposer import TableProposer

        return TableProposer(spec.space)
    if strategy == "table":
        raise SpecError("strategy 'table' needs a finite list of candidates.")
    # Ax announces its own database at import, of which nothing is used here.
    logging.getLogger("ax.storage.sqa_store.with_db_settings_base").setLevel(logging.WARNING)
    from orchestrator.proposal.ax_proposer import AxProposer

    return AxProposer(spec, as_shipped=spec.strategy == "ax")


def _shares(spec: CampaignSpec) -> bool:
    return not isinstance(spec.space, CandidateTable) and bool(spec.space.shared)


def _fitting(spec: CampaignSpec) -> str:
    if spec.safe_constraints:
        return "safe"
    return "table" if isinstance(spec.space, CandidateTable) else "ax"
