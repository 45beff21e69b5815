"""The end of a campaign: the choice, its reason, and the report."""

from __future__ import annotations

from typing import Any, Literal

from flows.lab import Lab
from flows.report import write_report
from flows.result import NOT_RECOMMENDED, RECOMMENDED, reference_point_of
from orchestrator.campaign import Campaign
from orchestrator.decision import NoFeasibleChoiceError, Preference, Recommendation, parse_epsilon, parse_weights
from orchestrator.decision.preference import CONFIDENCE
from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.errors import Fault, SpecError


def recommend_now(lab: Lab, name: str, preference: Preference | None = None, confidence: float = CONFIDENCE) -> Recommendation:
    """Choose by a preference among what has been measured so far.

    Raises:
        NoFeasibleChoiceError: if no trial keeps the constraints and the preference.
    """
    campaign = lab.store.campaign(name)
    asked = Campaign(campaign.spec, tuple(lab.store.trials(name)), reference_point=reference_point_of(campaign))
    return asked.recommend(preference, confidence=confidence)


def preference_of(spec: CampaignSpec, weights: str | None, epsilon: str | None, confidence: float) -> Preference | None:
    """The preference that a command line states; None if it states none.

    Raises:
        SpecError: if both kinds are given, or one cannot be read.
    """
    if not 0 < confidence < 1:
        raise SpecError(Fault("--confidence", f"is a probability between 0 and 1 (got {confidence:g}).", "0.95 is usual."))
    if weights and epsilon:
        raise SpecError("--weights and --epsilon are two different preferences. Give one.")
    if weights:
        return parse_weights(weights, spec, confidence)
    return parse_epsilon(epsilon, spec, confidence) if epsilon else None


def close_campaign(lab: Lab, name: str, status: Literal["completed", "stopped"], reason: str) -> None:
    """End a campaign: recommend, write the report, and say so in the store."""
    now_h, started_h = lab.clock.now_h(), lab.store.campaign(name).started_h
    try:
        kind, data = RECOMMENDED, recommendation_json(recommend_now(lab, name))
    except NoFeasibleChoiceError as error:
        kind, data = NOT_RECOMMENDED, {"why": str(error)}
    lab.store.log(kind, campaign=name, data=data, lab_time_h=now_h)
    lab.store.set_campaign(name, status=status, reason=reason, ended_h=max(now_h, started_h), lab_time_h=now_h)
    write_report(lab, name)


def recommendation_json(recommendation: Recommendation) -> dict[str, Any]:
    """A recommendation as plain data; `why` is kept for the report."""
    return {
        "trial": recommendation.trial,
        "candidate": dict(recommendation.candidate.parameters) if recommendation.candidate else {},
        "expected": {m: {"mean": e.mean, "sem": e.sem} for m, e in recommendation.expected.items()},
        "preference": recommendation.preference,
        "why": recommendation.why,
    }
