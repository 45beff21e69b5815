"""One simulated cycle: what a solver passes over in silence is found."""

import numpy as np
import pytest

from adapters.simulated.cell_parameters import CellState
from adapters.simulated.cell_presets import LFP_A123
from adapters.simulated.cell_steps import Cause, CellFailureError, Ending, StepTrace
from adapters.simulated.checkup_cycle import Circumstances, simulate_cycle
from adapters.simulated.experiment import plan_cycle
from orchestrator.domain import ConstantCurrent, Protocol, SafetyLimits

FRESH = CellState(0.007, 1.098, 0.52, 0.957)
PLAN = plan_cycle(
    Protocol((ConstantCurrent(-4.4, until_voltage_V=2.0), ConstantCurrent(2.2, until_voltage_V=3.6))), LFP_A123.parameters
)


def cycle(cell, plan=PLAN, limits=None):
    return simulate_cycle(cell, plan, Circumstances(LFP_A123, FRESH, 3.6, 30.0, limits or SafetyLimits()))


class BrokenCell:
    """Returns what it was given, or fails with it."""

    def __init__(self, traces, failure=None):
        self.traces, self.failure = traces, failure

    def run(self, steps, state, voltage_V, ambient_K):
        """Answer as prepared."""
        if self.failure is not None:
            raise self.failure.after(self.traces)
        return self.traces


def test_capacity_is_the_charge_taken_out(bench_cell):
    """Charges are counted within the cycle, each direction by itself."""
    done = cycle(bench_cell)
    assert done.broken is None
    assert done.capacity_Ah == pytest.approx(1.098 - 0.02 - 0.0035)
    assert done.samples["charged_Ah"][-1] == pytest.approx(done.capacity_Ah)


def test_no_two_samples_share_a_time(bench_cell):
    """Where a step follows another the current jumps between two samples of different times."""
    assert (np.diff(cycle(bench_cell).samples["time_s"]) > 0).all()


def test_a_passed_limit_ends_the_cycle_at_that_sample(bench_cell):
    """The reason names the limit, its value and what was reached; later samples do not exist."""
    done = cycle(bench_cell, limits=SafetyLimits(max_temperature_degC=34.0))
    assert done.broken is not None
    assert done.broken.kind is Cause.SAFETY
    assert "max_temperature_degC = 34 degC passed: 35.81 degC in step 1" in done.broken.reason
    assert len(done.samples["time_s"]) == 1


@pytest.mark.parametrize("limits", [SafetyLimits(max_voltage_V=3.6), SafetyLimits(min_voltage_V=3.2)])
def test_a_voltage_at_its_limit_is_no_violation(bench_cell, limits):
    """Charging to exactly the limit is what protocols do."""
    assert cycle(bench_cell, limits=limits).broken is None


def test_a_step_that_never_ends_is_a_failure(bench_cell):
    """Reaching the time limit of a step that has only a voltage to end it."""
    trace = bench_cell.run(PLAN, FRESH, 3.6, 303.15)[0]
    endless = StepTrace(trace.step, 0.0, trace.time_s, trace.columns, Ending.DURATION)
    done = cycle(BrokenCell([endless]))
    assert done.broken is not None
    assert "step 1 (discharge at 4.4 A to 2 V) did not reach its end within 0.75 h" in done.broken.reason
    assert done.broken.kind is Cause.INFEASIBLE


def test_a_short_answer_is_a_failure(bench_cell):
    """PyBaMM may return fewer steps than asked for, without a word."""
    bench_cell.drops_last_step = True
    done = cycle(bench_cell)
    assert done.broken is not None
    assert "1 of 2 steps" in done.broken.reason
    assert done.broken.kind is Cause.SOLVER


def test_a_cell_that_takes_no_charge_is_a_failure(bench_cell):
    """Every charge step over as it began is not a cycle."""
    discharge = bench_cell.run(PLAN, FRESH, 3.6, 303.15)[0]
    done = cycle(BrokenCell([discharge, StepTrace.empty(PLAN[1], discharge.duration_s, Ending.VOLTAGE)]))
    assert done.broken is not None
    assert "could not be charged" in done.broken.reason
    assert done.broken.kind is Cause.INFEASIBLE


def test_a_solver_failure_names_the_step_and_keeps_what_went_before(bench_cell):
    """The rows before the failure are evidence."""
    discharge = bench_cell.run(PLAN, FRESH, 3.6, 303.15)[0]
    done = cycle(BrokenCell([discharge], CellFailureError("the equation solver failed (IDA_CONV_FAIL)")))
    assert done.broken is not None
    assert done.broken.reason == "step 2 (charge at 2.2 A to 3.6 V): the equation solver failed (IDA_CONV_FAIL)"
    assert done.broken.kind is Cause.SOLVER
    assert len(done.samples["time_s"]) == 11
