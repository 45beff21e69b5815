"""Approvals: who waits, who decided, and what the command line, the report and the artifacts say of it."""

import json

import pytest

from adapters.replay import ReplayCycler
from flows import Lab, advance_campaign, resume_campaign, start_campaign
from flows.artifacts import _progress_text
from flows.bench import Bench
from flows.cli import main
from flows.control import decide_trials, waiting_trials
from flows.person import this_person
from flows.progress import approvals
from flows.report import report_data
from flows.result import campaign_result
from flows.tick import Tick, move
from orchestrator.domain import Approval, Budget, TrialStatus
from orchestrator.domain.errors import CampaignError, RequestRefusedError
from tests.flows.conftest import ROWS, replay, small_spec

EVERY = Approval("every")


@pytest.fixture
def asking(lab):
    """A lab whose campaign has two trials that wait for a person."""
    start_campaign(lab, small_spec(approval=EVERY, budget=Budget(trials=4)))
    assert advance_campaign(lab, "small").status == "needs_attention"
    return lab


def command(folder, *words, capsys):
    """Exit code, stdout and stderr of one command."""
    import sys

    sys.argv = ["voltloop", *words, "--lab", str(folder)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(("approval", "first_wait"), [(Approval("first", first=1), [1]), (EVERY, [1, 2]), (Approval(), [])])
def test_modes_say_who_waits(lab, approval, first_wait):
    """None, the first few, or every trial waits for a person; the others run meanwhile."""
    start_campaign(lab, small_spec(approval=approval))
    advance_campaign(lab, "small")
    assert waiting_trials(lab, "small") == first_wait
    running = {trial.number for trial in lab.store.trials("small") if trial.status is TrialStatus.RUNNING}
    assert running == {1, 2} - set(first_wait)


def test_a_campaign_that_asks_every_time_ends_when_each_was_answered(asking):
    """Approve, resume, approve again: the budget is used, and every trial knows who let it run."""
    for _ in range(10):
        decide_trials(asking, "small", None, approved=True, by="ada@bench")
        if resume_campaign(asking, "small").status == "completed":
            break
    trials = campaign_result(asking, "small").trials
    assert {trial.decided_by for trial in trials} == {"ada@bench"}
    assert [trial.status for trial in trials] == ["completed"] * 4
    assert "approved by ada@bench: trial 1, 2, 3, 4" in approvals(campaign_result(asking, "small"))


def test_rejected_candidates_are_not_proposed_again_and_are_no_failures(asking):
    """A person may say no as often as they like: no row comes twice, and nobody is told that tests fail."""
    for _ in range(3):
        decide_trials(asking, "small", None, approved=False, reason="not this one")
        advance_campaign(asking, "small")
    trials = asking.store.trials("small")
    assert len(trials) == 8
    assert len({trial.candidate.id for trial in trials}) == 8
    assert "wait for approval" in asking.store.campaign("small").status_reason


def test_a_tick_leaves_a_person_s_word_alone(asking):
    """The tick read the trial as proposed; a person was quicker: what they said stands, and the tick goes on."""
    bench = Bench(asking, asking.store.campaign("small"), asking.cyclers_for(asking.store.campaign("small").spec))
    tick = Tick(bench, {trial.number: trial for trial in asking.store.trials("small")}, before=2)
    decide_trials(asking, "small", [1], approved=False, by="ada@bench")
    assert move(tick, tick.trials[1], TrialStatus.APPROVED, None).decided_by == "ada@bench"
    assert asking.store.trial("small", 1).status is TrialStatus.CANCELLED


def test_nobody_waits_nothing_to_decide(lab):
    """All of none is refused in words."""
    start_campaign(lab, small_spec())
    advance_campaign(lab, "small")
    with pytest.raises(CampaignError, match="no trial of 'small' waits"):
        decide_trials(lab, "small", None, approved=True)


def test_report_and_artifact_show_who_waits_and_who_decided(asking):
    """The artifact lists waiting candidates and where to answer; the report's events name the person and the reason."""
    shown = _progress_text(campaign_result(asking, "small"), False)
    waiting = asking.store.trials("small")[:2]
    assert "## Waiting for approval" in shown
    assert all(f"| {trial.number} | {trial.candidate.parameters['x']:.4g} |" in shown for trial in waiting)
    assert "Deployments > decide-trials" in shown
    assert "`voltloop approve small 1 2`" in shown
    decide_trials(asking, "small", [1], approved=True, by="ada@bench", reason="sound")
    decide_trials(asking, "small", [2], approved=False, by="bob@bench", reason="too hot")
    told = {(kind, number): text for _, kind, number, text in report_data(asking, "small").events}
    assert told["trial_approved", 1] == "by: ada@bench; sound"
    assert "too hot" in told["trial_cancelled", 2]
    assert "## Waiting" not in _progress_text(campaign_result(asking, "small"), False)


def test_the_command_line_records_the_user_and_explains_itself(folder, capsys):
    """Default name, given name, reason, all at once; saying it twice; a number that does not wait changes nothing."""
    with Lab.open(folder, cyclers=[replay()]) as lab:
        start_campaign(lab, small_spec(approval=EVERY))
        advance_campaign(lab, "small")
    code, out, _ = command(folder, "status", "small", capsys=capsys)
    assert code == 0
    assert f"waiting for approval: trial 1, 2; `voltloop approve small 1 2 --lab {folder}`" in out
    assert command(folder, "approve", "small", capsys=capsys)[0] == 2
    assert command(folder, "approve", "small", "1", "9", capsys=capsys)[0] == 2
    assert command(folder, "approve", "small", "1", capsys=capsys)[:2] == (0, "small: approved 1\n")
    code, out, _ = command(folder, "approve", "small", "1", "--by", "bob@bench", capsys=capsys)
    assert (code, out) == (0, f"small: trial 1 was approved before, by {this_person()}; it is approved\n")
    code, out, err = command(folder, "reject", "small", "--all", "--by", "bob@bench", "--reason", "too hot", capsys=capsys)
    assert (code, out, err) == (0, "small: rejected 2\n", "")
    code, out, _ = command(folder, "status", "small", "--json", capsys=capsys)
    trials = json.loads(out.splitlines()[-1])["trials"]
    assert [(t["decided_by"], t["stopped_because"]) for t in trials] == [
        (this_person(), None), ("bob@bench", "rejected by bob@bench: too hot")
    ]  # fmt: skip
    code, _, err = command(folder, "reject", "small", "1", capsys=capsys)
    assert code == 2
    assert "trial 1 is approved, approved by" in err


def test_who_asked_for_a_stop_is_recorded_too(folder, capsys):
    """By default the user of the command line."""
    with Lab.open(folder, cyclers=[replay()]) as lab:
        start_campaign(lab, small_spec())
        advance_campaign(lab, "small")
    assert command(folder, "stop", "small", "--reason", "enough", "--trial", "1", capsys=capsys)[0] == 0
    assert command(folder, "stop", "small", "--reason", "enough", "--by", "bob@bench", capsys=capsys)[0] == 0
    with Lab.open(folder) as lab:
        assert [event.data["by"] for event in lab.store.events("small", kinds=["stop_requested"])] == [this_person(), "bob@bench"]


class Refusing(ReplayCycler):
    """Starts nothing."""

    def submit(self, request):
        """No."""
        raise RequestRefusedError("the chamber door is open")


def test_approving_what_comes_next_is_no_look_at_what_failed(folder):
    """Four failures in a row are put before a person however many approvals came between; only going on says they were seen."""
    with Lab.open(folder, cyclers=[Refusing(ROWS, "result", channels=2)]) as lab:
        start_campaign(lab, small_spec(approval=EVERY))
        for _ in range(6):
            advance_campaign(lab, "small")
            if waiting_trials(lab, "small"):
                decide_trials(lab, "small", waiting_trials(lab, "small")[:1], approved=True)
        assert "the last 4 trials all failed" in lab.store.campaign("small").status_reason
        assert len([t for t in lab.store.trials("small") if t.status.ended]) == 4
