"""What no optimiser likes to be told: every strategy answers with sound candidates or one clear error."""

import math

import pytest

from orchestrator import (
    Campaign,
    CampaignSpec,
    Candidate,
    CandidateTable,
    ChoiceParameter,
    Estimate,
    Objective,
    OutcomeConstraint,
    RangeParameter,
    SearchSpace,
)
from orchestrator.domain.errors import NeedsPersonError, SpecError

SPACE = SearchSpace([RangeParameter("c1", 1.0, 6.0), RangeParameter("c2", 1.0, 6.0), ChoiceParameter("salt", ["A", "B"])])
TABLE = CandidateTable([{"c1": float(i), "c2": float(i % 4)} for i in range(12)], ["c1", "c2"])
LIFE = (Objective("life", "maximize"),)
BOTH = (Objective("life", "maximize", threshold=0.0), Objective("time", "minimize", threshold=60.0))
LIMIT = (OutcomeConstraint("heat", upper=40.0),)
SEEDS = [{"c1": 1.0, "c2": 1.0, "salt": "A"}, {"c1": 1.5, "c2": 1.0, "salt": "B"}]

SPECS = {
    "auto": {"space": SPACE, "objectives": LIFE},
    "auto, two objectives and a limit": {"space": SPACE, "objectives": BOTH, "constraints": LIMIT},
    "safe": {
        "space": SPACE,
        "objectives": LIFE,
        "constraints": (OutcomeConstraint("heat", upper=40.0, safe=True),),
        "safe_seed": SEEDS,
    },
    "expected_improvement": {"space": SPACE, "objectives": LIFE, "strategy": "expected_improvement"},
    "table": {"space": TABLE, "objectives": LIFE},
    "table, two objectives and a limit": {"space": TABLE, "objectives": BOTH, "constraints": LIMIT},
}


@pytest.fixture(params=SPECS, ids=lambda name: name.replace(" ", "-"))
def fresh(request):
    return Campaign(CampaignSpec(name="odd", seed=3, **SPECS[request.param]))


def told(campaign, outcomes):
    """Results for the campaign's own first candidates."""
    for outcome in outcomes:
        candidate = campaign.propose(1)[0]
        campaign = campaign.observe(candidate, {m: e for m, e in outcome.items() if m in campaign.spec.metrics})
    return campaign


def results(n, life=lambda k: 500.0, time=lambda k: 30.0, heat=lambda k: 30.0, sem=0.0):
    return [{"life": Estimate(life(k), sem), "time": Estimate(time(k), sem), "heat": Estimate(heat(k), sem)} for k in range(n)]


def assert_sound(campaign, n=2):
    """Candidates of the space, beliefs without holes; a safe campaign may wait, and any may ask a person."""
    try:
        found = campaign.propose(n)
    except NeedsPersonError:
        return []
    assert not [v for c in found for v in campaign.spec.space.violations(c)]
    beliefs = [e for belief in campaign.predict(found) for e in belief.values()]
    assert all(math.isfinite(e.mean) and math.isfinite(e.sem) for e in beliefs)
    return found


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_results_that_are_no_numbers_are_refused(bad):
    """Before they reach anything: an estimate with such a mean or error cannot be made."""
    with pytest.raises(SpecError, match="finite"):
        Estimate(bad)
    with pytest.raises(SpecError, match="sem"):
        Estimate(1.0, sem=bad)


def test_a_negative_error_is_refused():
    """A standard error is at least 0."""
    with pytest.raises(SpecError, match=">= 0"):
        Estimate(1.0, sem=-0.1)


@pytest.mark.parametrize("name", ["auto", "table"])
def test_results_from_elsewhere_are_refused(name):
    """A candidate outside the space or table is named, and why it is not in it."""
    campaign = Campaign(CampaignSpec(name="odd", **SPECS[name]))
    stranger = Candidate({"c1": 99.0, "c2": 1.0, "salt": "A"} if name == "auto" else {"c1": 99.0, "c2": 1.0})
    with pytest.raises(SpecError, match="99"):
        campaign.observe(stranger, {"life": Estimate(1.0)})


def test_all_trials_failed(fresh):
    """None of them comes again while another candidate is left."""
    failed = []
    for _ in range(4):
        found = assert_sound(fresh, 1)
        if not found:
            return
        assert found[0] not in failed
        failed += found
        fresh = fresh.fail(found[0], "cell shorted")
    assert not set(assert_sound(fresh)) & set(failed)


def test_every_row_of_a_table_failed():
    """A person is asked; nothing is made up."""
    campaign = Campaign(CampaignSpec(name="odd", **SPECS["table"]))
    for row in range(len(TABLE.rows)):
        campaign = campaign.fail(TABLE.candidate(row), "cell shorted")
    with pytest.raises(NeedsPersonError, match="no row of the table is left"):
        campaign.propose(1)


def test_one_result_only(fresh):
    """The next candidate is another one, or waits for more of the safe seeds."""
    assert_sound(told(fresh, results(1)))


def test_identical_results(fresh):
    """A flat response with no error at all: no division by a spread of zero."""
    assert assert_sound(told(fresh, results(8)))


def test_identical_results_that_are_zero(fresh):
    """Zero everywhere has neither spread nor size."""
    assert assert_sound(told(fresh, results(8, life=lambda k: 0.0, time=lambda k: 0.0, heat=lambda k: 0.0)))


def test_a_constant_objective_with_noise(fresh):
    """What varies is noise, and said to be."""
    assert assert_sound(told(fresh, results(8, life=lambda k: 500.0 + (-1) ** k, heat=lambda k: 30.0 + 0.1 * (-1) ** k, sem=2.0)))


@pytest.mark.parametrize("scale", [1e-9, 1e12])
def test_results_of_any_size(fresh, scale):
    """Farads or cycles: the unit changes nothing (limits are the spec's own, so those alone are kept)."""
    assert assert_sound(told(fresh, results(8, life=lambda k: scale * (k + 1), time=lambda k: scale * (9 - k))))


SEVERAL_METRICS = [n for n, spec in SPECS.items() if len(spec["objectives"]) + len(spec.get("constraints", ())) > 1]


@pytest.mark.parametrize("name", SEVERAL_METRICS)
def test_a_metric_that_some_tests_never_gave(name):
    """Every result is used as far as it goes."""
    campaign = told(
        Campaign(CampaignSpec(name="odd", seed=3, **SPECS[name])),
        results(7, life=lambda k: 400.0 + 10 * k, heat=lambda k: 28.0 + k),
    )
    candidate = campaign.propose(1)[0]
    last = campaign.spec.metrics[-1]
    campaign = campaign.observe(candidate, {last: Estimate(29.0)})
    assert assert_sound(campaign)
    assert last in campaign.predict([candidate])[0]


def test_replicates_that_contradict_one_another(fresh):
    """Two exact results of one candidate differ: cells do, and the surrogate learns by how much."""
    campaign = told(fresh, results(8, life=lambda k: 400.0 + 10 * k, heat=lambda k: 28.0 + 0.5 * k, time=lambda k: 40.0 - k))
    first = campaign.trials[0].candidate
    campaign = campaign.observe(first, results(1, life=lambda k: 450.0, heat=lambda k: 29.0)[0])
    assert assert_sound(campaign)
