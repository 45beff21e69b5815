"""How a test ends that did not end well, and how a person settles what nobody can know."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from adapters.replay import ReplayCycler
from flows import Lab, advance_campaign, resume_campaign, run_campaign, start_campaign
from flows.cli import app
from flows.control import settle_trial
from orchestrator.domain import Budget, RunState
from orchestrator.domain.errors import CampaignError, CyclerUnreachableError
from orchestrator.domain.trial import TrialStatus
from tests.flows.conftest import ROWS, small_spec


class BreakingCycler(ReplayCycler):
    """The first test started breaks off, for a reason given."""

    def __init__(self, cause=None, reason="it broke", lose_first_answer=False, searchable=True):
        super().__init__(ROWS, "result", noise_sd=1.0, duration_h="hours", channels=2)
        self.cause, self.reason, self.lose = cause, reason, lose_first_answer
        self.capabilities = replace(self.capabilities, searchable=searchable)

    def submit(self, request):
        """Start; the first answer may be lost."""
        ref = super().submit(request)
        if self.lose:
            self.lose = False
            raise CyclerUnreachableError("no answer")
        return ref

    def status(self, ref):
        """The first trial's first attempt ends broken."""
        status = super().status(ref)
        if self.cause and ref.key == "small/1/1" and status.state.ended:
            return replace(status, state=RunState.FAILED, reason=self.reason, cause=self.cause, results={})
        return status


@pytest.mark.parametrize(
    ("cause", "fate", "words"),
    [
        ("solver", TrialStatus.FAILED, "the equation solver failed"),
        ("infeasible", TrialStatus.ABORTED, "infeasible for this cell: the equation solver failed"),
        ("timeout", TrialStatus.UNKNOWN, "no result in time"),
    ],
)
def test_solver_failure_infeasible_step_and_timeout_are_three_fates(folder, cause, fate, words):
    """The lab's fault, the candidate's fault, and nobody knows: failed, aborted, unknown, each with its reason."""
    with Lab.open(folder, cyclers=[BreakingCycler(cause, "the equation solver failed")]) as lab:
        run_campaign(lab, small_spec(budget=Budget(trials=3)))
        first = lab.store.trials("small")[0]
    assert first.status is fate
    assert words in first.stopped_because


def test_a_timed_out_test_is_given_up_and_tested_anew(folder):
    """The campaign waits for a person; `not-started` frees the channel, and the trial runs under a new key."""
    cycler = BreakingCycler("timeout")
    with Lab.open(folder, cyclers=[cycler]) as lab:
        assert run_campaign(lab, small_spec(budget=Budget(trials=3))).status == "needs_attention"
        assert "voltloop settle small 1 not-started" in lab.store.trials("small")[0].stopped_because
        assert settle_trial(lab, "small", 1, started=False).status is TrialStatus.APPROVED
        result = resume_campaign(lab, "small")
        assert result.status == "completed"
        assert {t.status for t in result.trials} == {"completed"}
        assert lab.store.trials("small")[0].key == "small/1/2"
        assert [e.data["started"] for e in lab.store.events("small", kinds=["trial_settled"])] == [False]
    assert set(cycler.physical_starts().values()) == {1}


def test_a_test_that_a_person_has_seen_running_is_adopted(folder):
    """`started` takes the cycler's reference and follows the run; nothing is started again."""
    cycler = BreakingCycler(lose_first_answer=True, searchable=False)
    with Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=3)))
        advance_campaign(lab, "small")
        assert lab.store.trials("small")[0].status is TrialStatus.UNKNOWN
    done = CliRunner().invoke(app, ["settle", "small", "1", "started", "--lab", str(folder)])
    assert done.exit_code == 0, done.output
    assert "small trial 1: running" in done.output
    with Lab.open(folder, cyclers=[cycler]) as lab:
        assert resume_campaign(lab, "small").status == "completed"
    assert json.dumps(sorted(cycler.physical_starts().values())) == "[1, 1, 1]"


def test_only_unknown_trials_can_be_settled(folder):
    """Said in one sentence; a test that the cycler does not know cannot be said to run."""
    with Lab.open(folder, cyclers=[BreakingCycler()]) as lab:
        run_campaign(lab, small_spec(budget=Budget(trials=2)))
        with pytest.raises(CampaignError, match="trial 1 of 'small' is completed; only an unknown trial"):
            settle_trial(lab, "small", 1, started=True)
        with pytest.raises(CampaignError, match="has no trial 9"):
            settle_trial(lab, "small", 9, started=True)
