"""Candidates chosen ahead: a freed channel waits for nobody, and what is no longer safe is not started."""

import pytest

from adapters.replay import ReplayCycler
from flows import Lab, advance_campaign, run_campaign, start_campaign
from flows.control import decide_trials
from orchestrator import Campaign, Estimate
from orchestrator.domain import Approval, Budget, CandidateTable, Objective, OutcomeConstraint
from orchestrator.domain.errors import RequestRefusedError
from orchestrator.domain.trial import SAFE_IMPROVEMENT, Trial, TrialStatus
from orchestrator.proposal.history import read_history
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
    far = NewTrial(SAFE["space"].candidate(11), SAFE_IMPROVEMENT, TrialStatus.APPROVED)
    number = hot_lab.store.add_trials("small", [far], lab_time_h=0.0)[0].number
    for _ in range(4):
        advance_campaign(hot_lab, "small")
    trial = next(t for t in hot_lab.store.trials("small") if t.number == number)
    assert trial.status is TrialStatus.CANCELLED
    assert "not safe with confidence" in trial.stopped_because


def waiting_row(lab, row):
    """A row that the safe proposer chose when less was known."""
    new = NewTrial(SAFE["space"].candidate(row), SAFE_IMPROVEMENT, TrialStatus.APPROVED)
    return lab.store.add_trials("small", [new], lab_time_h=0.0)[0].number


def test_what_was_withdrawn_is_no_failure_and_may_come_back(hot_lab):
    """Four at once are no four failures in a row, and bar nothing."""
    start_campaign(hot_lab, small_spec(**SAFE, budget=Budget(trials=8)))
    advance_campaign(hot_lab, "small")
    numbers = [waiting_row(hot_lab, row) for row in (8, 9, 10, 11)]
    for _ in range(3):
        advance_campaign(hot_lab, "small")
    trials = hot_lab.store.trials("small")
    assert [t.cause for t in trials if t.number in numbers] == ["withdrawn"] * 4
    assert hot_lab.store.campaign("small").status == "running"
    history = read_history(small_spec(**SAFE), trials)
    assert not history.failed


def test_an_intent_that_was_never_heard_of_is_looked_at_again(hot_lab):
    """The cycler was silent while others' results came in: what is unsafe by then is not submitted when it answers."""
    start_campaign(hot_lab, small_spec(**SAFE, approval=Approval("every")))
    advance_campaign(hot_lab, "small")
    decide_trials(hot_lab, "small", [1, 2], approved=True)
    for _ in range(3):
        advance_campaign(hot_lab, "small")
    number = waiting_row(hot_lab, 11)
    cycler, channel = hot_lab.store.free_channels()[0]
    assert hot_lab.store.begin_dispatch("small", number, cycler=cycler, channel=channel, lab_time_h=hot_lab.now_h())
    advance_campaign(hot_lab, "small")
    trial = next(t for t in hot_lab.store.trials("small") if t.number == number)
    assert (trial.status, trial.cause) == (TrialStatus.CANCELLED, "withdrawn")


class Refusing(ReplayCycler):
    """Starts nothing, one channel."""

    def __init__(self):
        super().__init__(ROWS, "result", duration_h="hours", channels=1)

    def submit(self, request):
        """Refuse."""
        raise RequestRefusedError("the chamber door is open")


def test_a_seed_chosen_ahead_is_not_tested_again_once_it_is_refuted(folder):
    """The first seed proves too hot while its replicate is ready: it is withdrawn, and in the end a person is asked."""
    rows = [{**row, "heat": 60.0} for row in ROWS]
    cycler = ReplayCycler(rows, {"result": "result", "heat": "heat"}, noise_sd=0.1, duration_h="hours", channels=2)
    with Lab.open(folder, cyclers=[cycler]) as lab:
        run_campaign(lab, small_spec(**SAFE, prefetch=2))
        assert lab.store.campaign("small").status == "needs_attention"
        trials = lab.store.trials("small")
        assert trials[2].candidate == trials[0].candidate
        assert (trials[2].status, trials[2].cause) == (TrialStatus.CANCELLED, "withdrawn")


def test_failures_in_a_row_stop_what_was_chosen_ahead(folder):
    """A person is asked after four, however many candidates are ready."""
    with Lab.open(folder, cyclers=[Refusing()]) as lab:
        assert run_campaign(lab, small_spec(prefetch=3)).status == "needs_attention"
        assert [trial.status.value for trial in lab.store.trials("small") if trial.status.ended] == ["cancelled"] * 4


def test_a_campaign_says_which_candidates_are_safe():
    """By what is known now; a seed of the spec is, unless its own result is beyond the limit."""
    spec = small_spec(**SAFE)
    table = spec.space
    outcomes = [{"result": Estimate(1.0), "heat": Estimate(20.0 + 4.0 * row, sem=0.1)} for row in range(4)]
    trials = [Trial(row + 1, table.candidate(row), TrialStatus.COMPLETED, outcome=o) for row, o in enumerate(outcomes)]
    campaign = Campaign(spec, tuple(trials))
    assert campaign.safe([table.candidate(row) for row in (0, 2, 11)]) == [True, True, False]
    assert Campaign(spec).safe([table.candidate(row) for row in (1, 2)]) == [True, False]
    hot = Trial(1, table.candidate(1), TrialStatus.COMPLETED, outcome={"heat": Estimate(60.0, sem=1.0)})
    refuted = Campaign(spec, (hot,))
    assert refuted.safe([table.candidate(row) for row in (0, 1)]) == [True, False]
    assert table.candidate(1) not in refuted.propose(3)
    assert Campaign(small_spec(objectives=(Objective("result", "maximize"),))).safe([small_spec().space.candidate(3)]) == [True]
