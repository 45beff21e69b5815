"""From any protocol of the domain to steps of the simulated cell."""

import pytest

from adapters.simulated.cell_presets import LFP_A123
from adapters.simulated.experiment import MOST_ROWS, begins_with_charge, plan_cycle, too_many_rows, unrunnable, unrunnable_checkup
from orchestrator.domain import ConstantCurrent, ConstantVoltage, Impedance, Loop, Protocol, Rest

CELL = LFP_A123.parameters
DISCHARGE, CHARGE = ConstantCurrent(-1.1, until_voltage_V=2.0), ConstantCurrent(2.2, until_voltage_V=3.6)


def plan(*steps):
    return plan_cycle(Protocol(steps), CELL)


def test_a_charge_to_be_passed_becomes_its_exact_time():
    """Constant current: ampere-hours over ampere."""
    (step,) = plan(ConstantCurrent(2.2, until_capacity_Ah=0.55))
    assert step.max_duration_s == pytest.approx(900.0)
    assert not step.must_end_early


def test_the_first_end_condition_wins():
    """Duration and capacity both bound the step; the voltage may end it sooner."""
    (step,) = plan(ConstantCurrent(2.2, until_voltage_V=3.6, until_capacity_Ah=0.55, until_duration_s=60.0))
    assert (step.max_duration_s, step.until_above_V, step.until_below_V) == (60.0, 3.6, None)


def test_a_step_with_nothing_but_a_voltage_must_reach_it():
    """Running into the time limit is then a failure, not an end."""
    down, up = plan(DISCHARGE, CHARGE)
    assert down.must_end_early
    assert down.until_below_V == 2.0
    assert up.until_above_V == 3.6


def test_loops_unroll_and_steps_are_numbered_from_one():
    """Pulses in a loop are so many steps."""
    steps = plan(Loop((ConstantCurrent(1.1, until_duration_s=10.0), Rest(5.0)), 3), DISCHARGE)
    assert [s.number for s in steps] == [1, 2, 3, 4, 5, 6, 7]


def test_samples_reach_from_the_step_s_beginning_to_its_end():
    """Every kind of step is sampled, its last moment included."""
    for step in plan(DISCHARGE, ConstantVoltage(2.0, until_duration_s=900.0), Rest(300.0)):
        assert step.sample_times_s[0] == 0.0
        assert step.sample_times_s[-1] == pytest.approx(step.max_duration_s)
        assert (step.sample_times_s[1:] > step.sample_times_s[:-1]).all()


@pytest.mark.parametrize(
    ("steps", "first_charges"),
    [
        ((DISCHARGE, CHARGE), False),
        ((Rest(10.0), CHARGE, DISCHARGE), True),
        ((ConstantVoltage(3.6, until_duration_s=60.0), DISCHARGE), True),
        ((ConstantVoltage(2.0, until_duration_s=60.0), CHARGE), False),
    ],
)
def test_which_way_current_flows_first_is_seen(steps, first_charges):
    """It decides whether a cycle begins with a full or an empty cell."""
    assert begins_with_charge(Protocol(steps), CELL) is first_charges


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((DISCHARGE, Impedance(), CHARGE), "step 2 (impedance) cannot be simulated"),
        ((DISCHARGE, ConstantCurrent(44.0, until_voltage_V=3.6)), "step 2 asks for 44 A"),
        ((DISCHARGE, CHARGE, ConstantVoltage(4.4, until_duration_s=60.0)), "step 3 asks for 4.4 V"),
        ((CHARGE,), "a constant-current charge and a constant-current discharge"),
        ((Loop((DISCHARGE, CHARGE), 60),), "more than 100 steps"),
        ((Loop((Loop((DISCHARGE, CHARGE), 10**9),), 10**9),), "more than 100 steps"),
        ((DISCHARGE, CHARGE, Rest(1e12)), "step 3 may take 2.78e+08 h, too long to be simulated"),
        ((DISCHARGE, CHARGE, ConstantVoltage(3.5, until_duration_s=1e12)), "step 3 may take 2.78e+08 h"),
        ((DISCHARGE, ConstantCurrent(1.1, until_voltage_V=3.6, until_capacity_Ah=1e9)), "step 2 may take 9.09e+08 h"),
    ],
)
def test_what_the_model_was_never_made_for_is_refused(steps, words):
    """The solver would run 40C or 4.4 V without complaint; we do not."""
    assert words in (unrunnable(Protocol(steps), CELL, max_rate_C=10.0) or "")


def test_an_ordinary_cycle_is_not_refused():
    """The refusals above are not for everybody."""
    assert unrunnable(Protocol((DISCHARGE, Rest(60.0), CHARGE)), CELL, max_rate_C=10.0) is None


@pytest.mark.parametrize(
    ("spectrum", "words"),
    [
        (Impedance(points_per_decade=10**9), "step 2 asks for a spectrum of 6e+09 frequencies; at most 1000 are measured"),
        (Impedance(min_frequency_Hz=1e-300, max_frequency_Hz=1e300), "a spectrum of inf frequencies"),
        (Impedance(min_frequency_Hz=1e-9), "a spectrum that takes 1.51e+06 h, at most 24 h are measured. Raise min_frequency_Hz"),
    ],
)
def test_a_spectrum_without_bounds_is_refused(spectrum, words):
    """Before any of its frequencies is written down."""
    assert words in (unrunnable_checkup(Protocol((Rest(60.0), spectrum)), CELL, max_rate_C=10.0) or "")


def test_a_cycle_of_more_rows_than_can_be_kept_is_refused():
    """What to change is said; a slow channel records the same cycle."""
    protocol = Protocol((DISCHARGE, Rest(MOST_ROWS / 100), CHARGE))
    assert too_many_rows(protocol, CELL, period_s=1.0) is None
    refusal = too_many_rows(protocol, CELL, period_s=1e-3)
    assert "rows at period_s = 0.001; at most 2e+06 are recorded. Give the instrument a longer period_s" in refusal
