"""Check-ups of their own after the recorded cycles: slow capacity, pulse and spectrum."""

from dataclasses import replace

import numpy as np
import pytest

from adapters.simulated.cell_model import pybamm_cell
from adapters.simulated.cell_parameters import CellState
from adapters.simulated.cell_presets import LFP_A123, NMC_LGM50, preset_for
from adapters.simulated.cell_steps import Cause, CellFailureError
from adapters.simulated.checkup_cycle import BreakOff, Circumstances, simulate_checkup
from adapters.simulated.experiment import plan_checkup
from adapters.simulated.life_test import LifeTest
from orchestrator.domain import Candidate, ConstantCurrent, Impedance, Protocol, Rest, RunState, SafetyLimits
from orchestrator.domain.cell_design import cell_design
from orchestrator.domain.recording import CHECKUP_STEP_ID
from orchestrator.features import fit_randles
from orchestrator.representation.charging import reference_performance

FRESH = {"lfp_a123": CellState(0.00726, 1.098, 0.525, 0.957), "nmc_lgm50": CellState(0.00726, 7.61, 1.0, 1.0)}
FREQUENCY_HZ = np.geomspace(1e4, 1e-2, 31)


def reference(name):
    return reference_performance(Candidate({}), cell_design(name))


def checkup_of(name, state=None, protocol=None, **how):
    """A check-up of a fresh cell, or one in another state, with the real model."""
    preset, design, asked = preset_for(name), cell_design(name), protocol or reference(name)
    under = Circumstances(preset, state or FRESH[name], design.max_voltage_V, 25.0, asked.limits)
    return simulate_checkup(pybamm_cell(name), plan_checkup(asked, preset.parameters), under, **how)


def spectrum(name, **changes):
    """The spectrum of a cell at half charge, in ohm."""
    design = cell_design(name)
    state, half_Ah = replace(FRESH[name], **changes), 0.5 * design.nominal_capacity_Ah
    return pybamm_cell(name).impedance(FREQUENCY_HZ, state, design.max_voltage_V, 298.15, half_Ah)


@pytest.mark.parametrize("name", ["lfp_a123", "nmc_lgm50"])
def test_a_reference_performance_test_measures_what_it_promises(name):
    """About the nominal capacity, a spectrum of the frequencies asked for at a rest of half charge, and the cell full again."""
    done, nominal_Ah = checkup_of(name), cell_design(name).nominal_capacity_Ah
    assert done.broken is None
    samples, step = done.samples, done.samples["step"] - CHECKUP_STEP_ID
    slow = step == 4
    capacity_Ah = np.trapezoid(-samples["current_A"][slow], samples["time_s"][slow]) / 3600
    assert 0.95 * nominal_Ah < capacity_Ah < 1.1 * nominal_Ah
    measured = np.isfinite(samples["frequency_Hz"])
    assert set(step[measured]) == {10}
    assert samples["frequency_Hz"][measured] == pytest.approx(FREQUENCY_HZ)
    assert (samples["current_A"][measured] == 0).all()
    assert np.isfinite(samples["voltage_V"]).all()
    assert (np.diff(samples["time_s"]) > 0).all()
    # From empty, half charged, pulsed, and full again: all that came out has gone in.
    assert samples["charged_Ah"][-1] == pytest.approx(samples["discharged_Ah"][-1], rel=0.01)


def test_the_pulse_and_the_spectrum_agree_about_the_cell():
    """The ohmic jump of the pulse is the spectrum's resistance at high frequency; ten seconds reach into its diffusion."""
    samples = checkup_of("nmc_lgm50").samples
    step = samples["step"] - CHECKUP_STEP_ID
    rest_V, pulse = samples["voltage_V"][step == 7][-1], step == 8
    resistance_ohm = (samples["voltage_V"][pulse] - rest_V) / samples["current_A"][pulse]
    at = np.isfinite(samples["frequency_Hz"])
    real = dict(zip(samples["frequency_Hz"][at].round(6), samples["Z_real_ohm"][at], strict=True))
    assert real[10000.0] < resistance_ohm[0] < real[0.1]
    assert resistance_ohm[-1] == pytest.approx(real[0.063096], rel=0.15)


@pytest.mark.parametrize("name", ["lfp_a123", "nmc_lgm50"])
def test_the_spectrum_tells_ageing_apart(name):
    """R0 grows with f_R by as much as the series resistance, Rct with the impeded graphite; neither is taken for the other."""
    fresh = fit_randles(FREQUENCY_HZ, spectrum(name))
    factor, contact_ohm = FRESH[name].resistance_factor, preset_for(name).parameters.series_resistance_ohm
    worn = fit_randles(FREQUENCY_HZ, spectrum(name, resistance_factor=1.5 * factor))
    impeded = fit_randles(FREQUENCY_HZ, spectrum(name, impeded_fraction=0.3))
    assert worn["R0_ohm"] - fresh["R0_ohm"] == pytest.approx(0.5 * factor * contact_ohm, rel=0.02)
    assert worn["Rct_ohm"] == pytest.approx(fresh["Rct_ohm"], rel=0.01)
    assert impeded["Rct_ohm"] > 1.25 * fresh["Rct_ohm"]
    assert impeded["R0_ohm"] == pytest.approx(fresh["R0_ohm"], rel=0.01)


def test_lost_material_and_lithium_move_the_spectrum():
    """The active area and the stoichiometry both count."""
    fresh = spectrum("nmc_lgm50")
    for change in ({"negative_active": 0.8}, {"positive_active": 0.8}, {"lithium_Ah": 6.8}):
        assert np.abs(spectrum("nmc_lgm50", **change) - fresh).max() > 5e-4


def test_a_spectrum_remembers_no_other():
    """Bit by bit the same, whatever was measured before."""
    once = spectrum("lfp_a123")
    spectrum("lfp_a123", impeded_fraction=0.3)
    assert np.array_equal(spectrum("lfp_a123"), once)


def test_without_spectra_their_steps_are_left_out():
    """The other steps keep their numbers."""
    bare = checkup_of("lfp_a123", spectra=False)
    assert not np.isfinite(bare.samples["frequency_Hz"]).any()
    assert CHECKUP_STEP_ID + 10 not in bare.samples["step"]
    assert CHECKUP_STEP_ID + 11 in bare.samples["step"]


@pytest.fixture
def life(bench_cell, request_for):
    """A short life test on the bench cell with check-ups; changes of the request."""

    def run(**changes):
        request = request_for("a", **{"max_cycles": 60, "checkup": reference("lfp_a123"), **changes})
        *checkups, end = LifeTest(request, 0, bench_cell).run()
        return checkups, end

    return run


def test_a_check_up_takes_its_time_and_changes_nothing_else(life):
    """Cycles, capacities and ageing are those of the test without check-ups; the lab waits for them."""
    bare, bare_end = life(checkup=None)
    checked, end = life()
    assert [(c.cycle, c.capacity_Ah, c.age, c.stress) for c in checked] == [
        (c.cycle, c.capacity_Ah, c.age, c.stress) for c in bare
    ]
    assert end.cycles == bare_end.cycles
    assert end.end_s == pytest.approx(bare_end.end_s + sum(c.reference_s for c in checked))
    for checkup in checked:
        assert checkup.samples["time_s"][-1] == pytest.approx(checkup.duration_s + checkup.reference_s)
        assert (np.diff(checkup.samples["time_s"]) > 0).all()


def test_spectra_come_as_often_as_asked(life, bench_cell):
    """The first check-up, and every third."""
    checkups, _ = life(impedance_every_checkups=3)
    measured = [bool(np.isfinite(c.samples["frequency_Hz"]).any()) for c in checkups]
    assert measured == [index % 3 == 0 for index in range(len(checkups))]
    assert bench_cell.spectra_measured == sum(measured)


def test_a_test_with_check_ups_goes_on_from_any_of_them(life, bench_cell, request_for):
    """After a crash nothing differs."""
    checkups, end = life()
    request = request_for("a", max_cycles=60, checkup=reference("lfp_a123"))
    *rest, same_end = LifeTest(request, 0, bench_cell).run(checkups[1])
    assert same_end == end
    assert [c.start_s for c in rest] == [c.start_s for c in checkups[2:]]


def test_a_check_up_that_breaks_off_ends_the_test_after_its_cycle(life):
    """The cycle counts as done; the reason names the check-up's step; a limit is told from what cannot be done."""
    hot = Protocol(reference("lfp_a123").steps, replace(reference("lfp_a123").limits, max_temperature_degC=30.2))
    checkups, end = life(checkup=hot)
    assert (end.state, end.cause, end.cycles) == (RunState.STOPPED, Cause.SAFETY, 1)
    assert "of the check-up" in end.reason
    assert len(checkups) == 1


def test_a_check_up_that_breaks_off_after_the_last_cycle_takes_no_result_away(life):
    """The ageing cycles are whole and done: the test has finished, and its reason names the check-up's step."""
    hot = Protocol(reference("lfp_a123").steps, replace(reference("lfp_a123").limits, max_temperature_degC=30.2))
    checkups, end = life(checkup=hot, max_cycles=1)
    assert checkups[-1].broken is not None
    assert (end.state, end.safety, end.cause, end.cycles) == (RunState.FINISHED, False, None, 1)
    assert "all 1 cycles" in end.reason
    assert "the check-up after it broke off: safety limit" in end.reason


def test_a_check_up_that_breaks_off_below_the_end_of_life_takes_no_life_away(bench_cell, request_for):
    """The capacity was measured by the cycle; only a cycle that broke off itself leaves it open."""
    test = LifeTest(request_for("a", checkup=Protocol((Rest(60.0),))), 0, bench_cell)
    *_, last, end = test.run()
    broken = replace(last, broken=BreakOff("step 1 of the check-up (rest): no", Cause.SOLVER))
    assert test.end_after(broken) == replace(end, reason=f"{end.reason}; the check-up after it broke off: {broken.broken.reason}")
    assert test.end_after(replace(broken, reference_s=None)).state is RunState.FAILED


def test_a_spectrum_that_cannot_be_solved_is_left_out(life, bench_cell, monkeypatch):
    """The solver's trouble is no trouble of the cell: the test goes on, with a rest where the spectrum would have been."""
    measure = bench_cell.impedance

    def fails_once(*asked):
        found = measure(*asked)
        if bench_cell.spectra_measured == 2:
            raise CellFailureError("the spectrum's equations could not be solved")
        return found

    monkeypatch.setattr(bench_cell, "impedance", fails_once)
    checkups, end = life()
    assert end.state is RunState.FINISHED
    measured = [bool(np.isfinite(c.samples["frequency_Hz"]).any()) for c in checkups]
    assert measured == [index != 1 for index in range(len(checkups))]
    assert all(CHECKUP_STEP_ID + 10 in c.samples["step"] for c in checkups)


def test_an_infeasible_check_up_says_so():
    """With the step, in the model's own words."""
    beyond = Protocol((ConstantCurrent(1.1, until_capacity_Ah=0.9), Rest(60.0)), SafetyLimits())
    done = checkup_of("lfp_a123", protocol=beyond)
    assert done.broken.kind is Cause.INFEASIBLE
    assert done.broken.reason.startswith("step 1 of the check-up (charge at 1.1 A): the cell reached 4.20 V")


def test_a_short_s_charge_counts_for_the_spectrum():
    """A cell that leaked through a long rest is emptier than the channel knows."""
    protocol = Protocol((ConstantCurrent(-2.5, until_capacity_Ah=2.5), Rest(36000.0), Impedance(points_per_decade=2)))
    sound, leaking = (checkup_of("nmc_lgm50", replace(FRESH["nmc_lgm50"], leak_S=leak), protocol) for leak in (0.0, 0.03))
    found = [np.nanmax(np.abs(done.samples["Z_imag_ohm"])) for done in (sound, leaking)]
    assert found[0] != pytest.approx(found[1], rel=0.02)


def test_presets_say_how_long_a_spectrum_takes():
    """Two periods a frequency: nine minutes down to 10 mHz."""
    (step,) = plan_checkup(Protocol((Impedance(),)), LFP_A123.parameters)
    assert step.max_duration_s == pytest.approx(560, abs=30)
    assert len(step.frequency_Hz) == len(step.sample_times_s) - 1 == 31
    assert plan_checkup(Protocol((Impedance(),)), NMC_LGM50.parameters)[0].number == CHECKUP_STEP_ID + 1
