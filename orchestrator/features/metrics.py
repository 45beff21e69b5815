"""Recording -> the estimate of one metric. Each function is an entry point of the group `voltloop.metrics`.

A metric is a function `(recording) -> Estimate`; one that needs `at_cycle` takes it as a keyword. What a recording
cannot tell (the cell outlived the test, no thermocouple) is refused by `MetricUnavailableError`, never invented.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points

import numpy as np
import polars as pl

from orchestrator.domain.errors import VoltloopError
from orchestrator.domain.objectives import Estimate, Objective
from orchestrator.domain.recording import Recording
from orchestrator.features.checkups import pulse_resistance_ohm
from orchestrator.features.cycles import cycle_summary

Metric = Callable[..., Estimate]
METRICS_GROUP = "voltloop.metrics"

# Standard errors of instruments, where the recording does not tell: half a sampling step and a thermocouple's class.
_THERMOCOUPLE_SEM_DEGC = 0.1
_CAPACITY_SHARE_SEM = 5e-4


class MetricUnavailableError(VoltloopError):
    """This recording does not hold what the metric needs."""


def charge_time_min(recording: Recording) -> Estimate:
    """Minutes to charge to 80 % of the nominal capacity at begin of life (the first recorded cycle)."""
    series = _summary(recording)["charge_time_to_80_soc_min"]
    if series[0] is None:
        raise MetricUnavailableError("charge_time_min: the first recorded cycle never reached 80 % of the nominal capacity.")
    return Estimate(series[0], sem=_sampling_s(recording) / 60 / np.sqrt(12), unit="min")


def cycle_life(recording: Recording) -> Estimate:
    """Cycles until the discharge capacity falls below `end_of_life` times the nominal capacity, interpolated between check-ups.

    The standard error is that of the interpolation: the capacity's error over the fade per cycle.
    """
    table, limit = _summary(recording), _end_of_life_Ah(recording)
    cycles, capacity = _capacities(table)
    below = np.flatnonzero(capacity < limit)
    if not len(below):
        last = f"{capacity[-1]:.3f} Ah at cycle {cycles[-1]:.0f}"
        raise MetricUnavailableError(f"cycle_life: the cell outlived the test ({last}, end of life {limit:.3f} Ah).")
    i = int(below[0])
    if i == 0:
        return Estimate(float(cycles[0]), unit="cycles")
    fade = (capacity[i - 1] - capacity[i]) / (cycles[i] - cycles[i - 1])
    life = cycles[i - 1] + (capacity[i - 1] - limit) / fade
    return Estimate(float(life), sem=float(_CAPACITY_SHARE_SEM * limit / fade), unit="cycles")


def capacity_retention(recording: Recording, at_cycle: int | None = None) -> Estimate:
    """Discharge capacity at `at_cycle` (default: the last recorded) over that of the first recorded cycle."""
    cycles, capacity = _capacities(_summary(recording))
    at = float(cycles[-1]) if at_cycle is None else float(at_cycle)
    if at > cycles[-1]:
        raise MetricUnavailableError(f"capacity_retention: cycle {at:.0f} was not reached (last recorded: {cycles[-1]:.0f}).")
    share = float(np.interp(at, cycles, capacity) / capacity[0])
    return Estimate(share, sem=_CAPACITY_SHARE_SEM * np.sqrt(2) * share, unit="1")


def temperature_max_degC(recording: Recording) -> Estimate:
    """The highest surface temperature of the whole recording, degC."""
    _whole(recording, "temperature_max_degC")
    series = _summary(recording)["temperature_max_degC"].drop_nulls()
    if series.is_empty():
        raise MetricUnavailableError("temperature_max_degC: the recording has no thermocouple.")
    return Estimate(float(np.max(series.to_numpy())), sem=_THERMOCOUPLE_SEM_DEGC, unit="degC")


def resistance_growth(recording: Recording) -> Estimate:
    """Resistance at the end over that at the beginning: of the check-ups' pulses, else of current steps in recorded cycles."""
    pulses = list(pulse_resistance_ohm(recording).values())
    if len(pulses) > 1:
        return Estimate(pulses[-1] / pulses[0], sem=0.02 * pulses[-1] / pulses[0], unit="1")
    series = _summary(recording)["resistance_ohm"].drop_nulls()
    if len(series) < 2:
        raise MetricUnavailableError("resistance_growth: fewer than two recorded cycles have a current step to read it from.")
    ratio = float(series[-1] / series[0])
    return Estimate(ratio, sem=0.02 * ratio, unit="1")


def coulombic_efficiency(recording: Recording) -> Estimate:
    """Mean over recorded cycles of discharged over charged capacity, with its standard error; the first cycle is left out."""
    return _mean_of(recording, "coulombic_efficiency", "1", skip=1)


def mean_voltage_V(recording: Recording) -> Estimate:
    """Mean discharge voltage over recorded cycles, V."""
    return _mean_of(recording, "mean_discharge_voltage_V", "V")


def energy_throughput_Wh(recording: Recording) -> Estimate:
    """Discharge energy of the whole test, Wh: recorded cycles, interpolated over the cycles between them."""
    _whole(recording, "energy_throughput_Wh")
    table = _summary(recording)
    cycles, energy = table["cycle_count"].to_numpy().astype(float), table["discharge_energy_Wh"].to_numpy()
    every = np.arange(cycles[0], cycles[-1] + 1)
    total = float(np.interp(every, cycles, energy).sum())
    return Estimate(total, sem=_CAPACITY_SHARE_SEM * total, unit="Wh")


def _mean_of(recording: Recording, column: str, unit: str, skip: int = 0) -> Estimate:
    series = _summary(recording)[column].drop_nulls().to_numpy()
    values = series[skip:] if len(series) > skip else series
    if not len(values):
        raise MetricUnavailableError(f"{column}: no recorded cycle has both a charge and a discharge.")
    sem = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return Estimate(float(np.mean(values)), sem=sem, unit=unit)


def _summary(recording: Recording) -> pl.DataFrame:
    if not len(recording):
        raise MetricUnavailableError("the recording holds no time series.")
    table = cycle_summary(recording)
    if table.is_empty():
        raise MetricUnavailableError("no recorded cycle has two samples.")
    return table


def _whole(recording: Recording, metric: str) -> None:
    """Refuse what only a test run to its end can tell: a maximum so far is no maximum."""
    if not recording.complete:
        raise MetricUnavailableError(f"{metric}: the test was cut short, its final value is not known.")


def _capacities(table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Cycles and discharge capacities (Ah) of the cycles that hold a discharge; shapes (n,), (n,)."""
    kept = table.filter(pl.col("discharge_capacity_Ah") > 0)
    if kept.is_empty():
        raise MetricUnavailableError("no recorded cycle holds a discharge.")
    return kept["cycle_count"].to_numpy().astype(float), kept["discharge_capacity_Ah"].to_numpy()


def _end_of_life_Ah(recording: Recording) -> float:
    if recording.nominal_capacity_Ah is None:
        raise MetricUnavailableError("cycle_life: the recording does not state the nominal capacity.")
    return recording.end_of_life * recording.nominal_capacity_Ah


def _sampling_s(recording: Recording) -> float:
    steps = np.diff(recording.column("test_time_second"))
    return float(np.median(steps)) if len(steps) else 0.0


@cache
def known_metrics() -> dict[str, Metric]:
    """Every installed metric by name (entry points of `voltloop.metrics`)."""
    return {point.name: point.load() for point in entry_points(group=METRICS_GROUP)}


def measure(
    recording: Recording, objectives: Iterable[Objective], names: Iterable[str]
) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Estimates of the named metrics, and why others could not be had.

    What the cycler reports itself (`recording.results`) goes before what is computed from the series.

    Returns:
        `(estimates, missing)`: estimate by metric, and reason by metric that this recording cannot give.
    """
    at_cycle: Mapping[str, int | None] = {o.metric: o.at_cycle for o in objectives}
    estimates: dict[str, Estimate] = {}
    missing: dict[str, str] = {}
    for name in names:
        if name in recording.results:
            estimates[name] = recording.results[name]
            continue
        if name not in known_metrics():
            missing[name] = f"{name}: the cycler reported none, and nothing computes it."
            continue
        try:
            estimates[name] = _call(known_metrics()[name], recording, at_cycle.get(name))
        except VoltloopError as error:
            missing[name] = str(error)
        except Exception as error:  # noqa: BLE001 - a metric may be anybody's: its fault must not hold a campaign
            missing[name] = f"{name}: {type(error).__name__}: {error}"
    return estimates, missing


def _call(metric: Metric, recording: Recording, at_cycle: int | None) -> Estimate:
    if at_cycle is not None and "at_cycle" in inspect.signature(metric).parameters:
        return metric(recording, at_cycle=at_cycle)
    return metric(recording)
