"""One simulated cycle: its samples, its capacity, its stress, and whether it broke off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.simulated.ageing import AgeingLaw, Stress, stress_of
from adapters.simulated.cell_parameters import ZERO_CELSIUS_K, CellState
from adapters.simulated.cell_presets import CellPreset
from adapters.simulated.cell_steps import Array, Cause, CellFailureError, CellStep, CyclingCell, Ending, StepTrace
from orchestrator.domain import SafetyLimits

CLOCK_TICK_S = (
    1e-3  # the instrument's: a step's first sample comes this much after the step began, so no two samples share a time
)
VOLTAGE_TOLERANCE_V = 2e-3  # a hold at the limit itself is no violation
CURRENT_TOLERANCE = 1e-3
SAMPLE_COLUMNS = ("time_s", "voltage_V", "current_A", "temperature_degC", "step", "charged_Ah", "discharged_Ah")


@dataclass(frozen=True)
class BreakOff:
    """Why a cycle ended before its last step did, in words, and what kind of thing it was (None: nobody noted)."""

    reason: str
    kind: Cause | None

    @property
    def safety(self) -> bool:
        """Whether a safety limit ended it."""
        return self.kind is Cause.SAFETY


@dataclass(frozen=True)
class SimulatedCycle:
    """One cycle, free of noise.

    Attributes:
        samples: columns (n,) under `SAMPLE_COLUMNS`; time from the cycle's start, charges counted from there.
        duration_s, capacity_Ah: the cycle's length and all charge taken out in it.
        stress: what it did to the cell.
        broken: why it broke off, or None.
    """

    samples: dict[str, Array]
    duration_s: float
    capacity_Ah: float
    stress: Stress
    broken: BreakOff | None = None


def simulate_cycle(
    preset: CellPreset,
    cell: CyclingCell,
    plan: list[CellStep],
    state: CellState,
    voltage_V: float,
    ambient_degC: float,
    limits: SafetyLimits,
) -> SimulatedCycle:
    """Run one cycle and look for everything that a solver would pass over in silence."""
    broken: BreakOff | None = None
    try:
        traces = cell.run(plan, state, voltage_V, ambient_degC + ZERO_CELSIUS_K)
    except CellFailureError as failure:
        traces = failure.done
        step = plan[min(len(traces) - (1 if traces and traces[-1].ending is Ending.OUT_OF_RANGE else 0), len(plan) - 1)]
        broken = _at(step, failure.why, failure.kind)
    broken = broken or _silent_failure(plan, traces, preset.parameters.max_current_A)
    samples, stress = _samples(traces, preset.law)
    samples, violation = _until_violation(samples, limits)
    return _cycle(samples, stress, violation or broken)


def _cycle(samples: dict[str, Array], stress: Stress, broken: BreakOff | None) -> SimulatedCycle:
    some = len(samples["time_s"]) > 0
    out = float(samples["discharged_Ah"][-1]) if some else 0.0
    if broken is None and (out <= 0 or samples["charged_Ah"][-1] <= 0):
        missing = "discharged" if out <= 0 else "charged"
        why = f"the cell could not be {missing}: every such step was over as it began. Look at where the steps end."
        broken = BreakOff(why, Cause.INFEASIBLE)
    return SimulatedCycle(samples, float(samples["time_s"][-1]) if some else 0.0, out, stress, broken)


def _silent_failure(plan: list[CellStep], traces: list[StepTrace], max_current_A: float) -> BreakOff | None:
    for trace in traces:
        step = trace.step
        if step.must_end_early and trace.ending is Ending.DURATION:
            hours = step.max_duration_s / 3600
            why = f"did not reach its end within {hours:.3g} h. Give it a duration, or an end that the cell can reach."
            return BreakOff(f"step {step.number} ({step.what}) {why}", Cause.INFEASIBLE)
        most_A = max(np.abs(trace.columns["current_A"])) if len(trace.time_s) else 0.0
        if most_A > max_current_A:
            why = f"the current reached {most_A:.3g} A; the model covers {max_current_A:g} A. Come nearer to that voltage first."
            return _at(step, why, Cause.INFEASIBLE)
    if len(traces) != len(plan):
        return BreakOff(f"the simulation returned {len(traces)} of {len(plan)} steps", Cause.SOLVER)
    return None


def _at(step: CellStep, why: str, kind: Cause) -> BreakOff:
    return BreakOff(f"step {step.number} ({step.what}): {why}", kind)


def _samples(traces: list[StepTrace], law: AgeingLaw) -> tuple[dict[str, Array], Stress]:
    done = [trace for trace in traces if len(trace.time_s)]
    if not done:
        return {name: np.empty(0) for name in SAMPLE_COLUMNS}, Stress(0.0, 0.0, 0.0)
    joined = {name: np.concatenate([t.columns[name] for t in done]) for name in done[0].columns}
    time_s = np.concatenate([_ticked(t) for t in done])
    passed = -np.diff(joined["discharged_Ah"], prepend=0.0)
    stress = stress_of(time_s, joined["current_A"], joined["temperature_K"], joined["anode_potential_V"], law)
    return {
        "time_s": time_s,
        "voltage_V": joined["voltage_V"],
        "current_A": joined["current_A"],
        "temperature_degC": joined["temperature_K"] - ZERO_CELSIUS_K,
        "step": np.concatenate([np.full(len(t.time_s), float(t.step.number)) for t in done]),
        "charged_Ah": np.cumsum(np.maximum(passed, 0.0)),
        "discharged_Ah": np.cumsum(np.maximum(-passed, 0.0)),
    }, stress


def _ticked(trace: StepTrace) -> Array:
    """The step's times, its first sample a tick late."""
    time_s = trace.time_s.copy()
    if len(time_s) > 1:
        time_s[0] = min(trace.began_s + CLOCK_TICK_S, 0.5 * (time_s[0] + time_s[1]))
    return time_s


def _until_violation(samples: dict[str, Array], limits: SafetyLimits) -> tuple[dict[str, Array], BreakOff | None]:
    """Cut the samples at the first that passes a safety limit."""
    volts, amps, degC = samples["voltage_V"], np.abs(samples["current_A"]), samples["temperature_degC"]
    looks = (
        ("max_voltage_V", limits.max_voltage_V, volts, volts - VOLTAGE_TOLERANCE_V, "V"),
        ("min_voltage_V", limits.min_voltage_V, volts, -(volts + VOLTAGE_TOLERANCE_V), "V"),
        ("max_temperature_degC", limits.max_temperature_degC, degC, degC, "degC"),
        ("max_current_A", limits.max_current_A, amps, amps / (1 + CURRENT_TOLERANCE), "A"),
    )
    first, broken = len(volts), None
    for name, limit, shown, compared, unit in looks:
        if limit is None:
            continue
        past = np.flatnonzero(compared > (-limit if name.startswith("min") else limit))
        if len(past) and past[0] < first:
            first = int(past[0])
            reached = f"{shown[first]:.4g} {unit}"
            why = f"safety limit {name} = {limit:g} {unit} passed: {reached} in step {samples['step'][first]:.0f}"
            broken = BreakOff(why, Cause.SAFETY)
    return (samples, None) if broken is None else ({n: c[: first + 1] for n, c in samples.items()}, broken)
