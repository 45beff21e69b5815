"""Ask, tell, choose: the frozen campaign of the public contract."""

import subprocess
import sys

import numpy as np
import pytest

from orchestrator import (
    Budget,
    Campaign,
    CampaignSpec,
    Candidate,
    CandidateTable,
    EpsilonConstraint,
    Estimate,
    LinearConstraint,
    Objective,
    OutcomeConstraint,
    RangeParameter,
    SearchSpace,
)
from orchestrator.domain import Trial, TrialStatus
from orchestrator.domain.errors import NeedsPersonError, SpecError

TABLE = CandidateTable(rows=[{"id": f"p{i}", "C1": 3.0 + 0.2 * i} for i in range(15)], features=["C1"])


def table_campaign(**changes) -> Campaign:
    fields = {"name": "t", "space": TABLE, "objectives": (Objective("life", "maximize"),), "seed": 7, "budget": Budget(trials=20)}
    return Campaign(CampaignSpec(**{**fields, **changes}))


def life(candidate: Candidate) -> float:
    return 1000 - 300 * (candidate.parameters["C1"] - 4.4) ** 2


def test_a_loop_by_hand_finds_the_best_row():
    """Propose, observe, recommend: the best row of fifteen is among the two best after a dozen noisy tests."""
    campaign, random = table_campaign(), np.random.default_rng(0)
    for _ in range(6):
        for candidate in campaign.propose(2):
            campaign = campaign.observe(candidate, {"life": Estimate(life(candidate) + 20 * random.standard_normal(), sem=20)})
    assert abs(campaign.recommend().candidate.parameters["C1"] - 4.4) <= 0.21
    assert abs(campaign.recommend(None, measured_only=False).candidate.parameters["C1"] - 4.4) <= 0.21
    assert campaign.front().trials


def test_campaigns_are_frozen():
    """Every method gives a new value; the old one stays as it was."""
    campaign = table_campaign()
    candidate = campaign.propose(1)[0]
    observed = campaign.observe(candidate, {"life": Estimate(900.0)})
    failed = observed.fail(TABLE.candidate(3), reason="cell shorted")
    assert (len(campaign.trials), len(observed.trials), len(failed.trials)) == (0, 1, 2)
    with pytest.raises(AttributeError):
        campaign.trials = ()


def test_a_measured_estimate_supersedes_a_predicted_one_and_never_the_other_way():
    """Two measured results of one candidate are replicates."""
    campaign, row = table_campaign(), TABLE.candidate(4)
    campaign = campaign.observe(row, {"life": Estimate(800.0, 50.0, "predicted")})
    campaign = campaign.observe(row, {"life": Estimate(870.0, 10.0)})
    assert [t.outcome["life"].mean for t in campaign.trials] == [870.0]
    campaign = campaign.observe(row, {"life": Estimate(850.0, 10.0)})
    assert [t.outcome["life"].mean for t in campaign.trials] == [870.0, 850.0]


def test_an_outcome_may_come_in_parts():
    """Metrics that arrive one by one are one trial; a second value of the same metric is a replicate."""
    goals = (Objective("charge_time_min", "minimize", threshold=45), Objective("life", "maximize", threshold=300))
    campaign, row = table_campaign(objectives=goals), TABLE.candidate(4)
    campaign = campaign.observe(row, {"charge_time_min": Estimate(16.0)})
    assert campaign.front().trials == []
    campaign = campaign.observe(row, {"life": Estimate(700.0, 80.0, "predicted")}).observe(row, {"life": Estimate(810.0, 5.0)})
    assert campaign.front().trials == [1]
    campaign = campaign.observe(row, {"charge_time_min": Estimate(16.2), "life": Estimate(790.0)})
    assert [t.outcome["life"].mean for t in campaign.trials] == [810.0, 790.0]


def test_an_unfinished_trial_is_completed_or_failed_in_place():
    """Observing or failing a candidate that runs ends its trial: it is not pending for ever."""
    running = tuple(Trial(i + 1, TABLE.candidate(i), TrialStatus.RUNNING) for i in (0, 1))
    campaign = Campaign(table_campaign().spec, running)
    campaign = campaign.observe(TABLE.candidate(0), {"life": Estimate(500.0)}).fail(TABLE.candidate(1), reason="cell shorted")
    assert [(t.number, t.status) for t in campaign.trials] == [(1, TrialStatus.COMPLETED), (2, TrialStatus.FAILED)]
    assert campaign.trials[1].stopped_because == "cell shorted"


def test_a_failed_candidate_is_not_proposed_again():
    """Also when every other row was tried, and all failing ends in a question for a person."""
    campaign = table_campaign()
    for i in range(1, 15):
        campaign = campaign.fail(TABLE.candidate(i), reason="cell shorted")
    assert {c.id for c in campaign.propose(3)} == {"p0"}
    with pytest.raises(NeedsPersonError, match="no row of the table is left"):
        campaign.fail(TABLE.candidate(0), reason="cell shorted").propose(1)


def test_what_is_recommended_untested_is_safe():
    """Without a preference the best candidate of the whole space still keeps the pessimistic bound of a safe limit."""
    space = SearchSpace((RangeParameter("c1", 1.0, 8.0),))
    campaign = table_campaign(
        space=space, constraints=(OutcomeConstraint("heat", upper=40.0, safe=True),), safe_seed=({"c1": 1.0},)
    )
    for c1 in (1.0, 1.0, 1.5, 2.0, 2.5):
        outcome = {"life": Estimate(100 * c1, sem=2.0), "heat": Estimate(30 + 2 * c1, sem=0.2)}
        campaign = campaign.observe(Candidate({"c1": c1}), outcome)
    best = campaign.recommend(None, measured_only=False)
    assert 2.0 < best.candidate.parameters["c1"] < 5.0


@pytest.mark.parametrize("values", [[500.0], [500.0] * 6, [0.0] * 6])
def test_odd_results_still_give_sound_proposals(values):
    """One trial only, equal results, a constant objective: rows are proposed, no traceback."""
    campaign = table_campaign()
    for i, value in enumerate(values):
        campaign = campaign.observe(TABLE.candidate(2 * i), {"life": Estimate(value)})
    assert len(set(campaign.propose(4))) == 4


def test_a_number_without_an_error_is_not_an_estimate():
    """A bare number is refused by name, with what to write instead."""
    with pytest.raises(SpecError, match=r"outcome.life: must be an Estimate.*Write Estimate"):
        table_campaign().observe(TABLE.candidate(0), {"life": 812.0})


def test_untested_candidates_may_be_observed_and_predicted():
    """Any candidate inside the space counts, proposed or not."""
    space = SearchSpace((RangeParameter("c1", 1.0, 3.0), RangeParameter("c2", 1.0, 3.0)), (LinearConstraint("c1 >= c2"),))
    campaign = table_campaign(space=space)
    for c1 in (1.0, 1.5, 2.0, 2.5, 3.0):
        campaign = campaign.observe(Candidate({"c1": c1, "c2": 1.0}), {"life": Estimate(500 - 100 * c1, sem=5.0)})
    low, high = campaign.predict([Candidate({"c1": 1.2, "c2": 1.0}), Candidate({"c1": 2.8, "c2": 1.0})])
    assert low["life"].mean > high["life"].mean
    assert low["life"].source == "predicted"
    best = campaign.recommend(None, measured_only=False)
    assert best.candidate.parameters["c1"] < 1.3


@pytest.mark.parametrize(
    ("candidate", "outcome", "named"),
    [
        (Candidate({"C1": 99.0}), {"life": 1.0}, "no row of the table"),
        (Candidate({"C1": 3.0}, "p99"), {"life": 1.0}, "no row of the table"),
        (Candidate({"C1": 3.0}, "p0"), {"glory": 1.0}, "holds no metric of the campaign"),
    ],
)
def test_what_does_not_belong_to_the_campaign_is_refused(candidate, outcome, named):
    """Foreign candidates and metrics are named."""
    with pytest.raises(SpecError, match=named):
        table_campaign().observe(candidate, {m: Estimate(v) for m, v in outcome.items()})


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_results_that_are_no_numbers_cannot_be_made(wrong):
    """NaN, infinity and a negative error stop at the estimate."""
    with pytest.raises(SpecError, match="must be"):
        Estimate(wrong)
    with pytest.raises(SpecError, match="sem"):
        Estimate(1.0, sem=-1.0)


def test_preferences_choose_on_a_front():
    """An epsilon-constraint keeps its limit; an unknown metric is refused."""
    campaign = table_campaign(
        objectives=(Objective("charge_time_min", "minimize", threshold=45), Objective("life", "maximize", threshold=300))
    )
    for i in range(0, 15, 3):
        row = TABLE.candidate(i)
        minutes = 60 / row.parameters["C1"]
        campaign = campaign.observe(row, {"charge_time_min": Estimate(minutes, 0.05), "life": Estimate(40 * minutes, 5.0)})
    choice = campaign.recommend(EpsilonConstraint({"charge_time_min": 15}))
    assert choice.expected["charge_time_min"].mean <= 15
    with pytest.raises(SpecError, match="glory"):
        campaign.recommend(EpsilonConstraint({"glory": 15}))


def test_expected_improvement_is_a_strategy_for_one_objective():
    """It proposes rows, and refuses several objectives by name."""
    campaign = table_campaign(strategy="expected_improvement")
    for candidate in campaign.propose(6):
        campaign = campaign.observe(candidate, {"life": Estimate(life(candidate), sem=5.0)})
    assert abs(campaign.propose(1)[0].parameters["C1"] - 4.4) < 1.0
    two = table_campaign(strategy="expected_improvement", objectives=(Objective("a", "maximize"), Objective("b", "minimize")))
    with pytest.raises(SpecError, match="takes one objective"):
        two.propose(1)


SCRIPT = """
from orchestrator import *
c = Campaign(CampaignSpec(name="t", seed=7, space=CandidateTable(rows=[{"x": float(i)} for i in range(30)], features=["x"]),
                          objectives=[Objective("y", "maximize")]))
for i in range(0, 30, 4):
    c = c.observe(Candidate({"x": float(i)}), {"y": Estimate(-(i - 11.0) ** 2, sem=4.0)})
print([k.parameters["x"] for k in c.propose(5)])
"""


def test_same_spec_same_observations_same_seed_same_proposals_in_any_process():
    """Two fresh processes propose alike."""
    said = {subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(said) == 1


def test_importing_the_package_loads_nothing_heavy():
    """Every public name of the contract is there, and none of the heavy libraries is loaded with them."""
    names = ("Campaign, CampaignSpec, SearchSpace, RangeParameter, IntegerParameter, ChoiceParameter, LinearConstraint, "
             "CandidateTable, Experiment, Objective, OutcomeConstraint, SafetyLimits, Budget, Prognosis, Approval, Estimate, "
             "Candidate, WeightedSum, EpsilonConstraint")  # fmt: skip
    heavy = ["torch", "botorch", "ax", "prefect", "pymatgen", "pybamm", "sklearn"]
    script = f"import sys\nfrom orchestrator import {names}\nprint([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"


CALLS = {
    "text": lambda c: c.propose("2"),
    "fraction": lambda c: c.propose(1.5),
    "pending": lambda c: c.propose(1, pending=[{"c1": 2.0}]),
    "observe": lambda c: c.observe("row3", {}),
    "predict": lambda c: c.predict([{"c1": 2.0}]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_arguments_of_another_kind_are_named(call):
    """One clear error, no traceback from within."""
    space = SearchSpace([RangeParameter("c1", 1.0, 3.0)])
    campaign = Campaign(CampaignSpec(name="kinds", space=space, objectives=[Objective("life", "maximize")]))
    with pytest.raises(SpecError, match=r"number of candidates|must be a Candidate"):
        call(campaign)
