"""The simulated cycler as the lab sees it, on bench cells and in virtual time."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from adapters.simulated import SimulatedCycler
from orchestrator.domain import (
    AcceleratedClock,
    Candidate,
    ConstantCurrent,
    ConstantVoltage,
    Cycler,
    Protocol,
    Rest,
    RunRef,
    RunState,
    SafetyLimits,
    SpecError,
    VirtualClock,
)
from orchestrator.domain.cell_design import cell_design
from orchestrator.domain.cycler import KnowsTruth, LabBound, VirtualTimeCycler, join_columns
from orchestrator.domain.errors import CyclerError, RequestRefusedError
from orchestrator.domain.recording import Recording
from orchestrator.features import checkup_capacity_Ah, cycle_summary, impedance_spectra
from orchestrator.representation.charging import cc_cv, reference_performance


def finish(cycler, clock):
    """Let virtual time pass to the end of every test; the ends in the order they came."""
    ends = []
    while (end_h := cycler.next_end_h()) is not None:
        clock.wait_until(end_h)
        ends.append(end_h)
    return ends


def test_it_keeps_the_lab_s_protocols(cycler):
    """A cycler, bound to the lab, that knows virtual time and the truth; and it says that it is synthetic."""
    assert isinstance(cycler, (Cycler))
    assert isinstance(cycler, LabBound)
    assert isinstance(cycler, VirtualTimeCycler)
    assert isinstance(cycler, KnowsTruth)
    can = cycler.capabilities
    assert can.synthetic
    assert can.searchable
    assert can.channels == ("1", "2", "3", "4")
    assert can.limits == {"max_voltage_V", "min_voltage_V", "max_temperature_degC", "max_current_A"}


def test_importing_it_loads_no_pybamm():
    """PyBaMM takes seconds; only what computes pays for it."""
    check = "import sys, adapters.simulated; sys.exit('pybamm' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_run_is_running_until_its_time_has_come(cycler, clock, request_for):
    """Computed or not, a test ends when lab time says so."""
    ref = cycler.submit(request_for("a"))
    end_h = cycler.next_end_h()
    clock.wait_until(end_h * 0.999)
    assert cycler.status(ref).state is RunState.RUNNING
    clock.wait_until(end_h)
    status = cycler.status(ref)
    assert (status.state, status.started_h, status.ended_h) == (RunState.FINISHED, 0.0, end_h)
    assert "is below 0.88 Ah" in status.reason
    assert status.cycles > 100


def test_cycles_are_counted_as_time_passes(cycler, clock, request_for):
    """Those between check-ups too."""
    ref = cycler.submit(request_for("a"))
    end_h, seen = cycler.next_end_h(), []
    for share in (0.0, 0.1, 0.33, 0.5, 0.9, 1.0):
        clock.wait_until(end_h * share)
        seen.append(cycler.status(ref).cycles)
    assert seen[0] == 0
    assert (np.diff(seen) > 0).all()


def test_next_end_is_the_earliest_of_all(cycler, clock, request_for):
    """Ends come in order, each test starts the clock of its own, and None says that nothing runs."""
    assert cycler.next_end_h() is None
    refs = {c: cycler.submit(request_for(f"k{c}", str(i + 1), (float(c),))) for i, c in enumerate((4, 8, 6))}
    clock.wait_until(5.0)
    refs[7] = cycler.submit(request_for("k7", "4", (7.0,)))
    ends = finish(cycler, clock)
    assert ends == sorted(ends)
    assert ends == sorted(cycler.status(ref).ended_h for ref in refs.values())


def test_next_end_computes_no_more_than_it_must(new_cycler, bench_cell, request_for):
    """The longer test is computed only as far as the shorter one's end."""
    cycler = new_cycler()
    cycler.submit(request_for("short", "1", max_cycles=20))
    cycler.submit(request_for("long", "2"))
    cycler.next_end_h()
    before = bench_cell.cycles_run
    assert before <= 12
    cycler.close()


def test_read_gives_finished_check_ups_as_time_passes(cycler, clock, request_for):
    """Whole cycles, only those over; the cursor leads on without gap or repetition, and reading again reads the same."""
    ref = cycler.submit(request_for("a"))
    end_h, parts, cursor = cycler.next_end_h(), [], None
    for share in np.linspace(0, 1, 7):
        clock.wait_until(end_h * share)
        rows, after = cycler.read(ref, cursor)
        again, _ = cycler.read(ref, cursor)
        assert all(np.array_equal(rows[name], again[name]) for name in rows)
        if rows:
            assert rows["test_time_second"].max() <= end_h * share * 3600 * (1 + 1e-12)
        parts.append(rows)
        cursor = after
    whole, _ = cycler.read(ref)
    pieced = join_columns(parts)
    assert all(np.array_equal(whole[name], pieced[name]) for name in whole)
    assert (np.diff(whole["test_time_second"]) > 0).all()


def test_nothing_is_read_before_the_first_cycle_is_over(cycler, request_for):
    """No rows, no cursor."""
    assert cycler.read(cycler.submit(request_for("a"))) == ({}, None)


def test_the_truth_has_no_noise_and_the_recording_has(cycler, clock, request_for):
    """At a rest the true current is zero; the channel never reads zero. Both are marked synthetic."""
    ref = cycler.submit(request_for("a"))
    assert not cycler.truth(ref).complete
    finish(cycler, clock)
    truth, measured = cycler.truth(ref), Recording(cycler.read(ref)[0])
    assert truth.synthetic
    assert truth.complete
    assert (truth.nominal_capacity_Ah, truth.end_of_life, truth.key) == (1.1, 0.8, "a")
    rests = truth.column("step_count") == 3
    assert (truth.column("current_ampere")[rests] == 0).all()
    assert measured.column("current_ampere")[rests].std() == pytest.approx(2e-4, rel=0.2)
    assert np.array_equal(truth.column("test_time_second"), measured.column("test_time_second"))


def test_a_key_starts_one_test(cycler, request_for):
    """The second submission finds the first; the same key with another content is refused."""
    ref = cycler.submit(request_for("a"))
    assert cycler.submit(request_for("a")) == ref == cycler.find("a")
    assert cycler.physical_starts() == {"a": 1}
    with pytest.raises(RequestRefusedError, match="belongs to a test with another content"):
        cycler.submit(request_for("a", rates_C=(5.0,)))
    assert cycler.find("b") is None


def test_a_busy_channel_refuses_and_a_freed_one_accepts(cycler, clock, request_for):
    """One cell a channel at a time."""
    cycler.submit(request_for("a", max_cycles=20))
    with pytest.raises(RequestRefusedError, match="channel 1 of sim is busy with test a"):
        cycler.submit(request_for("b"))
    assert cycler.physical_starts() == {"a": 1}
    clock.wait_until(cycler.next_end_h())
    assert cycler.submit(request_for("b")).channel == "1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channel": "9"}, "there is no channel 9; it has 1, 2, 3, 4"),
        ({"cell": cell_design("generic")}, "no model of the cell 'generic'; these cells can be simulated: lfp_a123, nmc_lgm50"),
        (
            {"cell": replace(cell_design("lfp_a123"), name="lfp_a123_mini", nominal_capacity_Ah=0.55, min_voltage_V=2.5)},
            "'lfp_a123_mini' has nominal_capacity_Ah = 0.55 Ah instead of 1.1 Ah, min_voltage_V = 2.5 V instead of 2 V",
        ),
        ({"ambient_temperature_degC": 80.0}, "80 degC is outside"),
        ({"rates_C": (11.0,)}, "asks for 12.1 A"),
    ],
)
def test_what_it_cannot_run_is_refused_and_not_started(cycler, request_for, changes, words):
    """One message, nothing journalled."""
    with pytest.raises(RequestRefusedError, match=words):
        cycler.submit(request_for("a", **changes))
    assert cycler.physical_starts() == {}


def test_a_period_too_short_for_the_protocol_is_refused(new_cycler, request_for):
    """Before a recording of so many rows fills the memory; the check-up counts too."""
    with pytest.raises(RequestRefusedError, match=r"rows at period_s = 0\.001; at most 2e\+06 are recorded"):
        new_cycler(instrument={"period_s": 1e-3}).submit(request_for("a"))
    slow = request_for("a", checkup=Protocol((Rest(4e6),)))
    with pytest.raises(RequestRefusedError, match="rows at period_s = 1;"):
        new_cycler(instrument={"period_s": 1.0}).submit(slow)


def test_check_ups_are_recorded_after_their_cycle(cycler, clock, request_for):
    """Rows of the same cycle number with step identifiers of their own; spectra in every other check-up only."""
    checkup = reference_performance(Candidate({}), cell_design("lfp_a123"))
    limits = checkup.limits.within(SafetyLimits(max_temperature_degC=60.0))
    request = request_for("a", max_cycles=40, checkup=Protocol(checkup.steps, limits), impedance_every_checkups=2)
    ref = cycler.submit(request)
    finish(cycler, clock)
    recording = Recording(cycler.read(ref)[0], nominal_capacity_Ah=1.1)
    cycles = cycle_summary(recording)["cycle_count"].to_list()
    assert list(checkup_capacity_Ah(recording)) == cycles
    assert list(impedance_spectra(recording)) == cycles[::2]
    assert (np.diff(recording.column("test_time_second")) > 0).all()
    assert np.isfinite(recording.column("voltage_volt")).all()
    truth = cycler.truth(ref)
    assert np.array_equal(truth.column("step_id"), recording.column("step_id"))
    assert cycle_summary(truth)["discharge_capacity_Ah"].to_list() == pytest.approx(
        cycle_summary(recording)["discharge_capacity_Ah"].to_list(), rel=5e-3
    )


def test_a_cycle_that_breaks_off_is_recorded_like_those_before(cycler, bench_cell, clock, request_for, fast_charge):
    """No check-up follows it; its rows still have every column, so that the recording stays one."""
    limits = SafetyLimits(max_temperature_degC=31.3)  # at 4.4 A the bench heats by 5.8 K
    first = Protocol((ConstantCurrent(-1.1, until_voltage_V=2.0), ConstantCurrent(1.1, until_voltage_V=3.6)), limits)
    refs = [
        cycler.submit(request_for("whole", "1", max_cycles=20, protocol=first, checkup=Protocol((Rest(60.0),)))),
        cycler.submit(request_for("broken", "2", protocol=fast_charge(4.0, limits=limits), checkup=Protocol((Rest(60.0),)))),
    ]
    finish(cycler, clock)
    whole, broken = (cycler.read(ref)[0] for ref in refs)
    assert cycler.status(refs[1]).cause == "safety"
    assert list(whole) == list(broken)


def test_a_check_up_that_cannot_be_simulated_is_refused(cycler, request_for):
    """With the step at fault, told from those of the cycle."""
    checkup = Protocol((ConstantVoltage(4.4, until_duration_s=60.0),))
    with pytest.raises(RequestRefusedError, match=r"in the check-up, step 1 asks for 4\.4 V"):
        cycler.submit(request_for("a", checkup=checkup))


def test_a_test_keeps_the_instrument_it_was_started_with(new_cycler, clock, request_for):
    """A spec gives it as a table; a lab reopened with another one reads a test as before."""
    first = new_cycler(instrument={"period_s": 5.0, "voltage_resolution_V": 0.1, "voltage_noise_V": 0.0})
    ref = first.submit(request_for("a", max_cycles=3))
    clock.wait_until(first.next_end_h())
    rows = first.read(ref)[0]
    assert set(np.round(rows["voltage_volt"] / 0.1, 6) % 1) == {0.0}
    again = new_cycler().read(ref)[0]
    assert all(np.array_equal(rows[name], again[name]) for name in rows)
    with pytest.raises(SpecError, match="period_s"):
        new_cycler(instrument={"period_s": 0.0})


def test_stop_ends_a_run_now(cycler, clock, request_for):
    """Stopped at the lab time of the order, for the reason given; what was measured until then stays; the channel is free."""
    ref = cycler.submit(request_for("a"))
    clock.wait_until(0.5 * cycler.next_end_h())
    rows = cycler.read(ref)[0]
    cycler.stop(ref, "not worth its channel")
    cycler.stop(ref, "again")
    stopped_h = clock.now_h()
    clock.wait_until(10 * stopped_h)
    status = cycler.status(ref)
    assert (status.state, status.reason, status.ended_h) == (RunState.STOPPED, "not worth its channel", stopped_h)
    assert not status.safety
    assert np.array_equal(cycler.read(ref)[0]["voltage_volt"], rows["voltage_volt"])
    assert not cycler.truth(ref).complete
    assert cycler.next_end_h() is None
    cycler.submit(request_for("b"))


def test_stopping_what_has_ended_changes_nothing(cycler, clock, request_for):
    """A test that reached its end stays finished."""
    ref = cycler.submit(request_for("a"))
    finish(cycler, clock)
    cycler.stop(ref, "too late")
    assert cycler.status(ref).state is RunState.FINISHED


def test_an_emergency_stop_needs_no_computing(cycler, bench_cell, request_for):
    """Every channel is safe at once, or the one named."""
    refs = [cycler.submit(request_for(f"k{n}", str(n))) for n in (1, 2, 3)]
    cycler.emergency_stop("2")
    assert [cycler.status(ref).state for ref in refs] == [RunState.RUNNING, RunState.STOPPED, RunState.RUNNING]
    cycler.emergency_stop()
    assert [cycler.status(ref).state for ref in refs] == [RunState.STOPPED] * 3
    assert cycler.status(refs[0]).reason == "emergency stop"
    assert bench_cell.cycles_run == 0
    with pytest.raises(CyclerError, match="no channel 7"):
        cycler.emergency_stop("7")


def test_unknown_references_are_unknown(cycler, request_for):
    """Never 'failed': it was never here. Stopping it is an error, since nothing was stopped."""
    stranger = RunRef("sim", "nobody", "1", "none")
    assert cycler.status(stranger).state is RunState.UNKNOWN
    assert cycler.read(stranger) == ({}, None)
    with pytest.raises(CyclerError, match="nothing was stopped"):
        cycler.stop(stranger, "why not")


def test_a_cursor_of_another_cycler_is_refused(cycler, request_for):
    """Rather than read from somewhere."""
    ref = cycler.submit(request_for("a"))
    with pytest.raises(CyclerError, match="'x:3' is no cursor"):
        cycler.read(ref, "x:3")


def test_a_new_lab_adopts_running_tests(new_cycler, clock, request_for):
    """After a crash the test goes on from its start time, to the end that it would have had."""
    first = new_cycler()
    ref = first.submit(request_for("a"))
    clock.wait_until(30.0)
    first.status(ref)
    second = new_cycler()
    assert second.find("a") == ref
    assert second.status(ref).state is RunState.RUNNING
    with pytest.raises(RequestRefusedError, match="busy"):
        second.submit(request_for("b"))
    finish(second, clock)
    end_h = second.status(ref).ended_h
    untouched = new_cycler(folder=second._folder.parent / "other", clock=VirtualClock())
    untouched.submit(request_for("a"))
    assert untouched.next_end_h() == end_h
    assert second.physical_starts() == {"a": 1}


def test_two_labs_on_one_folder_say_the_same(new_cycler, clock, request_for):
    """Each computes or reads what the other computed."""
    one, two = new_cycler(), new_cycler()
    refs = [one.submit(request_for("a", "1", max_cycles=30)), two.submit(request_for("b", "2", max_cycles=60))]
    assert one.next_end_h() == two.next_end_h()
    finish(two, clock)
    for ref in refs:
        assert one.status(ref) == two.status(ref)
        assert np.array_equal(one.read(ref)[0]["voltage_volt"], two.read(ref)[0]["voltage_volt"])


def test_the_seed_that_started_a_test_stays_its_seed(new_cycler, clock, request_for):
    """A lab reopened with another seed does not change cells in mid-test."""
    first = new_cycler(seed=1)
    ref = first.submit(request_for("a", max_cycles=30))
    clock.wait_until(first.next_end_h())
    mine = first.read(ref)[0]["surface_temperature_celsius"]
    assert np.array_equal(new_cycler(seed=2).read(ref)[0]["surface_temperature_celsius"], mine)


def test_a_failing_simulation_is_a_failed_test(cycler, bench_cell, clock, request_for):
    """The reason is the model's; what was measured before stays; other tests go on."""
    bench_cell.raises_from = 4
    ref = cycler.submit(request_for("a"))
    clock.wait_until(cycler.next_end_h())
    status = cycler.status(ref)
    assert status.state is RunState.FAILED
    assert "the bench is on fire" in status.reason
    assert status.cause == "solver"
    assert len(np.unique(cycler.read(ref)[0]["cycle_count"])) == 4
    bench_cell.raises_from = None
    cycler.submit(request_for("b"))


def test_the_status_tells_what_kind_of_thing_ended_a_test(cycler, clock, request_for, fast_charge):
    """A limit, a step that this cell cannot do, or nothing but the end of life."""
    shallow = Protocol((ConstantCurrent(-1.1, until_capacity_Ah=0.3), ConstantCurrent(1.1, until_voltage_V=3.6)))
    asked = {
        "safety": {"protocol": fast_charge(6.0, limits=SafetyLimits(max_temperature_degC=40.0))},
        "infeasible": {"protocol": shallow},
        None: {"max_cycles": 5},
    }
    refs = {cause: cycler.submit(request_for(f"{cause}", str(n + 1), **c)) for n, (cause, c) in enumerate(asked.items())}
    finish(cycler, clock)
    assert {cause: cycler.status(ref).cause for cause, ref in refs.items()} == {cause: cause for cause in asked}


def test_one_process_computes_every_preset(tmp_path, request_for):
    """Each cell is built when a job first asks for it; each test has the capacity of its own cell."""
    design = cell_design("nmc_lgm50")
    cycler = SimulatedCycler(2, folder=tmp_path, workers=0)
    energy = {"cell": design, "protocol": cc_cv(Candidate({}), design)}
    refs = {
        "lfp_a123": cycler.submit(request_for("power", "1", max_cycles=1)),
        "nmc_lgm50": cycler.submit(request_for("energy", "2", max_cycles=1, **energy)),
    }
    finish(cycler, cycler.clock)
    for name, ref in refs.items():
        nominal_Ah = cell_design(name).nominal_capacity_Ah
        (capacity_Ah,) = cycle_summary(cycler.truth(ref))["discharge_capacity_Ah"]
        assert capacity_Ah == pytest.approx(nominal_Ah, rel=0.06)


def test_bind_gives_what_the_constructor_was_not(tmp_path, bench_cell, request_for):
    """The lab's clock and folder; a constructor's own go before."""
    clock = VirtualClock(100.0)
    bound = SimulatedCycler(1, cell=bench_cell)
    bound.bind(clock, tmp_path / "lab")
    ref = bound.submit(request_for("a", max_cycles=5))
    assert bound.status(ref).started_h == 100.0
    assert (tmp_path / "lab" / "starts.jsonl").exists()
    own = SimulatedCycler(1, folder=tmp_path / "own", cell=bench_cell)
    own.bind(clock, tmp_path / "lab")
    own.submit(request_for("b"))
    assert (tmp_path / "own" / "starts.jsonl").exists()


def test_without_a_folder_it_lives_in_a_temporary_one(bench_cell, request_for):
    """For a look in an interpreter."""
    cycler = SimulatedCycler(["left", "right"], cell=bench_cell)
    ref = cycler.submit(request_for("a", "left", max_cycles=3))
    assert cycler.next_end_h() > 0
    assert cycler.find("a") == ref


def test_accelerated_time_counts_from_the_start(new_cycler, request_for):
    """Running while its time has not come, finished once it has."""
    wall = [0.0]
    cycler = new_cycler(clock=AcceleratedClock(3600.0, wall=lambda: wall[0]))
    ref = cycler.submit(request_for("a", max_cycles=20))
    end_h = cycler.next_end_h()
    assert cycler.status(ref).state is RunState.RUNNING
    wall[0] = end_h * 1.0001
    assert cycler.status(ref).state is RunState.FINISHED


@pytest.mark.parametrize("channels", [0, [], ["a", "a"]])
def test_channels_need_names_that_differ(channels):
    """One clear message."""
    with pytest.raises(CyclerError, match="channels must be at least one"):
        SimulatedCycler(channels)
