"""Candidates chosen ahead: a freed channel waits for nobody, and what is no longer safe is not started."""

import pytest

from adapters.replay import ReplayCycler
from flows import Lab, advance_campaign, run_campaign, start_campaign
from flows.control import decide_trials
from orchestrator import Campaign, Estimate
from orchestrator.domain import Approval, Budget, CandidateTable, Objective, OutcomeConstraint
from orchestrator.domain.trial import Trial, TrialStatus
from orchestrator.store import NewTrial
from tests.flows.conftest import ROWS, small_spec

HOT = tuple({**row, "heat": 20.0 + 4.0 * row["x"]} for row in ROWS)
SAFE = {
    "space": CandidateTable(HOT, ("x",)),
    "constraints": (OutcomeConstraint("heat", upper=50.0, safe=True),),
    "safe_seed": ({"x": 0.0}, {"x": 1.0}),
}


@pytest.fixture
def hot_lab(folder):
    cycler = ReplayCycler(HOT, {"result": "result", "heat": "heat"}, noise_sd=0.1, duration_h="hours", channels=2)
    with Lab.open(folder, cyclers=[cycler]) as opened:
        yield opened


def statuses(lab):
    return [trial.status.value for trial in lab.store.trials("small")]


def test_candidates_are_ready_while_channels_are_busy(lab):
    """Two channels, two ahead; the channel that comes free starts the older one, and one more is chosen."""
    start_campaign(lab, small_spec(prefetch=2))
    advance_campaign(lab, "small")
    assert statuses(lab) == ["running", "running", "approved", "approved"]
    report = advance_campaign(lab, "small")
    assert statuses(lab).count("completed") == 1
    assert lab.store.trials("small")[2].status is TrialStatus.RUNNING
    assert len(report.trials) == 5


def test_the_budget_holds_with_candidates_ahead(lab):
    """Eight trials are eight trials, each run once."""
    result = run_campaign(lab, small_spec(prefetch=5))
    assert (result.status, [trial.status for trial in result.trials]) == ("completed", ["completed"] * 8)


def test_what_waited_and_is_no_longer_safe_is_withdrawn(hot_lab):
    """A candidate is approved after a test of another has shown that it is too hot: it is cancelled, and says why."""
    start_campaign(hot_lab, small_spec(**SAFE, approval=Approval("every"), budget=Budget(trials=6)))
    for _ in range(2):
        advance_campaign(hot_lab, "small")
        waiting = [t.number for t in hot_lab.store.trials("small") if t.status is TrialStatus.PROPOSED]
        decide_trials(hot_lab, "small", waiting, approved=True)
    far = NewTrial(SAFE["space"].candidate(11), "safe improvement", TrialStatus.APPROVED)
    number = hot_lab.store.add_trials("small", [far], lab_time_h=0.0)[0].number
    for _ in range(4):
        advance_campaign(hot_lab, "small")
    trial = next(t for t in hot_lab.store.trials("small") if t.number == number)
    assert trial.status is TrialStatus.CANCELLED
    assert "not safe with confidence" in trial.stopped_because


def test_a_campaign_says_which_candidates_are_safe():
    """By what is known now; the spec's own seeds are, whatever was measured."""
    spec = small_spec(**SAFE)
    table = spec.space
    outcomes = [{"result": Estimate(1.0), "heat": Estimate(20.0 + 4.0 * row, sem=0.1)} for row in range(4)]
    trials = [Trial(row + 1, table.candidate(row), TrialStatus.COMPLETED, outcome=o) for row, o in enumerate(outcomes)]
    campaign = Campaign(spec, tuple(trials))
    assert campaign.safe([table.candidate(row) for row in (0, 2, 11)]) == [True, True, False]
    assert Campaign(spec).safe([table.candidate(row) for row in (1, 2)]) == [True, False]
    assert Campaign(small_spec(objectives=(Objective("result", "maximize"),))).safe([small_spec().space.candidate(3)]) == [True]
