"""A second look at candidates that were chosen some results ago: whether they are still safe with confidence."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain import Candidate, CandidateTable, OutcomeConstraint
from orchestrator.proposal.history import History, Point
from orchestrator.proposal.safe_set import fit_safe_set
from orchestrator.proposal.space_encoding import SpaceEncoding
from orchestrator.proposal.table_encoding import TableEncoding

# Standard errors beyond a limit from which a seed's own result speaks against what the spec states of it.
REFUTED_BY = 2.0


def standing_seeds(history: History) -> list[Candidate]:
    """The spec's safe seeds, without those whose test failed and those whose own result is beyond a limit."""
    seeds = [seed for seed in history.spec.safe_candidates if seed not in history.failed]
    passed = {p.candidate for p in history.points if any(_passes(p, c) for c in history.spec.safe_constraints)}
    return [seed for seed in seeds if seed not in passed]


def _passes(point: Point, constraint: OutcomeConstraint) -> bool:
    estimate = point.outcome.get(constraint.metric)
    if estimate is None:
        return False
    above = constraint.upper is not None and estimate.mean - REFUTED_BY * estimate.sem > constraint.upper
    return above or (constraint.lower is not None and estimate.mean + REFUTED_BY * estimate.sem < constraint.lower)


def still_safe(candidates: Sequence[Candidate], history: History) -> list[bool]:
    """Whether each candidate keeps every safe limit with confidence; a safe seed does while no result of its own says otherwise.

    Args:
        candidates: of the campaign's space.
        history: what is known now.
    """
    spec = history.spec
    if not spec.safe_constraints:
        return [True] * len(candidates)
    seeds = standing_seeds(history)
    stated = [candidate in seeds for candidate in candidates]
    if all(stated) or not all(history.observed(c.metric) for c in spec.safe_constraints):
        return stated
    table = isinstance(spec.space, CandidateTable)
    encoding: SpaceEncoding | TableEncoding = TableEncoding(spec.space) if table else SpaceEncoding(spec.space)  # type: ignore[arg-type]
    holds = fit_safe_set(history, encoding).holds(encoding.encode(list(candidates)))
    return [bool(known or held) for known, held in zip(stated, holds, strict=True)]
