"""One chamber in a lab whose channels fill one by one."""

from itertools import combinations, product

from adapters.replay import ReplayCycler
from flows import Lab, run_campaign
from orchestrator.domain import Budget, CampaignSpec, ChoiceParameter, Experiment, IntegerParameter, Objective, SearchSpace

ROWS = tuple(
    {
        "charge_rate_C": rate,
        "ambient_temperature_degC": degC,
        "result": 10.0 - (rate - 3) ** 2 - abs(degC - 35) / 5,
        "hours": 5.0 + (3 * rate + degC) % 7,
    }
    for rate, degC in product(range(1, 6), (25, 30, 35))
)
SPEC = CampaignSpec(
    name="chamber",
    space=SearchSpace(
        (IntegerParameter("charge_rate_C", 1, 5), ChoiceParameter("ambient_temperature_degC", (25, 30, 35), shared=True)),
    ),
    objectives=(Objective("result", "maximize"),),
    strategy="expected_improvement",
    experiment=Experiment("cc_cv", "lfp_a123"),
    budget=Budget(trials=18),
)


def test_tests_that_run_at_once_share_their_chamber_and_it_changes_when_empty(tmp_path):
    """Tests of different lengths overlap, never at two temperatures; more than one temperature is tried, to the budget's end."""
    cycler = ReplayCycler(ROWS, "result", duration_h="hours", channels=3)
    with Lab.open(tmp_path / "lab", cyclers=[cycler]) as lab:
        result = run_campaign(lab, SPEC)
        trials = lab.store.trials(SPEC.name)
    assert result.status == "completed"
    assert len(trials) == 18
    together = [(a, b) for a, b in combinations(trials, 2) if a.started_h < b.ended_h and b.started_h < a.ended_h]
    assert len(together) > 10
    degC = {t.number: t.candidate.parameters["ambient_temperature_degC"] for t in trials}
    assert all(degC[a.number] == degC[b.number] for a, b in together)
    assert len(set(degC.values())) > 1
    assert result.recommendation["candidate"]["charge_rate_C"] == 3
