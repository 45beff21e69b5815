"""Faults on command in the simulated lab: each kind is injected, and seen in the recording or in the status."""

import json
from itertools import pairwise

import numpy as np
import pytest

from adapters.peers.injected_faults import CELL_FAULTS, FaultKind, InjectedFault, random_faults
from adapters.simulated import SimulatedCycler
from adapters.simulated.life_test import LifeTest
from adapters.simulated.run_faults import RunFaults
from flows.cyclers import make_cycler
from orchestrator.domain import RunState, VirtualClock
from orchestrator.domain.campaign_spec import CyclerSpec
from orchestrator.domain.errors import ChannelBusyError, CyclerUnreachableError, SpecError

ROUNDING_S = 1e-6  # lab time in hours and test time in seconds agree no better
TIME, VOLTS, DEGC = "test_time_second", "voltage_volt", "surface_temperature_celsius"


@pytest.fixture
def with_faults(new_cycler):
    """A cycler with faults on a folder of its own by name."""

    def make(*faults, folder=None, **changes):
        given = {} if folder is None else {"folder": folder}
        return new_cycler(faults=faults, **given, **changes)

    return make


def finish(cycler):
    """Let time pass until nothing runs."""
    while (end_h := cycler.next_end_h()) is not None:
        cycler.clock.wait_until(end_h)


def recorded(cycler, request):
    """The whole recording of a run, and its last status."""
    ref = cycler.submit(request)
    finish(cycler)
    return cycler.read(ref)[0], cycler.status(ref)


def same_rows(a, b):
    return set(a) == set(b) and all(np.array_equal(a[n], b[n], equal_nan=True) for n in a)


# Cells


def check_ups(cell, request, *faults, seed=0, after=None, started_h=0.0):
    *checkups, end = LifeTest(request, seed, cell, RunFaults(request.channel, started_h, faults)).run(after)
    return checkups, end


@pytest.mark.parametrize("kind", sorted(CELL_FAULTS))
def test_a_fault_of_the_cell_strikes_at_the_check_up_right_after_it(bench_cell, request_for, kind):
    """A check-up is forced in the first cycle after the fault; before it the test is as it would have been, after it not."""
    request = request_for("a", rates_C=(2.0,), max_cycles=200)
    healthy, _ = check_ups(bench_cell, request)
    at_h = (healthy[3].end_s + 0.4 * (healthy[4].start_s - healthy[3].end_s)) / 3600
    struck, _ = check_ups(bench_cell, request, InjectedFault(kind, 50 + at_h), started_h=50.0)
    assert [c.cycle for c in struck[:4]] == [c.cycle for c in healthy[:4]]
    assert struck[4].cycle < healthy[4].cycle
    assert [c.struck for c in struck[:6]] == [0, 0, 0, 0, 1, 1]
    assert at_h * 3600 - ROUNDING_S <= struck[4].start_s <= at_h * 3600 + 1.2 * healthy[3].duration_s
    assert struck[4].age != healthy[4].age


def test_lithium_lost_at_once_is_seen_in_the_next_recorded_capacity(bench_cell, request_for):
    """A tenth less, between one check-up and the next."""
    request = request_for("a", rates_C=(2.0,), max_cycles=60)
    fault = InjectedFault(FaultKind.CAPACITY_LOSS, 20.0, size=0.1)
    checkups, _ = check_ups(bench_cell, request, fault)
    at = next(i for i, c in enumerate(checkups) if c.struck)
    lost_Ah = checkups[at - 1].capacity_Ah - checkups[at].capacity_Ah
    assert lost_Ah == pytest.approx(0.1 * 1.098, rel=0.15)


def test_a_plating_knee_ends_a_life_early(bench_cell, request_for):
    """From the fault on lithium plates eight times as fast; the cell dies in fewer cycles."""
    request = request_for("a", rates_C=(6.0,), max_cycles=3000)
    _, healthy = check_ups(bench_cell, request)
    _, struck = check_ups(bench_cell, request, InjectedFault(FaultKind.PLATING_KNEE, 0.3 * healthy.end_s / 3600, size=50.0))
    assert healthy.state is struck.state is RunState.FINISHED
    assert struck.cycles < 0.8 * healthy.cycles


def test_several_faults_strike_once_each(bench_cell, request_for):
    """Two within one cycle, one at the very start, one long after: none lost, none twice."""
    request = request_for("a", rates_C=(2.0,), max_cycles=40)
    times_h = (7.0, 20.0, 20.2, 40.0)
    faults = [InjectedFault(FaultKind.CAPACITY_LOSS, at_h, size=0.01) for at_h in times_h]
    checkups, _ = check_ups(bench_cell, request, *faults, started_h=7.0)
    assert checkups[0].struck == 1
    assert checkups[-1].struck == 4
    for before, after in pairwise(checkups):
        for nth in range(before.struck, after.struck):
            assert before.start_s < (times_h[nth] - 7.0) * 3600 <= after.start_s + ROUNDING_S
    before, after = next((a, b) for a, b in pairwise(checkups) if b.struck == 3)
    # What ageing itself changes between the two cycles is far less than one loss more or fewer, which is a hundredth.
    assert after.age.lithium_Ah / before.age.lithium_Ah == pytest.approx(0.99**2, abs=4e-3)


def test_a_struck_test_goes_on_from_any_check_up_to_the_same_end(bench_cell, request_for):
    """After a crash the same faults strike at the same cycles, bit by bit."""
    request = request_for("a", rates_C=(3.0,), max_cycles=150)
    faults = (
        InjectedFault(FaultKind.CAPACITY_LOSS, 20.0, size=0.02),
        InjectedFault(FaultKind.PLATING_KNEE, 30.0, size=2.0),
        InjectedFault(FaultKind.POWER_LOSS, 45.0),
    )
    checkups, end = check_ups(bench_cell, request, *faults)
    assert "power loss" in end.reason
    for place, after in enumerate(checkups):
        rest, same_end = check_ups(bench_cell, request, *faults, after=after)
        assert same_end == end
        assert [(c.cycle, c.start_s, c.age, c.struck) for c in rest] == [
            (c.cycle, c.start_s, c.age, c.struck) for c in checkups[place + 1 :]
        ]


def test_what_happened_before_a_cell_was_put_in_does_not_strike_it(with_faults, clock, request_for):
    """Another cell had that fault."""
    clock.wait_until(50.0)
    cycler = with_faults(InjectedFault(FaultKind.CAPACITY_LOSS, 40.0, size=0.1))
    rows, _ = recorded(cycler, request_for("a", max_cycles=30))
    other, _ = recorded(
        with_faults(folder=cycler._folder.parent / "healthy", clock=VirtualClock(50.0)), request_for("a", max_cycles=30)
    )
    assert same_rows(rows, other)


def test_real_cells_show_each_fault_in_their_recording(pybamm_cell, request_for):
    """The loss takes capacity, the knee takes lithium from then on, a short drains the cell and warms it."""
    request = request_for("a", rates_C=(4.0,), max_cycles=12)
    healthy, _ = check_ups(pybamm_cell, request)
    later = healthy[0].end_s / 3600 + 0.01

    def last(*faults):
        checkups, _ = check_ups(pybamm_cell, request, *faults)
        return next(c for c in checkups if c.struck), checkups[-1]

    weak, _ = last(InjectedFault(FaultKind.INTERNAL_SHORT, later, size=200.0))
    assert _not_given_back_Ah(weak) > _not_given_back_Ah(healthy[1]) + 0.01
    hard, _ = last(InjectedFault(FaultKind.INTERNAL_SHORT, later))
    assert hard.broken.safety
    assert "min_voltage_V" in hard.broken.reason
    assert hard.capacity_Ah < healthy[1].capacity_Ah - 0.02
    assert hard.samples["temperature_degC"].max() > healthy[1].samples["temperature_degC"].max() + 1
    loss, _ = last(InjectedFault(FaultKind.CAPACITY_LOSS, later, size=0.05))
    assert healthy[1].capacity_Ah - loss.capacity_Ah == pytest.approx(0.05 * 1.098, rel=0.3)
    _, end = last(InjectedFault(FaultKind.PLATING_KNEE, later, size=200.0))
    assert end.age.lithium_Ah < healthy[-1].age.lithium_Ah - 1e-3


def _not_given_back_Ah(checkup):
    return checkup.samples["charged_Ah"][-1] - checkup.samples["discharged_Ah"][-1]


# Sensors


def test_an_open_thermocouple_is_seen_in_its_rows_alone(with_faults, request_for, tmp_path):
    """Not a number while it lasts, in that channel; every other number is that of a healthy recording."""
    request = request_for("a", max_cycles=30)
    healthy, _ = recorded(with_faults(folder=tmp_path / "healthy", clock=VirtualClock()), request)
    rows, status = recorded(with_faults({"kind": "thermocouple_open", "at_h": 5.0, "duration_h": 5.0, "channel": "1"}), request)
    lab_h = rows[TIME] / 3600
    broken = (lab_h >= 5) & (lab_h < 10)
    assert broken.any()
    assert (np.isnan(rows[DEGC]) == broken).all()
    assert np.array_equal(rows[DEGC][~broken], healthy[DEGC][~broken])
    assert np.array_equal(rows[VOLTS], healthy[VOLTS])
    assert status.state is RunState.FINISHED


def test_a_stuck_thermocouple_repeats_its_last_reading_across_check_ups(with_faults, clock, request_for):
    """Read at once or piece by piece as time passes, by one cycler object or several: the same rows."""
    cycler = with_faults({"kind": "thermocouple_stuck", "at_h": 9.0})
    ref = cycler.submit(request_for("a", max_cycles=60))
    end_h, pieces, cursor = cycler.next_end_h(), [], None
    for share in (0.2, 0.5, 0.8, 1.0):
        clock.wait_until(share * end_h)
        rows, cursor = with_faults().read(ref, cursor)
        pieces.append(rows)
    whole, _ = cycler.read(ref)
    joined = {name: np.concatenate([piece[name] for piece in pieces if piece]) for name in whole}
    assert same_rows(joined, whole)
    before = whole[TIME] / 3600 < 9.0
    assert set(whole[DEGC][~before]) == {whole[DEGC][before][-1]}


def test_a_drop_out_loses_check_ups_and_the_rest_is_read(with_faults, clock, request_for, tmp_path):
    """The rows that are left are the healthy ones; the cursor leads past the hole."""
    request = request_for("a", max_cycles=60)
    healthy, _ = recorded(with_faults(folder=tmp_path / "healthy", clock=VirtualClock()), request)
    cycler = with_faults({"kind": "sensor_dropout", "at_h": 0.0, "duration_h": 10.0})
    ref = cycler.submit(request)
    clock.wait_until(5.0)
    rows, cursor = cycler.read(ref)
    assert rows == {}
    finish(cycler)
    rows, _ = cycler.read(ref, cursor)
    assert rows[TIME][0] >= 36_000
    kept = healthy[TIME] >= 36_000
    assert same_rows(rows, {name: column[kept] for name, column in healthy.items()})


def test_a_bad_contact_is_seen_in_the_voltage(with_faults, request_for, tmp_path):
    """Far above the instrument's noise, and only while it lasts."""
    request = request_for("a", max_cycles=30)
    healthy, _ = recorded(with_faults(folder=tmp_path / "healthy", clock=VirtualClock()), request)
    rows, _ = recorded(with_faults({"kind": "contact_loss", "at_h": 5.0, "size": 0.02}), request)
    added_V = rows[VOLTS] - healthy[VOLTS]
    bad = rows[TIME] / 3600 >= 5.0
    assert (added_V[~bad] == 0).all()
    assert np.abs(added_V[bad & (np.abs(rows["current_ampere"]) > 4)]).mean() > 0.08


# Devices


def test_a_dead_channel_ends_its_run_and_refuses_others_until_it_is_mended(with_faults, clock, request_for):
    """FAILED at that moment, with what was recorded before; its neighbour goes on."""
    cycler = with_faults({"kind": "channel_dead", "channel": "1", "at_h": 20.0, "duration_h": 30.0})
    refs = [cycler.submit(request_for(f"k{n}", n)) for n in "12"]
    assert cycler.next_end_h() == 20.0
    clock.wait_until(20.0)
    status = cycler.status(refs[0])
    assert (status.state, status.ended_h, status.cause) == (RunState.FAILED, 20.0, "device")
    assert "channel 1 died at 20 h" in status.reason
    assert status.cycles > 0
    assert 0 < cycler.read(refs[0])[0][TIME].max() <= 20.0 * 3600
    assert cycler.status(refs[1]).state is RunState.RUNNING
    with pytest.raises(ChannelBusyError, match="channel 1 is dead until 50 h; nothing was started"):
        cycler.submit(request_for("later", "1"))
    assert cycler.find("later") is None
    clock.wait_until(50.0)
    assert cycler.submit(request_for("later", "1")).key == "later"


def test_a_power_loss_ends_every_run_and_the_journal_is_whole(with_faults, clock, request_for, new_cycler):
    """All of them, at that moment, with power loss as the reason; recordings up to then stay, channels take tests again."""
    cycler = with_faults({"kind": "power_loss", "at_h": 33.0})
    refs = [cycler.submit(request_for(f"k{n}", n)) for n in "123"]
    clock.wait_until(33.0)
    for driver in (cycler, new_cycler()):
        for ref in refs:
            status = driver.status(ref)
            assert (status.state, status.ended_h) == (RunState.FAILED, 33.0)
            assert "power loss" in status.reason
            assert 0 < driver.read(ref)[0][TIME].max() <= 33.0 * 3600
        assert driver.physical_starts() == {"k1": 1, "k2": 1, "k3": 1}
    assert cycler.next_end_h() is None
    assert cycler.submit(request_for("k4", "1")).key == "k4"


def test_nothing_answers_while_the_power_is_off(with_faults, clock, request_for):
    """A power loss with a duration: unreachable until it is over, then the runs have ended when it began."""
    cycler = with_faults({"kind": "power_loss", "at_h": 33.0, "duration_h": 4.0})
    ref = cycler.submit(request_for("a"))
    clock.wait_until(cycler.next_end_h())
    with pytest.raises(CyclerUnreachableError, match="its power is off"):
        cycler.status(ref)
    assert cycler.next_end_h() == 37.0
    clock.wait_until(37.0)
    assert cycler.status(ref).ended_h == 33.0


def test_a_clock_that_jumps_is_seen_in_the_time_column(with_faults, request_for, tmp_path):
    """Later rows are an hour early; nothing else differs."""
    request = request_for("a", max_cycles=30)
    healthy, _ = recorded(with_faults(folder=tmp_path / "healthy", clock=VirtualClock()), request)
    rows, _ = recorded(with_faults({"kind": "clock_jump", "at_h": 5.0}), request)
    late = healthy[TIME] >= 5 * 3600
    assert np.allclose(rows[TIME], healthy[TIME] - 3600 * late, rtol=0, atol=1e-6)
    assert np.array_equal(rows[VOLTS], healthy[VOLTS])


# Lines


def test_faults_of_the_line_are_seen_by_who_asks(with_faults, clock, request_for):
    """A lost answer hides a test that runs; a dead line raises; a result may come twice. The test itself knows nothing of it."""
    cycler = with_faults(
        {"kind": "acknowledgement_lost", "channel": "1"},
        {"kind": "acknowledgement_late", "channel": "2", "size": 1.0},
        {"kind": "cycler_unreachable", "at_h": 10.0, "duration_h": 1.0},
        {"kind": "result_twice", "at_h": 11.0},
    )
    for n in "12":
        with pytest.raises(CyclerUnreachableError):
            cycler.submit(request_for(f"k{n}", n))
    ref = cycler.find("k1")
    with pytest.raises(CyclerUnreachableError, match="not answered about k2 yet"):
        cycler.find("k2")
    assert cycler.next_end_h() == 1.0
    clock.wait_until(10.5)
    with pytest.raises(CyclerUnreachableError, match="the line is down"):
        cycler.status(ref)
    clock.wait_until(11.0)
    assert cycler.find("k2").channel == "2"
    rows, cursor = cycler.read(ref)
    again, same = cycler.read(ref, cursor)
    assert same_rows(again, rows)
    assert same == cursor
    assert cycler.read(ref, cursor) == ({}, cursor)
    assert cycler.physical_starts() == {"k1": 1, "k2": 1}


# Plans


def test_the_plan_in_force_at_the_start_stays_with_the_run(with_faults, new_cycler, clock, request_for, tmp_path):
    """It is journalled with it: a lab reopened without the plan, or with another, ends the run as it was to end."""
    plan = [
        {"kind": "capacity_loss", "at_h": 15.0, "channel": "1", "size": 0.03},
        {"kind": "thermocouple_open", "at_h": 18.0, "channel": "1"},
        {"kind": "power_loss", "at_h": 40.0},
        {"kind": "capacity_loss", "at_h": 15.0, "channel": "2"},
        {"kind": "cycler_unreachable", "at_h": 100.0},
    ]
    cycler = with_faults(*plan)
    ref = cycler.submit(request_for("a"))
    line = json.loads((tmp_path / "sim" / "starts.jsonl").read_text())
    assert [fault["kind"] for fault in line["faults"]] == ["capacity_loss", "thermocouple_open", "power_loss"]
    clock.wait_until(20.0)
    cycler.status(ref)
    reopened = new_cycler(faults=[{"kind": "contact_loss", "at_h": 0.0}])
    finish(reopened)
    untouched = with_faults(*plan, folder=tmp_path / "other", clock=VirtualClock())
    untouched.submit(request_for("a"))
    finish(untouched)
    assert reopened.status(ref) == untouched.status(ref)
    assert same_rows(reopened.read(ref)[0], untouched.read(ref)[0])


def test_the_same_plan_gives_the_same_test(with_faults, request_for, tmp_path):
    """A random plan too, given as objects or as the tables they are written as."""
    rates = dict.fromkeys([*CELL_FAULTS, FaultKind.CONTACT_LOSS, FaultKind.SENSOR_DROPOUT], 8.0)
    plan = random_faults(3, ["1", "2", "3", "4"], 200.0, rates)
    assert len(plan) > 5
    once, _ = recorded(with_faults(*plan, folder=tmp_path / "a", clock=VirtualClock()), request_for("a", max_cycles=80))
    again, _ = recorded(with_faults(*plan, folder=tmp_path / "b", clock=VirtualClock()), request_for("a", max_cycles=80))
    assert same_rows(once, again)


def test_worker_processes_suffer_the_same_faults(request_for, tmp_path):
    """The plan goes with the work, whoever computes it: workers and the caller's own thread agree."""
    faults = [{"kind": "capacity_loss", "at_h": 1.5, "size": 0.05}]
    here = SimulatedCycler(1, folder=tmp_path / "here", clock=VirtualClock(), workers=0, faults=faults)
    there = SimulatedCycler(1, folder=tmp_path / "there", clock=VirtualClock(), workers=1, faults=faults)
    mine, theirs = (recorded(cycler, request_for("a", max_cycles=3))[0] for cycler in (here, there))
    there.close()
    assert same_rows(mine, theirs)


def test_a_spec_can_ask_for_faults_and_hears_what_is_wrong_with_them():
    """The keys of `[[cyclers]]` are the constructor's: a right plan is taken, a wrong one named by place."""
    options = {"channels": 3, "faults": [{"kind": "internal_short", "channel": "3", "at_h": 120.0}]}
    assert make_cycler(CyclerSpec("sim", "simulated", options)).capabilities.channels == ("1", "2", "3")
    with pytest.raises(SpecError, match=r"faults\[0\].channel: '3' is no channel of it. It has: 1, 2."):
        make_cycler(CyclerSpec("sim", "simulated", {**options, "channels": 2}))
    with pytest.raises(SpecError, match=r"faults\[0\].*kind"):
        make_cycler(CyclerSpec("sim", "simulated", {"channels": 2, "faults": [{"kind": "gremlins"}]}))
