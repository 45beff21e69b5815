"""A smooth stand-in of the fast-charging problem: temperature rises with the rates, life falls with their cubes."""

import numpy as np

from orchestrator.domain import (
    Budget,
    CampaignSpec,
    Candidate,
    Estimate,
    Objective,
    OutcomeConstraint,
    RangeParameter,
    SearchSpace,
    Trial,
    TrialStatus,
)

RATES = ("c1", "c2", "c3")
LIMIT = 36.5
SPACE = SearchSpace(tuple(RangeParameter(name, 2.5, 8.0, unit="C") for name in RATES))


def temperature(candidate: Candidate) -> float:
    rates = np.array([candidate.parameters[name] for name in RATES])
    return float(31.6 + 0.33 * rates.mean() + 0.085 * (rates**2).mean() + 0.05 * rates[2])


def life(candidate: Candidate) -> float:
    return float(16_000 / np.mean([candidate.parameters[name] ** 2 for name in RATES]) ** 1.1)


def minutes(candidate: Candidate) -> float:
    return sum(16 / candidate.parameters[name] for name in RATES)


def measured(candidate: Candidate, random: np.random.Generator) -> tuple[dict[str, Estimate], float]:
    """What one cell of its own gives, and its true temperature."""
    true = temperature(candidate) + 0.12 * random.standard_normal()
    return {
        "charge_time_min": Estimate(minutes(candidate), 0.04, unit="min"),
        "cycle_life": Estimate(life(candidate) * np.exp(0.15 * random.standard_normal()), 1.0),
        "temperature_max_degC": Estimate(true + 0.05 * random.standard_normal(), 0.1, unit="degC"),
    }, true


def spec(**changes) -> CampaignSpec:
    fields = {
        "name": "stand-in",
        "space": SPACE,
        "objectives": (
            Objective("charge_time_min", "minimize", threshold=25.0),
            Objective("cycle_life", "maximize", threshold=300.0),
        ),
        "constraints": (OutcomeConstraint("temperature_max_degC", upper=LIMIT, safe=True),),
        "safe_seed": ({"c1": 2.5, "c2": 2.5, "c3": 2.5}, {"c1": 3.5, "c2": 3.0, "c3": 2.5}),
        "budget": Budget(trials=24),
    }
    return CampaignSpec(**{**fields, **changes})


def told(campaign_spec: CampaignSpec, candidates, seed=0) -> tuple[Trial, ...]:
    """Completed trials of candidates."""
    random = np.random.default_rng(seed)
    outcomes = [{m: e for m, e in measured(c, random)[0].items() if m in campaign_spec.metrics} for c in candidates]
    return tuple(
        Trial(i + 1, c, TrialStatus.COMPLETED, outcome=o) for i, (c, o) in enumerate(zip(candidates, outcomes, strict=True))
    )
