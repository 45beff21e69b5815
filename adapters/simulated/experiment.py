"""From a lab protocol to steps that the simulated cell can run, whatever template wrote it.

A charge passed under constant current is current times time, so `until_capacity_Ah` becomes a duration, exactly.
"""

from __future__ import annotations

from itertools import islice
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
# What one cycle, or one check-up, may take up: samples of the model, rows of the recording, frequencies of a spectrum.
MOST_SAMPLES = 100_000
MOST_ROWS = 2_000_000
MOST_FREQUENCIES = 1000
LONGEST_SPECTRUM_S = 24 * 3600.0


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


def too_many_rows(protocol: Protocol, cell: CellParameters, period_s: float) -> str | None:
    """Why a channel that records every `period_s` cannot record a cycle, or None. The protocol must have passed `unrunnable`."""
    longest_s = sum(_longest_s(step, cell.nominal_capacity_Ah) for step in protocol.walk())
    if longest_s / period_s <= MOST_ROWS:
        return None
    return (
        f"its steps may take {longest_s / 3600:.3g} h, {longest_s / period_s:.3g} rows at period_s = {period_s:g}; at most "
        f"{MOST_ROWS:g} are recorded. Give the instrument a longer period_s, or the steps shorter durations."
    )


def unrunnable(protocol: Protocol, cell: CellParameters, max_rate_C: float) -> str | None:
    """Why a cell cannot run a protocol as its ageing cycle, or None."""
    steps = _first_steps(protocol)
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
    problem = _first_problem(_first_steps(protocol), cell, max_rate_C)
    return None if problem is None else f"in the check-up, {problem}"


def _first_steps(protocol: Protocol) -> list[Any]:
    """The steps, as many as it takes to see that they are too many: a loop may be of any length."""
    return list(islice(protocol.walk(), MOST_STEPS + 1))


def _first_problem(steps: list[Any], cell: CellParameters, max_rate_C: float) -> str | None:
    if len(steps) > MOST_STEPS:
        return f"one cycle has more than {MOST_STEPS} steps, loops unrolled; no more are simulated."
    problems = (_problem(step, cell, max_rate_C * cell.nominal_capacity_Ah) for step in steps)
    problem = next((f"step {number} {problem}" for number, problem in enumerate(problems, start=1) if problem), None)
    return problem or _too_many_samples(steps, cell.nominal_capacity_Ah)


def _too_many_samples(steps: list[Any], nominal_Ah: float) -> str | None:
    counts = [_most_samples(step, nominal_Ah) for step in steps]
    if sum(counts) <= MOST_SAMPLES:
        return None
    number = counts.index(max(counts))
    hours = _longest_s(steps[number], nominal_Ah) / 3600
    return f"step {number + 1} may take {hours:.3g} h, too long to be simulated. Give it an end that comes sooner."


def _most_samples(step: object, nominal_Ah: float) -> float:
    longest_s = _longest_s(step, nominal_Ah)
    if isinstance(step, ConstantCurrent):
        return abs(step.current_A) * longest_s / 3600 / nominal_Ah * SAMPLES_PER_CAPACITY
    return longest_s / LONGEST_SAMPLE_S


def _longest_s(step: object, nominal_Ah: float) -> float:
    """The longest that a step may take."""
    if isinstance(step, ConstantCurrent):
        return min(_ends_s(step), default=MOST_CHARGE_IN_A_STEP * nominal_Ah / abs(step.current_A) * 3600)
    if isinstance(step, ConstantVoltage):
        return step.until_duration_s or LONGEST_HOLD_S
    if isinstance(step, Impedance):
        return float(np.sum(_times_of_frequencies_s(_frequencies_Hz(step))))
    return float(getattr(step, "duration_s", 0.0))


def _ends_s(step: ConstantCurrent) -> list[float]:
    return [s for s in (step.until_duration_s, _seconds(step.until_capacity_Ah, abs(step.current_A))) if s is not None]


def _problem(step: object, cell: CellParameters, max_current_A: float) -> str | None:
    low, high = cell.min_voltage_V, cell.max_voltage_V
    if isinstance(step, ConstantCurrent):
        volts: float | None = step.until_voltage_V
        if abs(step.current_A) > max_current_A * (1 + 1e-9):
            return f"asks for {step.current_A:g} A; the cell takes at most {max_current_A:g} A."
    elif isinstance(step, ConstantVoltage):
        volts = step.voltage_V
    else:
        return _spectrum_problem(step) if isinstance(step, Impedance) else None
    if volts is not None and not low < volts < high:
        return f"asks for {volts:g} V; the cell is simulated between {low:g} and {high:g} V."
    return None


def _spectrum_problem(step: Impedance) -> str | None:
    points = _decades(step) * step.points_per_decade + 1
    if not points <= MOST_FREQUENCIES:
        return f"asks for a spectrum of {points:.3g} frequencies; at most {MOST_FREQUENCIES} are measured."
    longest_s = float(np.sum(_times_of_frequencies_s(_frequencies_Hz(step))))
    if longest_s > LONGEST_SPECTRUM_S:
        hours, most = longest_s / 3600, LONGEST_SPECTRUM_S / 3600
        return f"asks for a spectrum that takes {hours:.3g} h, at most {most:g} h are measured. Raise min_frequency_Hz."
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
    size, until, longest = abs(step.current_A), step.until_voltage_V, _longest_s(step, nominal_Ah)
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
        must_end_early=not _ends_s(step),
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
    frequency_Hz = _frequencies_Hz(step)
    ends_s = np.cumsum(_times_of_frequencies_s(frequency_Hz))
    times_s = np.concatenate([[0.0], ends_s])
    return CellStep(number, "impedance spectrum", 0.0, None, float(ends_s[-1]), times_s, frequency_Hz=frequency_Hz)


def _decades(step: Impedance) -> float:
    return float(np.log10(step.max_frequency_Hz / step.min_frequency_Hz))


def _frequencies_Hz(step: Impedance) -> Array:
    points = max(2, round(_decades(step) * step.points_per_decade) + 1)
    return np.geomspace(step.max_frequency_Hz, step.min_frequency_Hz, points)


def _times_of_frequencies_s(frequency_Hz: Array) -> Array:
    return np.maximum(PERIODS_PER_FREQUENCY / frequency_Hz, LEAST_PER_FREQUENCY_S)


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
