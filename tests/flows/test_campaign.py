"""The tick and the loop on a replayed lab."""

import json
from dataclasses import replace

import pytest

from adapters.replay import ReplayCycler
from flows import Lab, advance_campaign, resume_campaign, run_campaign, start_campaign
from flows.control import decide_trials, request_stop
from orchestrator.domain import Approval, Budget, Candidate, Estimate, Objective, RunState, SafetyLimits, SpecError
from orchestrator.domain.errors import (
    CampaignError,
    ChannelBusyError,
    CyclerUnreachableError,
    RequestRefusedError,
)
from orchestrator.domain.trial import TrialStatus
from orchestrator.store import NewTrial
from tests.flows.conftest import ROWS, replay, small_spec


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class FaultyCycler(ReplayCycler):
    """A replay cycler on which things go wrong on command; the physical start itself is as real as the replay's."""

    def __init__(self, *, before_submit=None, after_submit=None, on_find=None, searchable=True, limits=None, **options):
        super().__init__(ROWS, "result", noise_sd=1.0, duration_h="hours", channels=2, **options)
        self.before_submit, self.after_submit, self.on_find = before_submit, after_submit, on_find
        self.capabilities = replace(
            self.capabilities, searchable=searchable, limits=self.capabilities.limits if limits is None else limits
        )

    def submit(self, request):
        """Fail before or after the physical start, if told to."""
        self._fail("before_submit")
        ref = super().submit(request)
        self._fail("after_submit")
        return ref

    def find(self, key):
        """Fail to answer, if told to."""
        self._fail("on_find")
        return super().find(key)

    def _fail(self, where):
        error = getattr(self, where)
        if error is not None:
            setattr(self, where, None)
            raise error


def test_a_campaign_runs_to_its_end_and_gives_the_json_of_the_contract(lab):
    """Every field of the contract is there, the budget is used, the best rows are found."""
    result = run_campaign(lab, small_spec())
    plain = json.loads(json.dumps(result.to_json()))
    wanted = "campaign status spec_version trials front hypervolume recommendation limits_violated channel_utilisation"
    assert set(plain) == {*wanted.split(), "lab_time_h", "wall_s", "report"}
    named = {"number", "status", "candidate", "channel", "outcome", "stopped_because"}
    assert set(plain["trials"][0]) == named | {"decided_by", "flag"}
    assert set(plain["trials"][0]["outcome"]["result"]) == {"mean", "sem", "source", "unit"}
    assert set(plain["recommendation"]) == {"trial", "candidate", "expected", "preference"}
    assert plain["status"] == "completed"
    assert [t["number"] for t in plain["trials"]] == list(range(1, 9))
    assert {t["status"] for t in plain["trials"]} == {"completed"}
    assert len(plain["hypervolume"]) == 8
    assert plain["hypervolume"] == sorted(plain["hypervolume"])
    assert plain["recommendation"]["candidate"]["x"] in (5.0, 6.0, 7.0, 8.0, 9.0)


def test_a_freed_channel_gets_its_next_candidate_at_once(lab):
    """No batch barrier: with durations of 5 to 9 hours both channels stay busy until the last tests."""
    result = run_campaign(lab, small_spec(budget=Budget(trials=12)))
    trials = lab.store.trials("small")
    ends = sorted(t.ended_h for t in trials)
    starts = sorted(t.started_h for t in trials)
    assert starts[2:] == ends[: len(starts) - 2]
    assert result.channel_utilisation > 0.85


@pytest.mark.parametrize("moment", ["before_submit", "after_submit", "on_find"])
def test_a_process_killed_in_mid_dispatch_starts_nothing_twice(folder, moment):
    """Between any two steps of dispatch a kill leaves an intent that the next tick finishes or adopts."""
    with Lab.open(folder, cyclers=[FaultyCycler(**{moment: Killed()})]) as lab:
        start_campaign(lab, small_spec())
        with pytest.raises(Killed):
            advance_campaign(lab, "small")
    cycler = replay()
    with Lab.open(folder, cyclers=[cycler]) as lab:
        assert lab.store.trials("small")[0].status is TrialStatus.DISPATCHING
        result = resume_campaign(lab, "small")
    assert result.status == "completed"
    assert set(cycler.physical_starts().values()) == {1}
    assert len(cycler.physical_starts()) == 8


def test_a_result_taken_in_twice_counts_once(lab, monkeypatch):
    """Killed after the store has the outcome but before anything else: the next tick finds it done."""
    start_campaign(lab, small_spec(budget=Budget(trials=2)))
    advance_campaign(lab, "small")
    finish = lab.store.finish
    monkeypatch.setattr(lab.store, "finish", lambda *a, **k: (finish(*a, **k), (_ for _ in ()).throw(Killed()))[0])
    with pytest.raises(Killed):
        advance_campaign(lab, "small")
    monkeypatch.undo()
    assert resume_campaign(lab, "small").hypervolume.__len__() == 2


def test_no_answer_is_not_failure(folder):
    """An acknowledgement lost on the way leaves the trial in dispatch; the next tick asks and adopts the running test."""
    cycler = FaultyCycler(after_submit=CyclerUnreachableError("no answer in 30 s"))
    with Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, small_spec())
        advance_campaign(lab, "small")
        assert lab.store.trials("small")[0].status is TrialStatus.DISPATCHING
        assert resume_campaign(lab, "small").status == "completed"
    assert set(cycler.physical_starts().values()) == {1}


def test_a_cycler_that_cannot_be_searched_parks_the_trial_for_a_person(folder):
    """Nobody can know whether it runs: the trial is unknown, its channel stays held, and a person is asked."""
    cycler = FaultyCycler(after_submit=CyclerUnreachableError("no answer"), searchable=False)
    with Lab.open(folder, cyclers=[cycler]) as lab:
        result = run_campaign(lab, small_spec(budget=Budget(trials=3)))
        assert result.status == "needs_attention"
        assert lab.store.trials("small")[0].status is TrialStatus.UNKNOWN
        assert [c.state for c in lab.store.channels()].count("held") == 1
        assert "a person must look" in lab.store.campaign("small").status_reason


def test_a_channel_busy_with_a_stranger_is_quarantined_and_its_trial_goes_elsewhere(folder):
    """The lab never forces a test onto a channel that the device says is taken."""
    cycler = FaultyCycler(before_submit=ChannelBusyError("channel 1 is busy with somebody's test"))
    with Lab.open(folder, cyclers=[cycler]) as lab:
        result = run_campaign(lab, small_spec(budget=Budget(trials=4)))
        assert result.status == "completed"
        assert [(c.name, c.state) for c in lab.store.channels()] == [("1", "quarantined"), ("2", "free")]


def test_a_refused_request_cancels_its_trial_with_the_reason(folder):
    """The cycler's words are kept; the other trials go on."""
    cycler = FaultyCycler(before_submit=RequestRefusedError("no such plate"))
    with Lab.open(folder, cyclers=[cycler]) as lab:
        result = run_campaign(lab, small_spec(budget=Budget(trials=3)))
        assert result.status == "completed"
        cancelled = [t for t in result.trials if t.status == "cancelled"]
        assert [t.stopped_because for t in cancelled] == ["refused by replay: no such plate"]


def test_four_failures_in_a_row_ask_for_a_person_and_resume_is_their_word(folder):
    """Cells cost money: the campaign waits, and goes on when told to."""

    class Refusing(FaultyCycler):
        def submit(self, request):
            raise RequestRefusedError("the chamber door is open")

    with Lab.open(folder, cyclers=[Refusing()]) as lab:
        result = run_campaign(lab, small_spec())
        assert result.status == "needs_attention"
        assert "the chamber door is open" in lab.store.campaign("small").status_reason
    with Lab.open(folder, cyclers=[replay()]) as lab:
        assert resume_campaign(lab, "small").status == "completed"


def test_safety_is_checked_again_at_dispatch(folder):
    """A trial approved earlier is not started on a cycler that cannot enforce the spec's limits."""
    spec = small_spec(safety_limits=SafetyLimits(max_temperature_degC=50.0))
    with Lab.open(folder, cyclers=[replay()]) as lab:
        start_campaign(lab, spec)
        lab.store.add_trials("small", [NewTrial(spec.space.candidate(3), "test", status=TrialStatus.APPROVED)], lab_time_h=0.0)
    weak = FaultyCycler(limits=frozenset({"max_voltage_V"}))
    with Lab.open(folder, cyclers=[weak]) as lab:
        advance_campaign(lab, "small")
        trial = lab.store.trials("small")[0]
        assert trial.status is TrialStatus.CANCELLED
        assert "cannot enforce this limit itself" in trial.stopped_because
    assert weak.physical_starts() == {}


def test_a_tick_that_finds_the_lock_held_leaves(lab):
    """Two ticks at once do the work of one."""
    start_campaign(lab, small_spec())
    with lab.store.campaign_lock("small", "another") as fence:
        assert fence is not None
        assert advance_campaign(lab, "small").skipped
    assert lab.store.trials("small") == []


def test_stop_is_carried_out_by_the_next_tick(lab):
    """Running tests are stopped on the cycler, waiting ones withdrawn, the reason is kept."""
    start_campaign(lab, small_spec())
    advance_campaign(lab, "small")
    request_stop(lab, "small", None, "the chamber is needed")
    result = resume_campaign(lab, "small")
    assert result.status == "stopped"
    assert {t.status for t in result.trials} <= {"early_stopped", "completed", "cancelled"}
    assert any(t.stopped_because == "the chamber is needed" for t in result.trials)
    assert {c.state for c in lab.store.channels()} == {"free"}


def test_one_trial_can_be_stopped_alone(lab):
    """The others go on and the budget is used up."""
    start_campaign(lab, small_spec())
    advance_campaign(lab, "small")
    request_stop(lab, "small", 1, "cell leaks")
    result = resume_campaign(lab, "small")
    assert result.status == "completed"
    assert [t.status for t in result.trials].count("early_stopped") <= 1
    assert result.trials[0].stopped_because in ("cell leaks", None)


def test_proposals_wait_for_a_person_where_the_spec_says_so(lab):
    """Nothing is started before it is approved; rejected trials never are."""
    result = run_campaign(lab, small_spec(approval=Approval("first", first=2), budget=Budget(trials=4)))
    assert result.status == "needs_attention"
    assert [t.status for t in result.trials] == ["proposed", "proposed"]
    decide_trials(lab, "small", [1], approved=True)
    decide_trials(lab, "small", [2], approved=False)
    result = resume_campaign(lab, "small")
    assert result.status == "completed"
    assert [t.status for t in result.trials].count("cancelled") == 1
    with pytest.raises(CampaignError, match="trial 1 is completed, approved by"):
        decide_trials(lab, "small", [1], approved=False)


def test_channel_hours_are_a_budget(lab):
    """When they are used nothing new is started; what runs is stopped no earlier than its end."""
    result = run_campaign(lab, small_spec(budget=Budget(trials=12, channel_hours=20.0)))
    assert result.status == "completed"
    assert len([t for t in result.trials if t.status == "completed"]) < 12
    assert "channel-hours are used" in lab.store.campaign("small").status_reason


def test_told_results_are_learned_from(lab):
    """A historical result is a completed trial that held no channel."""
    start_campaign(lab, small_spec())
    lab.store.tell("small", Candidate({"x": 7.0}, "row7"), {"result": Estimate(10.0)}, lab_time_h=0.0)
    result = resume_campaign(lab, "small")
    assert result.trials[0].channel is None
    assert result.trials[0].status == "completed"


def test_what_a_cycler_cannot_give_is_refused_before_anything_is_written(lab):
    """An objective that nothing produces is a fault of the spec."""
    with pytest.raises(SpecError, match=r"nothing produces the metric 'glory'"):
        run_campaign(lab, small_spec(objectives=(Objective("glory", "maximize"),)))
    assert lab.store.campaigns() == []


def test_the_same_seed_gives_the_same_campaign(tmp_path):
    """Proposals, noise and results are the same in two labs."""

    def once(folder):
        with Lab.open(folder, cyclers=[replay()]) as lab:
            return [(t.candidate, t.outcome) for t in run_campaign(lab, small_spec()).trials]

    assert once(tmp_path / "a") == once(tmp_path / "b")


def test_a_cycler_that_forgot_a_run_leaves_it_to_a_person(lab, monkeypatch):
    """A reference nobody knows is neither finished nor failed."""
    start_campaign(lab, small_spec(budget=Budget(trials=2)))
    advance_campaign(lab, "small")
    cycler = lab.cyclers_for(small_spec())["replay"]
    status = cycler.status
    monkeypatch.setattr(cycler, "status", lambda ref: replace(status(ref), state=RunState.UNKNOWN))
    assert resume_campaign(lab, "small").status == "needs_attention"
    assert {t.status for t in lab.store.trials("small")} == {TrialStatus.UNKNOWN}
