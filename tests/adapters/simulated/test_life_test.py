"""A whole life test, on the bench cell."""

from itertools import pairwise

import numpy as np
import pytest

from adapters.simulated import ageing
from adapters.simulated.instrument import Instrument
from adapters.simulated.life_test import CheckUp, LifeEnd, LifeTest
from adapters.simulated.seeding import generator
from orchestrator.domain import ConstantCurrent, Protocol, RunState, SafetyLimits


@pytest.fixture
def run(bench_cell):
    """All check-ups of a request, and its end."""

    def whole(request, seed=0, after=None):
        *checkups, end = LifeTest(request, seed, bench_cell).run(after)
        assert all(isinstance(c, CheckUp) for c in checkups)
        assert isinstance(end, LifeEnd)
        return checkups, end

    return whole


def same(a, b):
    return (a.index, a.start_s, a.age, a.capacity_Ah) == (b.index, b.start_s, b.age, b.capacity_Ah) and all(
        np.array_equal(a.samples[name], b.samples[name]) for name in a.samples
    )


def test_check_ups_come_when_promised(run, request_for):
    """Cycles 1, 10 and 100 exactly, and never more than `checkup_every_cycles` without one."""
    cycles = [c.cycle for c in run(request_for("a", rates_C=(2.0,), checkup_every_cycles=40))[0]]
    assert {1, 10, 100} <= set(cycles)
    assert max(np.diff(cycles)) <= 40


def test_the_first_recorded_cycle_is_a_fresh_cell_s(run, request_for):
    """Cycle 1 starts with the test, on a cell that has aged by nothing."""
    first = run(request_for("a"))[0][0]
    assert (first.cycle, first.start_s) == (1, 0.0)
    assert first.age == ageing.begin(ageing.manufacture(generator(0, "a", "cell")))


def test_the_test_ends_below_the_end_of_life_and_not_before(run, request_for):
    """The last recorded capacity is below, by the truth and by the instrument; every other is above."""
    checkups, end = run(request_for("a"))
    *before, last = [c.capacity_Ah for c in checkups]
    gain = Instrument(0, "a", checkups[-1].cycle).gain
    assert max(last, last * gain) < 0.88 <= min(before)
    assert end.state is RunState.FINISHED
    assert "is below 0.88 Ah" in end.reason
    assert (end.cycles, end.end_s) == (checkups[-1].cycle, checkups[-1].end_s)


def test_the_test_ends_with_the_cycles_asked_for(run, request_for):
    """A cell that outlives the test says so."""
    checkups, end = run(request_for("a", max_cycles=37))
    assert checkups[-1].cycle == end.cycles == 37
    assert "all 37 cycles" in end.reason


def test_a_test_goes_on_from_any_check_up_to_the_same_end(run, request_for):
    """After a crash nothing differs: the same check-ups, bit by bit, and the same end."""
    request = request_for("a", max_cycles=120)
    checkups, end = run(request)
    for place, after in enumerate(checkups):
        rest, same_end = run(request, after=after)
        assert same_end == end
        assert len(rest) == len(checkups) - place - 1
        assert all(map(same, rest, checkups[place + 1 :]))


def test_a_key_has_one_cell(run, request_for):
    """The same key and seed give the same test bit by bit; another key or seed another cell."""
    asked = {"max_cycles": 30}
    once, again = run(request_for("a", **asked))[0], run(request_for("a", **asked))[0]
    assert all(map(same, once, again))
    assert not same(once[-1], run(request_for("b", **asked))[0][-1])
    assert not same(once[-1], run(request_for("a", **asked), seed=1)[0][-1])


def test_time_passes_in_the_cycles_nobody_recorded(run, request_for):
    """A check-up starts after all cycles before it, each about as long as its recorded neighbours."""
    checkups, _ = run(request_for("a", max_cycles=50))
    for before, after in pairwise(checkups):
        mean_s = (after.start_s - before.start_s) / (after.cycle - before.cycle)
        low, high = sorted((before.duration_s, after.duration_s))
        assert low * (1 - 1e-12) <= mean_s <= high * (1 + 1e-12)


def test_a_safety_limit_stops_the_test_at_that_moment(run, request_for, fast_charge):
    """Stopped, for safety, with the limit in the reason and the rows up to it."""
    hot = fast_charge(6.0, limits=SafetyLimits(max_temperature_degC=40.0))
    checkups, end = run(request_for("a", protocol=hot))
    assert (end.state, end.safety, end.cycles) == (RunState.STOPPED, True, 0)
    assert "max_temperature_degC" in end.reason
    assert end.end_s == checkups[0].samples["time_s"][-1]


def test_a_protocol_that_cannot_show_the_end_of_life_fails(run, request_for):
    """A fresh cell below the end of life is no life of one cycle."""
    shallow = Protocol((ConstantCurrent(-1.1, until_capacity_Ah=0.3), ConstantCurrent(1.1, until_voltage_V=3.6)))
    _, end = run(request_for("a", protocol=shallow))
    assert end.state is RunState.FAILED
    assert "fresh cell gives only 0.3 Ah" in end.reason
