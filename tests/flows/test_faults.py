"""Campaigns in a lab where things go wrong on command: they end, no test is started twice, no result is lost or counted twice."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from adapters.peers.injected_faults import FaultKind, random_faults
from adapters.replay import ReplayCycler
from adapters.simulated import SimulatedCycler
from flows import Lab, advance_campaign, resume_campaign, run_campaign, start_campaign
from flows.control import request_stop
from orchestrator.domain import Budget, CampaignSpec, CandidateTable, Experiment, Objective, RunState, SafetyLimits, TrialStatus
from orchestrator.domain.campaign_spec import CyclerSpec
from orchestrator.domain.errors import CampaignError
from orchestrator.domain.quality import QualityFlag
from tests.adapters.simulated.conftest import BenchCell
from tests.flows.conftest import ROWS, replay, small_spec

RATES = {
    FaultKind.CHANNEL_DEAD: 30.0,
    FaultKind.POWER_LOSS: 10.0,
    FaultKind.CYCLER_UNREACHABLE: 60.0,
    FaultKind.ACKNOWLEDGEMENT_LOST: 60.0,
    FaultKind.ACKNOWLEDGEMENT_LATE: 60.0,
}
MOST_TICKS = 200


class Caretaker:
    """The person in the lab: when every channel has been put aside they wait an hour and take one back."""

    def __init__(self, lab):
        self.lab, self.ticks = lab, 0

    def __call__(self, report):
        """After each tick."""
        self.ticks += 1
        assert self.ticks < MOST_TICKS, [(trial.number, trial.status) for trial in report.trials]
        channels = self.lab.store.channels()
        if all(channel.state == "quarantined" for channel in channels):
            self.lab.clock.wait_until(self.lab.now_h() + 1.0)
            self.lab.store.release(channels[0].cycler, channels[0].name, lab_time_h=self.lab.now_h())


def run_to_the_end(lab, spec):
    """Run a campaign; whenever it asks for a person, they have looked and tell it to go on."""
    caretaker = Caretaker(lab)
    result = run_campaign(lab, spec, caretaker)
    while result.status == "needs_attention":
        result = resume_campaign(lab, spec.name, caretaker)
    return result


def test_a_recording_is_read_by_trial(folder):
    """What was measured, with all that features need to know; a trial of which nothing was recorded says so."""
    with Lab.open(folder, cyclers=[SimulatedCycler(1, cell=BenchCell())]) as lab:
        run_campaign(lab, cells_spec(budget=Budget(trials=1)))
        recording = lab.recording("cells", 1)
        assert len(recording) > 100
        assert (recording.nominal_capacity_Ah, recording.synthetic, recording.key) == (1.1, True, "cells/1/1")
    with Lab.open(folder / "other", cyclers=[replay(1)]) as lab:
        run_campaign(lab, small_spec(budget=Budget(trials=1)))
        with pytest.raises(CampaignError, match="nothing was recorded of trial 1"):
            lab.recording("small", 1)


@pytest.mark.parametrize("seed", [1, 5])
def test_a_campaign_under_random_faults_ends_with_every_result_once(folder, seed):
    """Dead channels, power losses, dead lines, answers lost and late: the device's journal and the store tell the same story."""
    plan = random_faults(seed, ["1", "2", "3"], 100.0, RATES, duration_h=3.0)
    cycler = replay(3, faults=plan)
    with Lab.open(folder, cyclers=[cycler]) as lab:
        result = run_to_the_end(lab, small_spec(budget=Budget(trials=8)))
        trials = {trial.key: trial for trial in lab.store.trials("small") if trial.key}
        assert result.status == "completed"
        assert set(cycler.physical_starts().values()) == {1}
        assert set(cycler.physical_starts()) == set(trials)
        for key, trial in trials.items():
            run = cycler._journal.find(key)
            assert str(trial.status) == {RunState.FINISHED: "completed", RunState.FAILED: "failed"}[run.state]
            assert (trial.started_h, trial.ended_h) == (run.start_h, run.end_h)
            assert ("result" in trial.outcome) == (run.state is RunState.FINISHED)
        fates = Counter(trial.status for trial in result.trials)
        assert len(result.hypervolume) == fates["completed"] > 0
        assert {channel.state for channel in lab.store.channels()} <= {"free", "quarantined"}


def test_faults_named_in_a_spec_strike_its_campaign(folder):
    """A dead channel ends its trial and is put aside, a lost answer costs nothing; others have the results of a quiet lab."""
    faults = [
        {"kind": "channel_dead", "channel": "2", "at_h": 2.0},
        {"kind": "acknowledgement_lost", "channel": "1", "at_h": 0.0},
        {"kind": "cycler_unreachable", "at_h": 5.0, "duration_h": 0.5},
    ]
    options = {"table": list(ROWS), "target": "result", "duration_h": "hours", "channels": 2}
    spec = small_spec(cyclers=(CyclerSpec("replay", "replay", {**options, "faults": faults}),), budget=Budget(trials=5))
    with Lab.open(folder) as lab:
        result = run_to_the_end(lab, spec)
        assert result.status == "completed"
        failed = [trial for trial in result.trials if trial.status == "failed"]
        assert [trial.stopped_because for trial in failed] == ["channel 2 died at 2 h; what was recorded before is kept"]
        assert {channel.name: channel.state for channel in lab.store.channels()} == {"1": "free", "2": "quarantined"}
        quiet = {row["x"]: row["result"] for row in ROWS}
        told = {t.candidate["x"]: t.outcome["result"]["mean"] for t in result.trials if t.status == "completed"}
        assert told == {x: quiet[x] for x in told}
        assert len(told) == 5  # the budget counts tests that the device let run


def test_simulated_cells_under_random_faults_keep_their_recordings(folder):
    """Whatever strikes cells, sensors and channels, each started test leaves one trial, with the rows its channel recorded."""
    kinds = [FaultKind.CAPACITY_LOSS, FaultKind.PLATING_KNEE, FaultKind.THERMOCOUPLE_STUCK, FaultKind.THERMOCOUPLE_OPEN]
    rates = {**dict.fromkeys([*kinds, FaultKind.CHANNEL_DEAD, FaultKind.ACKNOWLEDGEMENT_LOST], 4.0), FaultKind.POWER_LOSS: 1.0}
    plan = random_faults(4, ["1", "2"], 300.0, rates)
    cycler = SimulatedCycler(2, cell=BenchCell(), faults=plan)
    with Lab.open(folder, cyclers=[cycler]) as lab:
        result = run_to_the_end(lab, cells_spec())
        trials = [trial for trial in lab.store.trials("cells") if trial.key]
        assert result.status == "completed"
        assert cycler.physical_starts() == {trial.key: 1 for trial in trials}
        assert {str(trial.status) for trial in trials} == {"completed", "failed"}
        for trial in trials:
            expect_recorded(lab, cycler, trial)


def test_rows_delivered_twice_are_kept_once(folder):
    """A repeated answer is known by its cursor, which does not move: no row counts twice in the recording."""
    plan = [{"kind": "result_twice", "channel": channel} for channel in "12"]
    cycler = SimulatedCycler(2, cell=BenchCell(), faults=plan)
    with Lab.open(folder, cyclers=[cycler]) as lab:
        run_to_the_end(lab, cells_spec(budget=Budget(trials=2)))
        for trial in lab.store.trials("cells"):
            expect_recorded(lab, cycler, trial)


def cells_spec(**changes):
    """Five charging rates, tested for their cycle life."""
    spec = CampaignSpec(
        name="cells",
        space=CandidateTable([{"c1": rate} for rate in (3.0, 4.0, 5.0, 6.0, 7.0)], ("c1",)),
        objectives=(Objective("cycle_life", "maximize", threshold=10.0),),
        experiment=Experiment("multistep_charge", "lfp_a123", max_cycles=200, fixed={"discharge_rate_C": 4.0}),
        safety_limits=SafetyLimits(max_voltage_V=3.65, min_voltage_V=1.9),
        budget=Budget(trials=5),
    )
    return replace(spec, **changes)


def expect_recorded(lab, cycler, trial):
    """The archive holds the rows that the channel recorded: all of them, once."""
    rows, _ = cycler.read(cycler.find(trial.key))
    file = lab.store.recording_of("cells", trial.number)
    kept = {} if file is None else lab.archive.read(file)
    assert set(kept) - {"quality_flags"} == set(rows)
    assert all(np.array_equal(kept[name], rows[name], equal_nan=True) for name in rows)


def test_a_campaign_survives_a_restart_between_faults(folder):
    """The lab is closed and opened again after every tick: driver objects forget, the device does not."""
    plan = random_faults(2, ["1", "2"], 100.0, RATES, duration_h=3.0)
    spec = small_spec(budget=Budget(trials=4))
    with Lab.open(folder, cyclers=[replay(faults=plan)]) as lab:
        run = run_campaign_once(lab, spec)
    for _ in range(MOST_TICKS):
        if run.ended:
            break
        cycler: ReplayCycler = replay(faults=plan)
        with Lab.open(folder, cyclers=[cycler]) as lab:
            run = run_campaign_once(lab, spec)
    assert run.status == "completed"
    assert set(cycler.physical_starts().values()) == {1}


def run_campaign_once(lab, spec):
    """One tick, in a lab that may be new."""
    if not lab.store.campaigns():
        start_campaign(lab, spec)
    report = advance_campaign(lab, spec.name)
    Caretaker(lab)(report)
    return report


def test_a_cycler_that_never_answers_again_is_put_before_a_person(folder):
    """Asked twenty times in vain, with nothing else going on, the campaign waits; its test keeps its channel."""
    cycler = replay(1, faults=[{"kind": "cycler_unreachable", "at_h": 2.0}])
    with Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=2)))
        ticks = 0
        while not advance_campaign(lab, "small").ended:
            lab.clock.wait_until(lab.now_h() + 1.0)
            ticks += 1
        campaign = lab.store.campaign("small")
        assert ticks == 20
        assert campaign.status == "needs_attention"
        assert "no answer from replay, asked 20 times" in campaign.status_reason
        assert [channel.state for channel in lab.store.channels()] == ["held"]


def test_approved_trials_without_a_channel_are_put_before_a_person(folder):
    """The only channel is dead and put aside: the campaign does not wait for ever."""
    cycler = replay(1, faults=[{"kind": "channel_dead", "at_h": 2.0}])
    with Lab.open(folder, cyclers=[cycler]) as lab:
        assert run_campaign(lab, small_spec(budget=Budget(trials=3))).status == "needs_attention"
        assert "no channel is free" in lab.store.campaign("small").status_reason


def test_a_power_cut_costs_the_tests_that_ran_and_nothing_else(folder):
    """Twelve channels lose their power at once: one fault, no candidate barred, no budget spent, nobody asked."""
    cycler = replay(12, faults=[{"kind": "power_loss", "at_h": 1.0, "duration_h": 0.5}])
    with Lab.open(folder, cyclers=[cycler]) as lab:
        result = run_campaign(lab, small_spec(budget=Budget(trials=12)))
        assert result.status == "completed"
        fates = Counter(str(trial.status) for trial in result.trials)
        assert fates == {"failed": 12, "completed": 12}
        assert {t.cause for t in lab.store.trials("small") if t.status == "failed"} == {"device"}


def test_channels_that_fail_again_and_again_are_put_before_a_person(folder):
    """Four cuts in a row, each ending every test: cells are not fed to a broken device."""
    cuts = [{"kind": "power_loss", "at_h": float(h), "duration_h": 0.5} for h in (1, 3, 5, 7, 9)]
    with Lab.open(folder, cyclers=[replay(3, faults=cuts)]) as lab:
        assert run_campaign(lab, small_spec(budget=Budget(trials=6))).status == "needs_attention"
        assert "the last 4 trials all failed" in lab.store.campaign("small").status_reason


def test_a_campaign_goes_on_by_itself_when_its_cycler_answers_again(folder):
    """An outage of a night is nobody's work in the morning; a stop asked for in it is carried out."""
    cycler = replay(2, faults=[{"kind": "cycler_unreachable", "at_h": 0.2, "duration_h": 9.0}])
    with Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=4)))
        advance_campaign(lab, "small")
        lab.clock.wait_until(0.5)
        request_stop(lab, "small", 1, "enough")
        for _ in range(25):
            advance_campaign(lab, "small")
            lab.clock.wait_until(lab.now_h() + 0.01)
        lab.clock.wait_until(10.0)
        assert resume_campaign(lab, "small").status == "completed"
        assert set(cycler.physical_starts().values()) == {1}


class HandClock:
    """Real time, as far as the lab can tell: it passes when the test says so, not to the next end of a run."""

    def __init__(self):
        self.hours = 0.0

    def now_h(self):
        """What the hand shows."""
        return self.hours

    def wait_until(self, lab_time_h):
        """Turn the hand."""
        self.hours = max(self.hours, lab_time_h)


def test_a_waiting_campaign_takes_in_what_ended_and_wakes_by_itself(folder):
    """Silence was all it waited for: with the first answer the result is stored and the campaign goes on."""
    cycler = replay(1, faults=[{"kind": "cycler_unreachable", "at_h": 2.0, "duration_h": 30.0}])
    clock = HandClock()
    with Lab.open(folder, cyclers=[cycler], clock=clock) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=2)))
        advance_campaign(lab, "small")
        clock.hours = 3.0
        while not advance_campaign(lab, "small").ended:
            clock.hours += 0.5
        assert clock.hours < 32.0
        assert lab.store.campaign("small").status == "needs_attention"
        clock.hours = 33.0
        assert advance_campaign(lab, "small").status == "running"
        assert lab.store.trials("small")[0].status == "completed"
        assert lab.store.events("small", limit=1, kinds=["resumed"])[0].data["by"] == "the cyclers answer"


def test_lost_rows_are_said_wherever_the_result_is_shown(folder):
    """Half of a test's rows never arrived: flagged in the recording, logged, and in the trial's own words."""
    fault = {"kind": "sensor_dropout", "at_h": 2.0, "size": 0.5}
    with Lab.open(folder, cyclers=[SimulatedCycler(1, seed=1, faults=[fault])]) as lab:
        assert run_campaign(lab, cells_spec(budget=Budget(trials=1))).status == "completed"
        trial = lab.store.trial("cells", 1)
        (said,) = lab.store.events("cells", kinds=["recording_quality"])
        file = lab.store.recording_of("cells", 1)
        flags = lab.archive.read(file)["quality_flags"]
        assert lab.archive.metadata(file)["metadata"]["quality"]["findings"][0]["check"] == "gaps"
    assert trial.status is TrialStatus.COMPLETED
    assert "rows are missing" in trial.stopped_because
    assert "rows are missing" in said.data["findings"][0]
    assert np.count_nonzero(flags & QualityFlag.AFTER_GAP) > 0


class Humid(ReplayCycler):
    """Tells of its chamber besides, in a column that no format knows."""

    def read(self, ref, cursor=None):
        """Two rows, once the test has ended."""
        if cursor is not None or not self.status(ref).state.ended:
            return {}, cursor
        rows = {"test_time_second": [0.0, 60.0], "voltage_volt": [3.2, 3.3], "current_ampere": [1.0, 1.0]}
        return {name: np.array(values) for name, values in (rows | {"chamber_humidity": [0.4, 0.5]}).items()}, "read"


def test_a_column_of_the_cyclers_own_is_kept(folder):
    """It is archived as it came; what reads recordings sees the columns that it knows."""
    with Lab.open(folder, cyclers=[Humid(ROWS, "result", channels=1)]) as lab:
        assert run_campaign(lab, small_spec(budget=Budget(trials=1))).status == "completed"
        kept = lab.archive.read(lab.store.recording_of("small", 1))
        assert list(kept["chamber_humidity"]) == [0.4, 0.5]
        assert "chamber_humidity" not in lab.recording("small", 1).columns


class Blind(Humid):
    """Its driver leaves the voltage out."""

    def read(self, ref, cursor=None):
        """Time and current alone."""
        rows, following = super().read(ref, cursor)
        return {name: column for name, column in rows.items() if name != "voltage_volt"}, following


def test_rows_that_are_no_recording_hold_up_their_own_trial_alone(folder):
    """The trial waits as unknown, with what is to be mended; once it is, its result is taken in."""
    with Lab.open(folder, cyclers=[Blind(ROWS, "result", channels=1)]) as lab:
        assert run_campaign(lab, small_spec(budget=Budget(trials=1))).status == "needs_attention"
        trial = lab.store.trial("small", 1)
        assert (trial.status, "no column 'voltage_volt'" in trial.stopped_because) == (TrialStatus.UNKNOWN, True)
        before = len(lab.store.events("small"))
        for _ in range(3):
            advance_campaign(lab, "small")
        assert len(lab.store.events("small")) == before
    with Lab.open(folder, cyclers=[Humid(ROWS, "result", channels=1)]) as lab:
        assert resume_campaign(lab, "small").status == "completed"
