"""Cyclers that do not answer: a tick asks few questions in vain, dead channels hide no others, a person is asked in time."""

from collections import Counter

import pytest

from adapters.replay import ReplayCycler
from flows import Lab, advance_campaign, resume_campaign, start_campaign
from flows.bench import UNREACHABLE
from flows.control import request_stop
from flows.silence import SILENCE_ENDED, SILENT
from orchestrator.domain import Budget, CandidateTable, TrialStatus
from orchestrator.domain.errors import CyclerUnreachableError
from orchestrator.store import NewTrial
from tests.flows.conftest import small_spec
from tests.flows.test_faults import HandClock

A_HANDFUL = 6
CHANNELS = 250  # passes with 1000 as well; starting them is what takes the time
MANY = tuple({"x": float(i), "result": float(i), "hours": 5.0} for i in range(1200))


class Rack(ReplayCycler):
    """Many channels, some of them without a line, or all: each question to those is counted, and none is answered."""

    def __init__(self, channels, name="rack"):
        super().__init__(MANY, "result", duration_h="hours", channels=channels, name=name)
        self.dead, self.off, self.asked, self.in_vain = set(), False, 0, 0

    def _expect_answer(self, channel):
        self.asked += 1
        if self.off or channel in self.dead:
            self.in_vain += 1
            raise CyclerUnreachableError(f"{self.capabilities.name}: no answer within 5 s.")

    def submit(self, request):
        """Count, and pass on."""
        self._expect_answer(request.channel)
        return super().submit(request)

    def find(self, key):
        """Count, and pass on."""
        self._expect_answer(None)
        return super().find(key)

    def status(self, ref):
        """Count, and pass on."""
        self._expect_answer(ref.channel)
        return super().status(ref)

    def emergency_stop(self, channel=None):
        """Count, and pass on."""
        self._expect_answer(channel)
        super().emergency_stop(channel)

    def in_a_tick(self, lab):
        """Make a tick; how many questions it asked in vain."""
        before = self.in_vain
        report = advance_campaign(lab, "small")
        return report, self.in_vain - before


@pytest.fixture
def clock():
    return HandClock()


def at_work(folder, clock, rack, tests, *others):
    """A lab in which so many tests are running, started by a person."""
    spec = small_spec(space=CandidateTable(MANY, ("x",)), budget=Budget(trials=tests))
    lab = Lab.open(folder, cyclers=[rack, *others], clock=clock)
    start_campaign(lab, spec)
    new = [NewTrial(spec.space.candidate(i), "person", TrialStatus.APPROVED) for i in range(tests)]
    lab.store.add_trials("small", new, lab_time_h=0.0)
    advance_campaign(lab, "small")
    return lab


def fates(lab):
    return Counter(str(trial.status) for trial in lab.store.trials("small"))


def test_hundreds_of_channels_that_are_off_cost_a_tick_a_few_questions(folder, clock):
    """Each may take seconds: asked one after the other they would take hours. After twenty ticks a person is asked."""
    rack = Rack(CHANNELS)
    with at_work(folder, clock, rack, CHANNELS) as lab:
        assert fates(lab) == {"running": CHANNELS}
        rack.off = True
        for tick in range(1, 21):
            clock.hours += 0.1
            report, in_vain = rack.in_a_tick(lab)
            assert 0 < in_vain <= A_HANDFUL
            assert (report.status == "needs_attention") == (tick == 20)
        said = lab.store.campaign("small").status_reason
        assert "no answer from rack, asked 20 times; at last: rack: no answer within 5 s. Look at it and its line" in said
        assert len(lab.store.events("small", kinds=(UNREACHABLE,))) <= 20 * A_HANDFUL
        assert {event.data["cycler"] for event in lab.store.events("small", kinds=(UNREACHABLE,))} == {"rack"}
        report, in_vain = rack.in_a_tick(lab)
        assert (report.status, 0 < in_vain <= A_HANDFUL) == ("needs_attention", True)
        rack.off = False
        clock.hours += 5.0
        report, in_vain = rack.in_a_tick(lab)
        assert (report.status, in_vain, fates(lab)) == ("running", 0, {"completed": CHANNELS})


def test_stops_asked_for_while_nothing_answers_cost_no_more(folder, clock):
    """Whoever has asked for every test to stop waits for the cycler; the tick does not ask each of them whether it goes on."""
    rack = Rack(100)
    with at_work(folder, clock, rack, 100) as lab:
        rack.off = True
        for number in range(1, 101):
            request_stop(lab, "small", number, "enough")
        clock.hours += 3.0
        assert 0 < rack.in_a_tick(lab)[1] <= A_HANDFUL
        rack.off = False
        advance_campaign(lab, "small")
        assert fates(lab) == {"early_stopped": 100}


@pytest.mark.parametrize("dead", [range(1, 6), range(20, 25), range(46, 51), (1, 2, 3, 24, 25, 26, 27, 48, 49, 50)])
def test_dead_channels_do_not_hide_healthy_ones(folder, clock, dead):
    """A tick begins behind the last question in vain: what ended on the other channels is taken in within a few ticks."""
    rack = Rack(50)
    with at_work(folder, clock, rack, 50) as lab:
        rack.dead = {str(channel) for channel in dead}
        clock.hours = 6.0
        for _ in range(4):
            rack.in_a_tick(lab)
        trials = lab.store.trials("small")
        assert {trial.channel for trial in trials if trial.status is TrialStatus.RUNNING} == rack.dead
        assert fates(lab)["completed"] == 50 - len(dead)


def test_one_that_answers_keeps_the_campaign_from_asking(folder, clock):
    """A test that runs on and says so is no silence, however long three others are not heard of."""
    rack, bench = Rack(3), Rack(1, name="bench")
    with at_work(folder, clock, rack, 4, bench) as lab:
        rack.off = True
        for _ in range(30):
            clock.hours += 0.1
            assert rack.in_a_tick(lab)[0].status == "running"
        bench.off = True
        for tick in range(1, 21):
            clock.hours += 0.01
            assert (rack.in_a_tick(lab)[0].status == "needs_attention") == (tick == 20)
        assert "no answer from bench, rack, asked 20 times" in lab.store.campaign("small").status_reason


def test_an_answer_in_between_starts_the_count_anew(folder, clock):
    """Twenty ticks in a row it must be; the log says when the silence ended."""
    rack = Rack(2)
    with at_work(folder, clock, rack, 2) as lab:
        for silent in (True, False, True):
            rack.off = silent
            for _ in range(15 if silent else 1):
                clock.hours += 0.01
                assert rack.in_a_tick(lab)[0].status == "running"
        assert [event.data["ticks"] for event in lab.store.events("small", kinds=(SILENCE_ENDED,))] == [15]
        assert lab.store.events("small", limit=1, kinds=(SILENT,))[0].data == {"cyclers": ["rack"], "ticks": 15}


def test_a_cycler_that_is_off_from_the_beginning_is_not_given_everything(folder, clock):
    """Approved tests keep waiting for it, but for a few; twenty ticks later a person knows, and with its answer all goes on."""
    rack = Rack(60)
    rack.off = True
    with at_work(folder, clock, rack, 60) as lab:
        assert fates(lab) == {"dispatching": 4, "approved": 56}
        while (ticked := rack.in_a_tick(lab))[0].status == "running":
            assert ticked[1] <= A_HANDFUL
            clock.hours += 0.1
        assert "no answer from rack, asked 20 times" in lab.store.campaign("small").status_reason
        rack.off = False
        assert resume_campaign_until(lab, clock, {"completed": 60})
        assert set(rack.physical_starts().values()) == {1}


def resume_campaign_until(lab, clock, wanted):
    """Make ticks, some time apart, until trials stand as wanted."""
    for _ in range(10):
        clock.hours += 3.0
        advance_campaign(lab, "small")
        if fates(lab) == wanted:
            return True
    return False


def test_in_virtual_time_a_silent_cycler_is_put_before_a_person_too(folder):
    """Where lab time stands still, ticks are what is counted."""
    rack = Rack(30)
    with at_work(folder, None, rack, 30) as lab:
        rack.off = True
        assert resume_campaign(lab, "small").status == "needs_attention"
        assert rack.in_vain <= 20 * A_HANDFUL
