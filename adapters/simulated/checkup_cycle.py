"""One simulated cycle, and one check-up after it: samples, capacity, stress, and whether it broke off."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

import numpy as np

from adapters.simulated.ageing import AgeingLaw, Stress, stress_of
from adapters.simulated.cell_parameters import ZERO_CELSIUS_K, CellState
from adapters.simulated.cell_presets import CellPreset
from adapters.simulated.cell_steps import (
    Array,
    Cause,
    CellFailureError,
    CellStep,
    CyclingCell,
    Ending,
    StepTrace,
    step_name,
)
from orchestrator.domain import SafetyLimits

CLOCK_TICK_S = (
    1e-3  # the instrument's: a step's first sample comes this much after the step began, so no two samples share a time
)
VOLTAGE_TOLERANCE_V = 2e-3  # a hold at the limit itself is no violation
CURRENT_TOLERANCE = 1e-3
SPECTRUM = ("frequency_Hz", "Z_real_ohm", "Z_imag_ohm")
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
        samples: columns (n,) under `SAMPLE_COLUMNS`; time from the cycle's start, charges counted from there. Where spectra
            are measured, those of `SPECTRUM` too, NaN in other rows.
        duration_s, capacity_Ah: the cycle's length and all charge taken out in it.
        stress: what it did to the cell.
        broken: why it broke off, or None.
    """

    samples: dict[str, Array]
    duration_s: float
    capacity_Ah: float
    stress: Stress
    broken: BreakOff | None = None


@dataclass(frozen=True)
class Circumstances:
    """A cell at the beginning of a cycle, and what it is in.

    Attributes:
        preset, state: which cell, and how aged.
        rest_V: it is rested at this voltage.
        ambient_degC: the chamber.
        limits: the safety limits that the channel enforces.
    """

    preset: CellPreset
    state: CellState
    rest_V: float
    ambient_degC: float
    limits: SafetyLimits

    @property
    def ambient_K(self) -> float:
        """The chamber's temperature."""
        return self.ambient_degC + ZERO_CELSIUS_K


def simulate_cycle(cell: CyclingCell, plan: list[CellStep], under: Circumstances) -> SimulatedCycle:
    """Run one cycle and look for everything that a solver would pass over in silence."""
    done = _cycle(*_run(cell, plan, under), under)
    out, into = (float(done.samples[n][-1]) if done.duration_s else 0.0 for n in ("discharged_Ah", "charged_Ah"))
    if done.broken is None and (out <= 0 or into <= 0):
        missing = "discharged" if out <= 0 else "charged"
        why = f"the cell could not be {missing}: every such step was over as it began. Look at where the steps end."
        return replace(done, broken=BreakOff(why, Cause.INFEASIBLE))
    return done


def simulate_checkup(cell: CyclingCell, plan: list[CellStep], under: Circumstances, *, spectra: bool = True) -> SimulatedCycle:
    """Run one check-up; without `spectra` their steps are left out. A spectrum that cannot be solved is not recorded."""
    plan = plan if spectra else [step for step in plan if step.frequency_Hz is None]
    traces, broken = _run(cell, plan, under)
    return _cycle(_with_spectra(cell, traces, under), broken, under)


def followed_by(cycle: SimulatedCycle, checkup: SimulatedCycle) -> dict[str, Array]:
    """The samples of a cycle and of the check-up after it, in one time; charges are counted from the beginning of each."""
    after = {**checkup.samples, "time_s": checkup.samples["time_s"] + cycle.duration_s}
    missing = np.full(len(cycle.samples["time_s"]), np.nan)
    return {name: np.concatenate([cycle.samples.get(name, missing), column]) for name, column in after.items()}


def _run(cell: CyclingCell, plan: list[CellStep], under: Circumstances) -> tuple[list[StepTrace], BreakOff | None]:
    try:
        traces = cell.run(plan, under.state, under.rest_V, under.ambient_K)
    except CellFailureError as failure:
        traces = failure.done
        step = plan[min(len(traces) - (1 if traces and traces[-1].ending is Ending.OUT_OF_RANGE else 0), len(plan) - 1)]
        return traces, BreakOff(f"{step.label}: {failure.why}", failure.kind)
    return traces, _silent_failure(plan, traces, under.preset.parameters.max_current_A)


def _with_spectra(cell: CyclingCell, traces: list[StepTrace], under: Circumstances) -> list[StepTrace]:
    """The traces with the columns of `SPECTRUM`, filled where one was measured: a row when each frequency was done."""
    done: list[StepTrace] = []
    leaked_Ah = 0.0
    for trace in traces:
        step, n = trace.step, len(trace.time_s)
        columns = {name: np.full(n, np.nan) for name in SPECTRUM}
        if step.frequency_Hz is not None and trace.ending is Ending.DURATION:
            out_Ah = float(trace.columns["discharged_Ah"][0]) + leaked_Ah
            with contextlib.suppress(CellFailureError):  # a rest is left
                found = cell.impedance(step.frequency_Hz, under.state, under.rest_V, under.ambient_K, out_Ah)
                trace = _at_times(trace, trace.began_s + step.sample_times_s)
                values = (step.frequency_Hz, found.real, found.imag)
                columns = {name: np.concatenate([[np.nan], column]) for name, column in zip(SPECTRUM, values, strict=True)}
        if n:
            leaked_Ah += under.state.leak_S * float(np.trapezoid(trace.columns["voltage_V"], trace.time_s)) / 3600
            trace = replace(trace, columns={**trace.columns, **columns})
        done.append(trace)
    return done


def _at_times(trace: StepTrace, time_s: Array) -> StepTrace:
    columns = {name: np.interp(time_s, trace.time_s, column) for name, column in trace.columns.items()}
    return replace(trace, time_s=time_s, columns=columns)


def _cycle(traces: list[StepTrace], broken: BreakOff | None, under: Circumstances) -> SimulatedCycle:
    samples, stress = _samples(traces, under.preset.law)
    samples, violation = _until_violation(samples, under.limits)
    some = len(samples["time_s"]) > 0
    out = float(samples["discharged_Ah"][-1]) if some else 0.0
    return SimulatedCycle(samples, float(samples["time_s"][-1]) if some else 0.0, out, stress, violation or broken)


def _silent_failure(plan: list[CellStep], traces: list[StepTrace], max_current_A: float) -> BreakOff | None:
    for trace in traces:
        step = trace.step
        if step.must_end_early and trace.ending is Ending.DURATION:
            hours = step.max_duration_s / 3600
            why = f"did not reach its end within {hours:.3g} h. Give it a duration, or an end that the cell can reach."
            return BreakOff(f"{step.label} {why}", Cause.INFEASIBLE)
        most_A = max(np.abs(trace.columns["current_A"])) if len(trace.time_s) else 0.0
        if most_A > max_current_A:
            why = f"the current reached {most_A:.3g} A; the model covers {max_current_A:g} A. Come nearer to that voltage first."
            return BreakOff(f"{step.label}: {why}", Cause.INFEASIBLE)
    if len(traces) != len(plan):
        return BreakOff(f"the simulation returned {len(traces)} of {len(plan)} steps", Cause.SOLVER)
    return None


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
        **{name: joined[name] for name in SPECTRUM if name in joined},
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
            why = f"safety limit {name} = {limit:g} {unit} passed: {reached} in {step_name(int(samples['step'][first]))}"
            broken = BreakOff(why, Cause.SAFETY)
    return (samples, None) if broken is None else ({n: c[: first + 1] for n, c in samples.items()}, broken)
