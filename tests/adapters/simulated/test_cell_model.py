"""The PyBaMM cell: any protocol, sane physics, and honest about what it could not do."""

import numpy as np
import pytest

from adapters.simulated.cell_parameters import CellState, equilibrium
from adapters.simulated.cell_presets import LFP_A123
from adapters.simulated.cell_steps import Cause, Ending
from adapters.simulated.checkup_cycle import Circumstances, simulate_cycle
from adapters.simulated.experiment import plan_cycle
from adapters.simulated.life_test import LifeTest
from orchestrator.domain import ConstantCurrent, ConstantVoltage, Loop, Protocol, Rest, RunState

FRESH = CellState(impeded_fraction=0.00726, lithium_Ah=1.098, resistance_factor=0.525, negative_active=0.957)
AGED = CellState(impeded_fraction=0.25, lithium_Ah=1.0, resistance_factor=0.58, negative_active=0.957)


@pytest.fixture
def cycle(pybamm_cell):
    """Simulates one cycle of a protocol."""

    def run(protocol, state=FRESH, voltage_V=3.6, ambient_degC=30.0):
        plan = plan_cycle(protocol, LFP_A123.parameters)
        return simulate_cycle(pybamm_cell, plan, Circumstances(LFP_A123, state, voltage_V, ambient_degC, protocol.limits))

    return run


def passed_Ah(done, step):
    """Charge passed in a step, by trapezoid of its samples, which must agree with the model's own counter."""
    there = done.samples["step"] == step
    return np.trapezoid(done.samples["current_A"][there], done.samples["time_s"][there]) / 3600


@pytest.mark.parametrize("voltage_V", [2.0, 3.0, 3.6])
def test_equilibrium_shows_its_voltage_and_keeps_the_lithium(voltage_V):
    """Both electrodes at rest, the lithium shared between them."""
    cell = LFP_A123.parameters
    x, y = equilibrium(cell, AGED, voltage_V)
    assert cell.positive.potential_V(y) - cell.negative.potential_V(x) == pytest.approx(voltage_V, abs=1e-6)
    assert 1.334 * 0.957 * x + 1.51 * y == pytest.approx(1.0)


def test_a_fresh_cell_gives_what_is_written_on_it(cycle, fast_charge):
    """1.05 to 1.1 Ah at 4C; the recording's trapezoid agrees to 0.1 %; 150 to 500 rows."""
    done = cycle(fast_charge(4.8, 4.0, 3.6))
    assert done.broken is None
    assert 1.05 < done.capacity_Ah < 1.10
    out = np.trapezoid(np.maximum(-done.samples["current_A"], 0), done.samples["time_s"]) / 3600
    assert out == pytest.approx(done.capacity_Ah, rel=1e-3)
    assert 150 < len(done.samples["time_s"]) < 500


def test_each_share_of_charge_is_passed_exactly(cycle, fast_charge):
    """Steps of a capacity end at that capacity, whatever went before, in a fresh cell and in an aged one."""
    for state in (FRESH, AGED):
        done = cycle(fast_charge(3.0, 2.0, discharge_C=1.0), state)
        assert [passed_Ah(done, n) for n in (4, 5)] == pytest.approx([0.44, 0.44], rel=1e-5)


def test_any_order_of_steps_runs(cycle):
    """Charge first, pulses in a loop, holds by time: nothing knows a template."""
    protocol = Protocol(
        (
            ConstantCurrent(1.1, until_voltage_V=3.5, until_capacity_Ah=0.5),
            Rest(60.0),
            Loop((ConstantCurrent(-2.2, until_duration_s=30.0), Rest(20.0)), 2),
            ConstantVoltage(3.36, until_duration_s=600.0),
            ConstantCurrent(-1.1, until_voltage_V=2.2),
        )
    )
    done = cycle(protocol, voltage_V=2.0)
    assert done.broken is None
    steps, time_s, volts = (done.samples[name] for name in ("step", "time_s", "voltage_V"))
    assert list(np.unique(steps)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert passed_Ah(done, 1) == pytest.approx(0.5, rel=1e-4)
    assert passed_Ah(done, 3) == pytest.approx(-2.2 * 30 / 3600, rel=1e-3)
    assert np.ptp(time_s[steps == 7]) == pytest.approx(600.0, abs=0.01)
    assert volts[steps == 7] == pytest.approx(3.36, abs=1e-4)
    assert volts[-1] == pytest.approx(2.2, abs=1e-3)


def test_a_step_that_is_over_before_it_begins_takes_no_time(pybamm_cell):
    """A full cell is not charged further; that is an ending, not a failure."""
    steps = (ConstantCurrent(5.5, until_voltage_V=3.6), ConstantCurrent(-1.1, until_capacity_Ah=0.1))
    plan = plan_cycle(Protocol(steps), LFP_A123.parameters)
    charge, discharge = pybamm_cell.run(plan, FRESH, 3.6, 303.15)
    assert (charge.duration_s, charge.ending) == (0.0, Ending.VOLTAGE)
    assert discharge.duration_s == pytest.approx(0.1 / 1.1 * 3600)


def test_leaving_the_model_s_range_is_a_failure(cycle):
    """Charge forced in without a voltage to end it: the cell does not quietly reach 5 V."""
    done = cycle(Protocol((ConstantCurrent(-1.1, until_capacity_Ah=0.2), ConstantCurrent(2.2, until_capacity_Ah=0.9))))
    assert done.broken is not None
    assert "step 2 (charge at 2.2 A): the cell reached 4.20 V, outside the range of the model" in done.broken.reason
    assert done.broken.kind is Cause.INFEASIBLE
    assert done.samples["step"][-1] == 2


def test_a_current_nobody_looked_at_is_a_failure(cycle):
    """An empty cell held at 3.6 V at once draws more than the model was made for; PyBaMM would not say a word."""
    done = cycle(Protocol((ConstantCurrent(-1.1, until_voltage_V=2.0), ConstantVoltage(3.6, until_current_A=0.1))))
    assert done.broken is not None
    assert "step 2 (hold 3.6 V): the current reached" in done.broken.reason
    assert "the model covers 13.2 A" in done.broken.reason
    assert done.broken.kind is Cause.INFEASIBLE


def test_the_same_cell_gives_the_same_samples_whatever_was_solved_before(cycle, fast_charge):
    """Bit by bit: the model keeps no memory of other tests."""
    once = cycle(fast_charge(4.0))
    cycle(fast_charge(7.0), AGED, ambient_degC=45.0)
    again = cycle(fast_charge(4.0))
    assert all(np.array_equal(once.samples[name], again.samples[name]) for name in once.samples)


def test_faster_charge_is_hotter_and_harder(cycle, fast_charge):
    """More heat, more stress, less time; and an aged anode comes nearer to plating."""
    slow, fast = (cycle(fast_charge(c, c, c, discharge_C=1.0)) for c in (2.0, 6.0))
    assert fast.samples["temperature_degC"].max() > slow.samples["temperature_degC"].max() + 2
    assert fast.stress.charge_rate_cubed_h > 5 * slow.stress.charge_rate_cubed_h
    assert fast.duration_s < slow.duration_s
    assert cycle(fast_charge(6.0, 6.0, 6.0, discharge_C=1.0), AGED).stress.plating_V_s > 2 * fast.stress.plating_V_s


def test_the_chamber_sets_the_temperature(cycle, fast_charge):
    """A cycle starts at ambient and heats above it."""
    warm = cycle(fast_charge(2.0), ambient_degC=40.0).samples["temperature_degC"]
    assert warm[0] == pytest.approx(40.0, abs=0.01)
    assert warm.max() > 41


def test_fast_charge_shortens_life(pybamm_cell, request_for):
    """What PyBaMM's stock ageing gets wrong: after 100 cycles the cell charged at 6C has lost more than that at 2C."""
    left_Ah = []
    for rate in (2.0, 6.0):
        request = request_for("one key, one cell", rates_C=(rate,), max_cycles=100, checkup_every_cycles=100)
        *checkups, end = LifeTest(request, 0, pybamm_cell).run()
        assert end.state is RunState.FINISHED
        assert end.cycles == checkups[-1].cycle == 100
        left_Ah.append(checkups[-1].capacity_Ah)
    assert left_Ah[0] > left_Ah[1]
