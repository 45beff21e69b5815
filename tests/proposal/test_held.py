"""Campaigns over mixtures, conditions and context; and one value for all tests that run at once."""

from dataclasses import replace

import pytest

from orchestrator.campaign import Campaign
from orchestrator.domain import (
    Budget,
    CampaignSpec,
    Candidate,
    ChoiceParameter,
    ContextParameter,
    Estimate,
    LinearConstraint,
    Objective,
    OutcomeConstraint,
    RangeParameter,
    SearchSpace,
    SpecError,
    Trial,
    TrialStatus,
)
from orchestrator.domain.value import from_plain, to_plain
from orchestrator.proposal.held import held_values
from orchestrator.proposal.history import Point

CHAMBER = RangeParameter("chamber", 20.0, 40.0, shared=True)
SPACE = SearchSpace(
    (
        *(RangeParameter(n, 0.0, 1.0) for n in ("li", "ni", "co")),
        ChoiceParameter("pulse", ("no", "yes")),
        RangeParameter("rate", 1.0, 5.0, only_if={"pulse": ["yes"]}),
        ContextParameter("room", 15, 45, value=30),
        CHAMBER,
    ),
    ("li + ni + co == 1", "rate + 0.1*room <= 7", LinearConstraint("ni >= 0.1", only_if={"pulse": "no"})),
)
SAFE = {
    "constraints": (OutcomeConstraint("heat", upper=60.0, safe=True),),
    "safe_seed": ({"li": 0.2, "ni": 0.4, "co": 0.4, "pulse": "no", "chamber": 25.0},),
}


def campaign_over(space: SearchSpace = SPACE, **changes) -> Campaign:
    spec = CampaignSpec("mixed", space, (Objective("life", "maximize"),), seed=3, budget=Budget(trials=40))
    return Campaign(replace(spec, **changes))


def outcome(candidate: Candidate) -> dict[str, Estimate]:
    x = candidate.parameters
    life = 100 - 80 * (x["li"] - 0.5) ** 2 - 50 * x["co"] ** 2 + 4 * x.get("rate", 0.0) - 0.3 * abs(x["chamber"] - 33)
    return {"life": Estimate(life + 3 * (x["room"] - 30), sem=0.5), "heat": Estimate(20 + x["chamber"] + 2 * x["li"], sem=0.3)}


@pytest.mark.parametrize("strategy", ["auto", "expected_improvement", "safe"])
def test_a_campaign_over_all_of_it_proposes_inside_and_shares_its_chamber(strategy):
    """Every batch lies in the space, in the present context, in one chamber; the same history gives the same batch."""
    campaign = campaign_over(strategy=strategy, **(SAFE if strategy == "safe" else {}))
    chambers = set()
    for _ in range(5):
        batch = campaign.propose(3)
        assert batch
        assert [v for c in batch for v in campaign.spec.space.violations(c)] == []
        assert {c.parameters["room"] for c in batch} == {30}
        assert len({c.parameters["chamber"] for c in batch}) == 1
        assert all(abs(sum(c.parameters[n] for n in ("li", "ni", "co")) - 1) <= 1e-9 for c in batch)
        chambers.add(batch[0].parameters["chamber"])
        for candidate in batch:
            campaign = campaign.observe(candidate, outcome(candidate))
    assert len(chambers) > 1
    again = Campaign(from_plain(CampaignSpec, to_plain(campaign.spec)), campaign.trials)
    assert again.propose(2) == campaign.propose(2)
    best = campaign.recommend(None, measured_only=False).candidate
    assert campaign.spec.space.violations(best) == []
    assert campaign.recommend().trial is not None


def test_the_loop_learns_the_composition_and_the_condition():
    """After some batches the best belief is doped with what helps: the truth's side of every parameter."""
    campaign = campaign_over(strategy="expected_improvement")
    for _ in range(8):
        for candidate in campaign.propose(3):
            campaign = campaign.observe(candidate, outcome(candidate))
    best = campaign.recommend(None, measured_only=False).candidate.parameters
    assert best["pulse"] == "yes"
    assert best["rate"] > 3.5
    assert abs(best["li"] - 0.5) < 0.2
    assert best["co"] < 0.25


def test_context_is_set_for_one_call_and_never_chosen():
    """A proposal carries what the call, else the spec, says; results of any context inside the bounds are taken."""
    campaign = campaign_over(strategy="expected_improvement")
    for i, candidate in enumerate(campaign.propose(6)):
        moved = Candidate({**candidate.parameters, "room": 20.0 + 4 * i})
        campaign = campaign.observe(moved, outcome(moved))
    assert {c.parameters["room"] for c in campaign.propose(2, context={"room": 25.0})} == {25.0}
    assert {c.parameters["room"] for c in campaign.propose(2, pending=[])} == {30}
    assert campaign.recommend(None, measured_only=False).candidate.parameters["room"] == 30
    unsaid = {k: v for k, v in candidate.parameters.items() if k != "room"}
    said = [campaign.predict([Candidate({**unsaid, **more})])[0]["life"].mean for more in ({}, {"room": 30.0}, {"room": 45.0})]
    assert said[0] == said[1] < said[2]


def test_what_one_context_gave_does_not_stand_in_the_way_of_another():
    """A recommendation is of the present context: a trial is not the best for having been tested on a warm day."""
    space = SearchSpace((RangeParameter("x", 0.0, 1.0), ContextParameter("room", 15, 45, value=30)))
    campaign = campaign_over(space, strategy="expected_improvement")
    for x, room in ((0.0, 44.0), (0.2, 44.0), (0.5, 20.0), (0.8, 20.0), (1.0, 20.0), (0.3, 30.0), (0.9, 30.0)):
        candidate = Candidate({"x": x, "room": room})
        campaign = campaign.observe(candidate, {"life": Estimate(10 * x + 2 * (room - 30), sem=0.1)})
    assert campaign.recommend().candidate.parameters["x"] == 1.0


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"rom": 20.0}, r"context.rom: is no context parameter of this space. Known: room"),
        ({"room": 90.0}, "not between 15 and 45"),
    ],
)
def test_a_context_that_is_none_is_refused(context, message):
    """By name, with what there is."""
    with pytest.raises(SpecError, match=message):
        campaign_over().propose(1, context=context)


def test_what_is_under_way_says_what_is_held():
    """Tests that ended hold nothing; a parameter that the running test does not have is free."""
    running = [Point(Candidate({"x": 1.0, "chamber": 25.0}), pending=True), Point(Candidate({"x": 1.0, "chamber": 30.0}))]
    assert held_values((CHAMBER,), running) == {"chamber": 25.0}
    assert held_values((CHAMBER,), [Point(Candidate({"x": 1.0}), pending=True)]) == {}


def running(campaign: Campaign, ended: int, under_way: int, chamber: float = 25.0) -> Campaign:
    """The campaign with so many tests in one chamber that ended, and so many that run."""
    wanted = [
        c.parameters | {"chamber": chamber} for c in campaign_over(strategy="expected_improvement").propose(ended + under_way)
    ]
    trials = [
        Trial(i + 1, Candidate(given), TrialStatus.COMPLETED, outcome=outcome(Candidate(given)))
        if i < ended
        else Trial(i + 1, Candidate(given), TrialStatus.RUNNING)
        for i, given in enumerate(wanted)
    ]
    return Campaign(campaign.spec, tuple(trials))


@pytest.mark.parametrize("strategy", ["auto", "expected_improvement"])
def test_while_tests_run_proposals_stay_in_their_chamber(strategy):
    """Pending candidates, of the campaign or named, hold the value."""
    campaign = running(campaign_over(strategy=strategy), ended=6, under_way=5)
    assert {c.parameters["chamber"] for c in campaign.propose(2)} == {25.0}
    named = campaign.propose(1)
    assert {c.parameters["chamber"] for c in campaign.propose(2, pending=named)} == {25.0}


def test_a_chamber_is_emptied_when_its_places_had_their_tests_and_another_promises_more():
    """After two tests a place nothing is proposed until the chamber is empty; then it changes."""
    campaign = running(campaign_over(strategy="expected_improvement"), ended=16, under_way=2)
    assert campaign.propose(2) == []
    for trial in campaign.trials[-2:]:
        campaign = campaign.observe(trial.candidate, outcome(trial.candidate))
    batch = campaign.propose(3)
    assert len(batch) == 3
    assert {c.parameters["chamber"] for c in batch} != {25.0}


def test_a_chamber_that_is_right_is_kept():
    """Where the next test would be at the same setting, nobody waits."""
    space = SearchSpace((RangeParameter("x", 0.0, 1.0), ChoiceParameter("chamber", (25, 45), shared=True)))
    trials = [
        Trial(i + 1, Candidate({"x": i / 10, "chamber": c}), TrialStatus.COMPLETED, outcome={"life": Estimate(life)})
        for i, (c, life) in enumerate([(45, 1.0)] * 4 + [(25, 50.0 + i) for i in range(6)])
    ]
    trials.append(Trial(11, Candidate({"x": 0.95, "chamber": 25}), TrialStatus.RUNNING))
    campaign = Campaign(campaign_over(space, strategy="expected_improvement").spec, tuple(trials))
    assert {c.parameters["chamber"] for c in campaign.propose(1)} == {25}


def test_trials_from_before_a_context_was_recorded_teach_nothing_and_harm_nothing():
    """A spec amended by a context parameter goes on; what a choice rules out is not missed."""
    before = [Candidate({k: v for k, v in c.parameters.items() if k != "room"}) for c in campaign_over().propose(2)]
    trials = [Trial(i + 1, c, TrialStatus.COMPLETED, outcome={"life": Estimate(90.0)}) for i, c in enumerate(before)]
    campaign = Campaign(campaign_over(strategy="expected_improvement").spec, tuple(trials))
    assert {c.parameters["room"] for c in campaign.propose(2)} == {30}
    assert all(campaign.spec.space.places(c) for c in campaign_over().propose(4))
    assert not any(campaign.spec.space.places(c) for c in before)
