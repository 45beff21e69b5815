"""What the lab knows: specs, proposals, features, decisions, memory. Importing it loads nothing heavy."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_DOMAIN = (
    "Approval", "Budget", "CampaignSpec", "Candidate", "CandidateTable", "CellDesign", "ChoiceParameter", "ContextParameter",
    "DerivedParameter",
    "Estimate", "Experiment", "IntegerParameter", "LinearConstraint", "Objective", "OutcomeConstraint", "Prognosis",
    "RangeParameter", "SafetyLimits", "SearchSpace", "SurrogateSpec",
)  # fmt: skip
_PLACES = {
    **dict.fromkeys(_DOMAIN, "orchestrator.domain"),
    "Campaign": "orchestrator.campaign",
    "EpsilonConstraint": "orchestrator.decision",
    "WeightedSum": "orchestrator.decision",
    "open_dataset": "orchestrator.store.datasets",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'orchestrator' has no attribute '{name}'")
