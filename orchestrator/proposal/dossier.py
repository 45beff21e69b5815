"""Proposals with their reasons: what is kept of a decision, so that a person can follow it later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.domain import Candidate, Estimate
from orchestrator.proposal.beliefs import Beliefs
from orchestrator.proposal.history import History, Proposal


def proposals_of(
    chosen: Sequence[tuple[Candidate, str]],
    origin: str,
    strategy: str,
    history: History,
    beliefs: Beliefs | None = None,
    details: Sequence[dict[str, Any]] | None = None,
) -> list[Proposal]:
    """Proposals for candidates and the sentence that says why each.

    Args:
        chosen: (candidate, why) in order.
        origin: the generator.
        strategy: which proposer decided.
        history: what was known.
        beliefs: the surrogates that decided; None for a design that asks nothing of them.
        details: further JSON-ready data by proposal, such as the acquisition's value.
    """
    expected = _expected([c for c, _ in chosen], beliefs)
    shared = {"strategy": strategy, "origin": origin, "basis": history.basis()}
    if beliefs is not None:
        shared["surrogates"] = beliefs.describe()
    found = []
    for i, (candidate, why) in enumerate(chosen):
        decision = {**shared, **(details[i] if details else {}), "why": why}
        decision["expected"] = {m: {"mean": e.mean, "sem": e.sem} for m, e in expected[i].items()}
        found.append(Proposal(candidate, origin, expected[i], why, decision))
    return found


def _expected(candidates: Sequence[Candidate], beliefs: Beliefs | None) -> list[dict[str, Estimate]]:
    if beliefs is None or not beliefs.surrogates or not candidates:
        return [{} for _ in candidates]
    return beliefs.predict(np.asarray(beliefs.encoding.encode(list(candidates))))
