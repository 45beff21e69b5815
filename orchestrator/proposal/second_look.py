"""A second look at candidates that were chosen some results ago: whether they are still safe with confidence."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain import Candidate, CandidateTable
from orchestrator.proposal.history import History
from orchestrator.proposal.safe_set import fit_safe_set
from orchestrator.proposal.space_encoding import SpaceEncoding
from orchestrator.proposal.table_encoding import TableEncoding


def still_safe(candidates: Sequence[Candidate], history: History) -> list[bool]:
    """Whether each candidate keeps every safe limit with confidence; what the spec states to be safe always does.

    Args:
        candidates: of the campaign's space.
        history: what is known now.
    """
    spec = history.spec
    if not spec.safe_constraints:
        return [True] * len(candidates)
    stated = [candidate in spec.safe_candidates for candidate in candidates]
    if all(stated) or not all(history.observed(c.metric) for c in spec.safe_constraints):
        return stated
    table = isinstance(spec.space, CandidateTable)
    encoding: SpaceEncoding | TableEncoding = TableEncoding(spec.space) if table else SpaceEncoding(spec.space)  # type: ignore[arg-type]
    holds = fit_safe_set(history, encoding).holds(encoding.encode(list(candidates)))
    return [bool(known or held) for known, held in zip(stated, holds, strict=True)]
