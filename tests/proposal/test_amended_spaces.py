"""Trials that lie outside today's space, since it was amended: they inform, and are neither proposed nor recommended again."""

from dataclasses import replace

import pytest

from orchestrator.campaign import Campaign
from orchestrator.decision import NoFeasibleChoiceError
from orchestrator.domain import (
    CampaignSpec,
    Candidate,
    ChoiceParameter,
    Estimate,
    Experiment,
    IntegerParameter,
    LinearConstraint,
    Objective,
    OutcomeConstraint,
    RangeParameter,
    SafetyLimits,
    SearchSpace,
    Trial,
    TrialStatus,
)

BEFORE = SearchSpace(
    (
        RangeParameter("rate", 1.0, 10.0),
        RangeParameter("dose", 1.0, 100.0),
        IntegerParameter("steps", 1, 9),
        ChoiceParameter("salt", ("a", "b", "c")),
    )
)
AFTER = SearchSpace(
    (
        RangeParameter("rate", 2.0, 4.0),
        RangeParameter("dose", 20.0, 30.0, log=True),
        IntegerParameter("steps", 3, 5),
        ChoiceParameter("salt", ("a", "b")),
    ),
    (LinearConstraint("rate <= dose"),),
)
INSIDE = ({"rate": 3.0, "dose": 25.0, "steps": 4, "salt": "a"}, {"rate": 2.5, "dose": 22.0, "steps": 3, "salt": "b"})
OUTSIDE = (
    {"rate": 9.0, "dose": 90.0, "steps": 8, "salt": "c"},
    {"rate": 1.0, "dose": 1.0, "steps": 1, "salt": "c"},
    {"rate": 6.0, "dose": 5.0, "steps": 6, "salt": "b"},
)


def spec(strategy: str, space: SearchSpace = AFTER) -> CampaignSpec:
    safe = strategy == "safe"
    if strategy == "ax":
        space = replace(space, constraints=())
    goals = (Objective("life", "maximize"), Objective("time", "minimize"))
    return CampaignSpec(
        name="amended",
        space=space,
        objectives=goals[:1] if strategy == "expected_improvement" else goals,
        constraints=(OutcomeConstraint("heat", upper=50.0, safe=safe),),
        safe_seed=INSIDE[:1] if safe else (),
        strategy=strategy,
    )


def trials(outside_only: bool = False) -> tuple[Trial, ...]:
    """Tests inside and outside of today's space; the best lie outside. One outside runs, one failed."""
    tested = OUTSIDE if outside_only else INSIDE + OUTSIDE
    ended = [
        Trial(
            n,
            Candidate(values),
            TrialStatus.COMPLETED,
            outcome={
                "life": Estimate(100.0 * values["rate"], 5.0),
                "time": Estimate(60.0 / values["rate"], 1.0),
                "heat": Estimate(20.0 + values["rate"], 1.0),
            },
        )
        for n, values in enumerate(tested, start=1)
    ]
    running = Trial(8, Candidate({**OUTSIDE[0], "steps": 7}), TrialStatus.RUNNING)
    failed = Trial(9, Candidate({**OUTSIDE[1], "steps": 2}), TrialStatus.FAILED)
    return (*ended, running, failed)


@pytest.mark.parametrize("strategy", ["auto", "ax", "safe", "expected_improvement"])
def test_every_proposer_goes_on_inside_the_new_space(strategy):
    """It learns from what lies outside, and proposes and recommends nothing there."""
    campaign = Campaign(spec(strategy), trials())
    assert not BEFORE.violations(campaign.trials[2].candidate)
    for candidate in campaign.propose(3):
        assert not AFTER.violations(candidate)
    assert campaign.predict([Candidate(INSIDE[0])])[0]["life"].sem > 0
    assert campaign.recommend().trial in (1, 2)


@pytest.mark.parametrize("strategy", ["auto", "ax", "safe", "expected_improvement"])
def test_a_history_that_lies_outside_altogether_is_a_start(strategy):
    """Proposals lie inside; there is nothing to recommend, and that is said."""
    campaign = Campaign(spec(strategy), trials(outside_only=True))
    found = campaign.propose(2)
    assert found
    assert not any(AFTER.violations(candidate) for candidate in found)
    with pytest.raises(NoFeasibleChoiceError, match="since the campaign was amended"):
        campaign.recommend()


def test_a_range_searched_by_its_logarithm_reads_what_had_none():
    """A value of zero or below, from before, stands at the far end."""
    space = SearchSpace((RangeParameter("dose", 0.1, 10.0, log=True),))
    tested = [
        Trial(n, Candidate({"dose": d}), TrialStatus.COMPLETED, outcome={"life": Estimate(d)})
        for n, d in enumerate((-1.0, 0.0, 0.5, 2.0), 1)
    ]
    campaign = Campaign(CampaignSpec(name="log", space=space, objectives=(Objective("life", "maximize"),)), tuple(tested))
    assert not any(space.violations(candidate) for candidate in campaign.propose(2))
    assert campaign.recommend().trial == 4


def test_what_todays_limits_forbid_is_not_recommended():
    """A protocol that would pass a tightened limit was the best; the best of the rest is taken."""
    space = SearchSpace((RangeParameter("charge_rate_C", 1.0, 6.0),))
    rates = (1.0, 2.0, 6.0)
    tested = [
        Trial(n, Candidate({"charge_rate_C": rate}), TrialStatus.COMPLETED, outcome={"life": Estimate(rate, 0.01)})
        for n, rate in enumerate(rates, 1)
    ]
    experiment = Experiment("cc_cv", "lfp_a123")
    loose = CampaignSpec(name="limits", space=space, objectives=(Objective("life", "maximize"),), experiment=experiment)
    assert Campaign(loose, tuple(tested)).recommend().trial == 3
    tight = replace(loose, safety_limits=SafetyLimits(max_current_A=4.0))
    assert Campaign(tight, tuple(tested)).recommend().trial == 2
