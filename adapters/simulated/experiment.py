"""From a lab protocol to steps that the simulated cell can run, whatever template wrote it.

A charge passed under constant current is current times time, so `until_capacity_Ah` becomes a duration, exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adapters.simulated.cell_parameters import CellParameters
from adapters.simulated.cell_steps import Array, CellStep
from orchestrator.domain import ConstantCurrent, ConstantVoltage, Impedance, Protocol, Rest
from orchestrator.domain.recording import CHECKUP_STEP_ID

# A step that should end by its voltage or current but has passed this much charge or time is given up.
MOST_CHARGE_IN_A_STEP = 3.0  # nominal capacities
LONGEST_HOLD_S = 24 * 3600.0
# Samples per nominal capacity under constant current; holds and rests are sampled ever less densely.
SAMPLES_PER_CAPACITY = 160
# A frequency is measured for so many periods, and no shorter than so long.
PERIODS_PER_FREQUENCY, LEAST_PER_FREQUENCY_S = 2.0, 0.5
FIRST_SAMPLE_S, SAMPLE_GROWTH, LONGEST_SAMPLE_S = 1.0, 1.1, 120.0
MOST_STEPS = 100


def plan_cycle(protocol: Protocol, cell: CellParameters) -> list[CellStep]:
    """The steps of one cycle. The protocol must have passed `unrunnable`."""
    return [_plan(number, step, cell.nominal_capacity_Ah) for number, step in enumerate(protocol.walk(), start=1)]


def plan_checkup(protocol: Protocol, cell: CellParameters) -> list[CellStep]:
    """The steps of a check-up. The protocol must have passed `unrunnable_checkup`."""
    first = CHECKUP_STEP_ID + 1
    return [_plan(number, step, cell.nominal_capacity_Ah) for number, step in enumerate(protocol.walk(), start=first)]


def begins_with_charge(protocol: Protocol, cell: CellParameters) -> bool:
    """Whether current first flows into the cell; such a cycle begins with an empty cell, any other with a full one."""
    for step in protocol.walk():
        if isinstance(step, ConstantCurrent):
            return step.charging
        if isinstance(step, ConstantVoltage):
            return bool(step.voltage_V > cell.middle_voltage_V)
    return False


def unrunnable(protocol: Protocol, cell: CellParameters, max_rate_C: float) -> str | None:
    """Why a cell cannot run a protocol as its ageing cycle, or None."""
    steps = list(protocol.walk())
    problem = _first_problem(steps, cell, max_rate_C)
    if problem is not None:
        return problem
    for number, step in enumerate(steps, start=1):
        if isinstance(step, Impedance):
            return f"step {number} ({step.kind}) cannot be simulated in every cycle: measure spectra in a check-up."
    currents = [s.current_A for s in steps if isinstance(s, ConstantCurrent)]
    if not any(a < 0 for a in currents) or not any(a > 0 for a in currents):
        return "one cycle needs a constant-current charge and a constant-current discharge."
    return None


def unrunnable_checkup(protocol: Protocol, cell: CellParameters, max_rate_C: float) -> str | None:
    """Why a cell cannot run a protocol as its check-up, or None."""
    problem = _first_problem(list(protocol.walk()), cell, max_rate_C)
    return None if problem is None else f"in the check-up, {problem}"


def _first_problem(steps: list[Any], cell: CellParameters, max_rate_C: float) -> str | None:
    if len(steps) > MOST_STEPS:
        return f"one cycle has {len(steps)} steps; at most {MOST_STEPS} are simulated."
    problems = (_problem(step, cell, max_rate_C * cell.nominal_capacity_Ah) for step in steps)
    return next((f"step {number} {problem}" for number, problem in enumerate(problems, start=1) if problem), None)


def _problem(step: object, cell: CellParameters, max_current_A: float) -> str | None:
    low, high = cell.min_voltage_V, cell.max_voltage_V
    if isinstance(step, ConstantCurrent):
        volts: float | None = step.until_voltage_V
        if abs(step.current_A) > max_current_A * (1 + 1e-9):
            return f"asks for {step.current_A:g} A; the cell takes at most {max_current_A:g} A."
    elif isinstance(step, ConstantVoltage):
        volts = step.voltage_V
    else:
        return None
    if volts is not None and not low < volts < high:
        return f"asks for {volts:g} V; the cell is simulated between {low:g} and {high:g} V."
    return None


def _plan(number: int, step: object, nominal_Ah: float) -> CellStep:
    if isinstance(step, ConstantCurrent):
        return _plan_current(number, step, nominal_Ah)
    if isinstance(step, ConstantVoltage):
        return _plan_voltage(number, step)
    if isinstance(step, Impedance):
        return _plan_spectrum(number, step)
    assert isinstance(step, Rest)  # noqa: S101 - a protocol's walk knows no other kind
    return CellStep(number, "rest", 0.0, None, step.duration_s, _thinning(step.duration_s))


def _plan_current(number: int, step: ConstantCurrent, nominal_Ah: float) -> CellStep:
    size, until = abs(step.current_A), step.until_voltage_V
    ends_s = [s for s in (step.until_duration_s, _seconds(step.until_capacity_Ah, size)) if s is not None]
    longest = min(ends_s, default=MOST_CHARGE_IN_A_STEP * nominal_Ah / size * 3600)
    verb = "charge" if step.charging else "discharge"
    return CellStep(
        number,
        what=f"{verb} at {size:g} A" + (f" to {until:g} V" if until is not None else ""),
        current_A=step.current_A,
        voltage_V=None,
        max_duration_s=longest,
        sample_times_s=_regular(longest, nominal_Ah / SAMPLES_PER_CAPACITY / size * 3600),
        until_above_V=until if step.charging else None,
        until_below_V=None if step.charging else until,
        must_end_early=not ends_s,
    )


def _plan_voltage(number: int, step: ConstantVoltage) -> CellStep:
    longest = step.until_duration_s or LONGEST_HOLD_S
    return CellStep(
        number,
        what=f"hold {step.voltage_V:g} V",
        current_A=0.0,
        voltage_V=step.voltage_V,
        max_duration_s=longest,
        sample_times_s=_thinning(longest),
        until_current_A=step.until_current_A,
        must_end_early=step.until_duration_s is None,
    )


def _plan_spectrum(number: int, step: Impedance) -> CellStep:
    """A rest that is sampled when each frequency, from high to low, has been measured."""
    decades = np.log10(step.max_frequency_Hz / step.min_frequency_Hz)
    points = max(2, round(float(decades) * step.points_per_decade) + 1)
    frequency_Hz = np.geomspace(step.max_frequency_Hz, step.min_frequency_Hz, points)
    ends_s = np.cumsum(np.maximum(PERIODS_PER_FREQUENCY / frequency_Hz, LEAST_PER_FREQUENCY_S))
    times_s = np.concatenate([[0.0], ends_s])
    return CellStep(number, "impedance spectrum", 0.0, None, float(ends_s[-1]), times_s, frequency_Hz=frequency_Hz)


def _seconds(charge_Ah: float | None, current_A: float) -> float | None:
    return None if charge_Ah is None else charge_Ah / current_A * 3600


def _regular(longest_s: float, period_s: float) -> Array:
    return np.linspace(0.0, longest_s, max(round(longest_s / period_s), 4) + 1)


def _thinning(longest_s: float) -> Array:
    """Times from 0, ever further apart, to the end."""
    periods, total = [0.0], 0.0
    period = FIRST_SAMPLE_S
    while total + period < longest_s:
        total += period
        periods.append(total)
        period = min(period * SAMPLE_GROWTH, LONGEST_SAMPLE_S)
    return np.array([*periods, longest_s])
