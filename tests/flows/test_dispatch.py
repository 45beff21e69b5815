"""Dispatch where other copies of the lab, or stalled processes, have been at the cycler too."""

import pytest

from adapters.replay import ReplayCycler
from flows import Lab, advance_campaign, start_campaign
from flows.bench import Bench
from flows.control import request_stop, resume_campaign, settle_trial
from flows.dispatch import close_intent, reconcile_dispatch
from orchestrator.domain import Approval, Budget, RunState, RunStatus
from orchestrator.domain.clock import AcceleratedClock
from orchestrator.domain.errors import CampaignError, KeyRevokedError
from orchestrator.domain.trial import TrialStatus
from orchestrator.representation.requests import run_request
from orchestrator.store import NewTrial, StaleFenceError, TrialStore
from tests.flows.conftest import ROWS, small_spec


def submitted_elsewhere(lab, key, x, channel="1"):
    """A test of a row, started by a copy of this lab."""
    spec = small_spec()
    (cycler,) = lab.cyclers_for(spec).values()
    cycler.submit(run_request(spec, spec.space.candidate(x), key=key, channel=channel))
    return cycler


def test_a_run_that_nobody_here_can_have_started_is_not_adopted(lab):
    """After an older backup was restored keys come up again: another candidate's result must not become this one's."""
    start_campaign(lab, small_spec(budget=Budget(trials=1)))
    spec = small_spec()
    lab.store.add_trials("small", [NewTrial(spec.space.candidate(3), "person", TrialStatus.APPROVED)], lab_time_h=0.0)
    cycler = submitted_elsewhere(lab, "small/1/1", 7, "2")
    advance_campaign(lab, "small")
    assert "small/1/1 is another test's key" in lab.store.events("small", kinds=["dispatch_withdrawn"])[0].data["reason"]
    assert resume_campaign(lab, "small").status == "completed"
    trial = lab.store.trial("small", 1)
    assert (trial.key, trial.status) == ("small/1/2", TrialStatus.COMPLETED)
    assert trial.outcome["result"].mean == pytest.approx(-6.0, abs=5.0)
    assert cycler.physical_starts() == {"small/1/1": 1, "small/1/2": 1}


def test_the_same_test_of_a_copy_is_adopted(lab):
    """The restored lab comes to the same candidate: its test runs already, on the same channel."""
    start_campaign(lab, small_spec(budget=Budget(trials=1)))
    spec = small_spec()
    lab.store.add_trials("small", [NewTrial(spec.space.candidate(3), "person", TrialStatus.APPROVED)], lab_time_h=0.0)
    cycler = submitted_elsewhere(lab, "small/1/1", 3)
    assert resume_campaign(lab, "small").status == "completed"
    assert cycler.physical_starts() == {"small/1/1": 1}


@pytest.mark.parametrize("settle", [reconcile_dispatch, lambda bench, trial: close_intent(bench, trial, "amended")])
def test_an_intent_left_by_a_killed_process_adopts_no_other_candidate(lab, settle):
    """It died between the intent and the question, so it cannot have started what the cycler knows."""
    spec = small_spec()
    start_campaign(lab, spec)
    lab.store.add_trials("small", [NewTrial(spec.space.candidate(3), "person", TrialStatus.APPROVED)], lab_time_h=0.0)
    submitted_elsewhere(lab, "small/1/1", 7)
    intent = lab.store.begin_dispatch("small", 1, cycler="replay", channel="1", lab_time_h=0.0)
    bench = Bench(lab, lab.store.campaign("small"), lab.cyclers_for(spec))
    assert settle(bench, intent).status is TrialStatus.APPROVED
    assert "small/1/1 is another test's key" in lab.store.events("small", kinds=["dispatch_withdrawn"])[0].data["reason"]


def test_an_intent_that_was_confirmed_adopts_its_run(lab):
    """The process died after the cycler was asked to start it."""
    spec = small_spec()
    start_campaign(lab, spec)
    lab.store.add_trials("small", [NewTrial(spec.space.candidate(3), "person", TrialStatus.APPROVED)], lab_time_h=0.0)
    intent = lab.store.begin_dispatch("small", 1, cycler="replay", channel="1", lab_time_h=0.0)
    lab.store.confirm_intent("small", 1, fence=intent.fence)
    submitted_elsewhere(lab, "small/1/1", 3)
    bench = Bench(lab, lab.store.campaign("small"), lab.cyclers_for(spec))
    assert reconcile_dispatch(bench, intent).status is TrialStatus.RUNNING


def unknown_trial(lab):
    """Trial 1, whose start was never confirmed."""
    spec = small_spec()
    start_campaign(lab, spec)
    lab.store.add_trials("small", [NewTrial(spec.space.candidate(3), "person", TrialStatus.APPROVED)], lab_time_h=0.0)
    lab.store.begin_dispatch("small", 1, cycler="replay", channel="1", lab_time_h=0.0)
    lab.store.park_unknown("small", 1, reason="the line was down", lab_time_h=0.0)


def test_not_started_is_refused_where_the_cycler_knows_better(lab):
    """A person's mistake would leave a test running that nobody follows."""
    cycler = submitted_elsewhere(lab, "small/1/1", 3)
    unknown_trial(lab)
    with pytest.raises(CampaignError, match="'replay' knows the test 'small/1/1': it was started"):
        settle_trial(lab, "small", 1, started=False)
    assert settle_trial(lab, "small", 1, started=True).status is TrialStatus.RUNNING
    assert cycler.physical_starts()["small/1/1"] == 1


def test_another_copys_test_is_not_taken_for_the_one_that_a_person_saw(lab):
    """The key runs on another channel than was held for it: following it would stop the wrong cell."""
    submitted_elsewhere(lab, "small/1/1", 3, "2")
    unknown_trial(lab)
    with pytest.raises(CampaignError, match="on channel 2 of 'replay' is another test's key"):
        settle_trial(lab, "small", 1, started=True)
    assert settle_trial(lab, "small", 1, started=False).status is TrialStatus.APPROVED
    assert resume_campaign(lab, "small").status == "completed"


def test_a_word_about_another_attempt_is_refused(lab):
    """Whoever looked yesterday must not give up the test that a colleague had started anew since."""
    unknown_trial(lab)
    with pytest.raises(CampaignError, match="by now unknown as 'small/1/1'"):
        settle_trial(lab, "small", 1, started=False, key="small/1/7")
    assert settle_trial(lab, "small", 1, started=False, key="small/1/1").status is TrialStatus.APPROVED


def test_settling_as_not_started_revokes_the_key(lab):
    """What a stalled process submits after that starts nothing."""
    unknown_trial(lab)
    assert settle_trial(lab, "small", 1, started=False).status is TrialStatus.APPROVED
    with pytest.raises(KeyRevokedError):
        submitted_elsewhere(lab, "small/1/1", 3)


class Forgetful(ReplayCycler):
    """Knows nothing of its runs for a while, as a device that starts anew."""

    forgets = False

    def status(self, ref):
        """Unknown, while it is forgetting."""
        return RunStatus(RunState.UNKNOWN) if self.forgets else super().status(ref)


def test_a_run_that_its_cycler_knows_again_is_taken_back(folder):
    """One answer of a device that has just started is no reason to wait for a person for ever, nor to test twice."""
    cycler = Forgetful(ROWS, "result", duration_h="hours", channels=2)
    with Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=2)))
        advance_campaign(lab, "small")
        cycler.forgets = True
        assert advance_campaign(lab, "small").status == "needs_attention"
        cycler.forgets = False
        with pytest.raises(CampaignError, match="knows the test 'small/1/1'"):
            settle_trial(lab, "small", 1, started=False)
        assert advance_campaign(lab, "small").status == "running"  # nobody said anything: the cycler did
        assert resume_campaign(lab, "small").status == "completed"
        assert set(cycler.physical_starts().values()) == {1}


def test_an_answer_given_while_a_tick_was_at_work_is_heard(lab, monkeypatch):
    """The tick asks by what it has seen; what a person said meanwhile wakes the campaign at the next one."""
    start_campaign(lab, small_spec(approval=Approval("every"), budget=Budget(trials=2)))
    ask, other = TrialStore.ask_person, lab.store

    def asked_too_late(store, name, question, **further):
        monkeypatch.setattr(TrialStore, "ask_person", ask)
        other.decide("small", [1, 2], approved=True, by="ada", lab_time_h=0.0)
        return ask(store, name, question, **further)

    monkeypatch.setattr(TrialStore, "ask_person", asked_too_late)
    assert advance_campaign(lab, "small").status == "needs_attention"
    assert advance_campaign(lab, "small").status == "running"
    assert resume_campaign(lab, "small").status == "completed"


def test_a_late_wake_up_undoes_no_stop(lab):
    """A person who answers a question of a campaign that was stopped meanwhile starts nothing."""
    start_campaign(lab, small_spec(approval=Approval("every")))
    advance_campaign(lab, "small")
    request_stop(lab, "small", None, "smells burnt")
    assert resume_campaign(lab, "small").status == "stopped"
    assert not lab.store.wake("small", by="late", lab_time_h=0.0)
    assert lab.store.campaign("small").status == "stopped"


def test_two_people_settle_the_same_attempt(lab):
    """The second one comes after the next attempt has begun on another channel: it is refused, and nothing is started twice."""
    unknown_trial(lab)
    late = lab.store.trial("small", 1)
    settle_trial(lab, "small", 1, started=False)
    lab.store.quarantine("replay", "1", reason="leaks", lab_time_h=0.0)
    advance_campaign(lab, "small")
    assert lab.store.trial("small", 1).key == "small/1/2"
    with pytest.raises(StaleFenceError):
        lab.store.withdraw_dispatch("small", 1, fence=late.fence, reason="ada, late", lab_time_h=0.0)


def test_a_stop_that_comes_between_intent_and_submit_is_kept(lab, monkeypatch):
    """The intent is looked at once more right before the cycler is asked: nothing is started."""
    start_campaign(lab, small_spec())
    begin = TrialStore.begin_dispatch

    def stopped_meanwhile(store, name, number, **place):
        intent = begin(store, name, number, **place)
        lab.store.request_stop(name, number, reason="smells", by="ada", lab_time_h=0.0)
        return intent

    monkeypatch.setattr(TrialStore, "begin_dispatch", stopped_meanwhile)
    advance_campaign(lab, "small")
    trial = lab.store.trial("small", 1)
    assert (trial.status, trial.stopped_because) == (TrialStatus.CANCELLED, "smells")
    (cycler,) = lab.cyclers_for(small_spec()).values()
    assert cycler.physical_starts() == {}


class Deaf(ReplayCycler):
    """Takes orders to stop, and goes on."""

    def stop(self, ref, reason):
        """Nothing happens."""


def test_a_test_that_does_not_stop_is_put_before_a_person(folder):
    """A stop is done when the cycler says so; until then it is ordered again at every tick, and then somebody must go there."""
    clock_s = [0.0]
    clock = AcceleratedClock(1.0, wall=lambda: clock_s[0])
    with Lab.open(folder, cyclers=[Deaf(ROWS, "result", duration_h="hours", channels=2)], clock=clock) as lab:
        start_campaign(lab, small_spec())
        advance_campaign(lab, "small")
        request_stop(lab, "small", 1, "too hot")
        for _ in range(3):
            clock_s[0] += 250.0
            report = advance_campaign(lab, "small")
        assert report.status == "needs_attention"
        said = lab.store.campaign("small").status_reason
        assert "trial 1 is to stop since 2000-01-01 00:00 UTC (too hot) and replay says that it still runs" in said
        assert "voltloop estop --cycler replay" in said
        assert lab.store.trial("small", 1).status is TrialStatus.RUNNING
        clock_s[0] += 250.0
        advance_campaign(lab, "small")
        assert len(lab.store.events("small", kinds=["campaign_needs_attention"])) == 1  # the same question is asked once
