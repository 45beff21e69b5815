"""The cells that can be simulated: each a model of its own, each with its own life."""

from dataclasses import replace

import numpy as np
import pytest

from adapters.simulated.cell_model import pybamm_cell
from adapters.simulated.cell_parameters import CellState, equilibrium
from adapters.simulated.cell_presets import LFP_A123, NMC_LGM50, PRESETS, preset_for
from adapters.simulated.checkup_cycle import Circumstances, simulate_cycle
from adapters.simulated.experiment import plan_cycle
from adapters.simulated.life_test import LifeTest
from orchestrator.domain import Candidate, ConstantCurrent, ConstantVoltage, Protocol, Rest, RunRequest, RunState, SpecError
from orchestrator.domain.cell_design import CELL_DESIGNS, cell_design
from orchestrator.representation.charging import cc_cv

NMC = cell_design("nmc_lgm50")
FRESH = {
    "lfp_a123": CellState(0.00726, 1.098, 0.525, 0.957),
    "nmc_lgm50": CellState(0.00726, 7.61, 1.0, 1.0),
}


def nmc_request(key, charge_rate_C, **changes):
    fields = {"max_cycles": 5000, "checkup_every_cycles": 100, "ambient_temperature_degC": 25.0}
    protocol = cc_cv(Candidate({"charge_rate_C": charge_rate_C}), NMC)
    return RunRequest(key, "1", Candidate({"charge_rate_C": charge_rate_C}), NMC, protocol, **{**fields, **changes})


def nmc_life(**changes):
    """The check-ups of a test of one and the same cell, and its end."""
    request = nmc_request("one cell", **changes)
    *checkups, end = LifeTest(request, 0, pybamm_cell("nmc_lgm50")).run()
    return checkups, end


def test_every_preset_is_a_synthetic_design():
    """Who sees a design's numbers sees that they come from a model; the law ages the cell that the model describes."""
    for name, preset in PRESETS.items():
        design = CELL_DESIGNS[name]
        assert design.synthetic
        assert preset_for(name) is preset
        assert design.nominal_capacity_Ah == preset.parameters.nominal_capacity_Ah == preset.law.nominal_capacity_Ah
        assert preset.law.negative_capacity_Ah == preset.parameters.negative.capacity_Ah
        assert preset.parameters.min_voltage_V < design.min_voltage_V < design.max_voltage_V < preset.parameters.max_voltage_V


def test_a_design_without_a_model_is_refused_with_those_that_have_one():
    """The message is a menu."""
    with pytest.raises(SpecError, match="no model of the cell 'generic'; these cells can be simulated: lfp_a123, nmc_lgm50"):
        preset_for("generic")


def test_the_balance_of_the_nmc_cell_is_that_of_its_source():
    """Full at 4.2 V, the stoichiometries are those of Chen 2020 (0.901 and 0.270)."""
    x, y = equilibrium(NMC_LGM50.parameters, FRESH["nmc_lgm50"], 4.2)
    assert x == pytest.approx(29866 / 33133, abs=0.01)
    assert y == pytest.approx(17038 / 63104, abs=0.01)


def test_a_life_test_of_the_nmc_cell_runs_to_its_end():
    """5 Ah give about 5 Ah; at 1C and 25 degC it lives some hundred to 1500 cycles; faster charge and heat cost life."""
    checkups, end = nmc_life(charge_rate_C=1.0)
    assert end.state is RunState.FINISHED
    assert 4.8 < checkups[0].capacity_Ah < 5.3
    assert 400 < end.cycles < 1500
    assert (np.diff([checkup.capacity_Ah for checkup in checkups]) < 0).all()
    for harder in ({"charge_rate_C": 3.0}, {"charge_rate_C": 1.0, "ambient_temperature_degC": 45.0}):
        assert nmc_life(**harder)[1].cycles < 0.75 * end.cycles


def test_a_charge_that_ends_by_time_leaves_the_cell_short_of_full():
    """What the charge did not put in the next recorded cycle cannot take out: after the first, cycles give what they got."""
    checkups, _ = nmc_life(charge_rate_C=2.0, max_cycles=200)
    ratios = [c.samples["discharged_Ah"][-1] / c.samples["charged_Ah"][-1] for c in checkups]
    assert ratios[0] > 1.01
    assert ratios[1:] == pytest.approx([1.0] * len(ratios[1:]), abs=0.005)


def with_leak(preset, leak_S):
    """A cycle of discharge, charge and rest of a fresh cell with an internal short."""
    design, cell = CELL_DESIGNS[preset.name], pybamm_cell(preset.name)
    one_C = design.current_A(1.0)
    protocol = Protocol(
        (
            ConstantCurrent(-one_C, until_capacity_Ah=0.7 * design.nominal_capacity_Ah),
            ConstantCurrent(one_C, until_voltage_V=design.max_voltage_V),
            ConstantVoltage(design.max_voltage_V, until_duration_s=1800.0),
            Rest(3600.0),
        )
    )
    plan = plan_cycle(protocol, preset.parameters)
    state = replace(FRESH[preset.name], leak_S=leak_S)
    done = simulate_cycle(cell, plan, Circumstances(preset, state, design.max_voltage_V, 25.0, protocol.limits))
    assert done.broken is None
    return done.samples


@pytest.mark.parametrize("preset", [LFP_A123, NMC_LGM50], ids=lambda preset: preset.name)
def test_an_internal_short_shows_where_a_short_shows(preset):
    """At rest the voltage falls and the cell is warm though no current is measured; charge goes in that never comes out."""
    sound, shorted = with_leak(preset, 0.0), with_leak(preset, 0.02 * preset.parameters.nominal_capacity_Ah)
    rest = {name: samples["step"] == 4 for name, samples in (("sound", sound), ("shorted", shorted))}
    efficiency = [samples["discharged_Ah"][-1] / samples["charged_Ah"][-1] for samples in (sound, shorted)]
    fallen = [np.ptp(sound["voltage_V"][rest["sound"]]), np.ptp(shorted["voltage_V"][rest["shorted"]])]
    assert efficiency[1] < efficiency[0] - 0.05
    assert fallen[1] > fallen[0] + 0.02
    assert shorted["temperature_degC"][-1] > sound["temperature_degC"][-1] + 0.2
    assert np.abs(shorted["current_A"][rest["shorted"]]).max() < 1e-9


def test_the_charge_a_short_takes_is_its_current_times_time():
    """V G, integrated: what was put in and not taken out, once the cell is full again."""
    leak_S = 0.005
    sound, shorted = (with_leak(LFP_A123, leak) for leak in (0.0, leak_S))
    full_again = shorted["step"] < 4
    missing = [samples["charged_Ah"][-1] - samples["discharged_Ah"][-1] for samples in (sound, shorted)]
    taken_Ah = np.trapezoid(leak_S * shorted["voltage_V"][full_again], shorted["time_s"][full_again]) / 3600
    assert missing[1] - missing[0] == pytest.approx(taken_Ah, rel=0.1)
