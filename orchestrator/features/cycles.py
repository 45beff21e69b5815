"""Recording -> one row per cycle: capacities, energies, charge time, temperature. Nothing is fitted."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from orchestrator.domain.errors import SpecError
from orchestrator.domain.recording import Recording

Array = NDArray[np.float64]

# Below this share of the nominal current a sample counts as rest; sensors are never exactly zero.
_REST_SHARE = 1e-3
CHARGE_TIME_SOC = 0.8

SUMMARY_SCHEMA = {
    "cycle_count": pl.Int64,
    "test_time_h": pl.Float64,
    "duration_h": pl.Float64,
    "charge_capacity_Ah": pl.Float64,
    "discharge_capacity_Ah": pl.Float64,
    "charge_energy_Wh": pl.Float64,
    "discharge_energy_Wh": pl.Float64,
    "coulombic_efficiency": pl.Float64,
    "energy_efficiency": pl.Float64,
    "mean_charge_voltage_V": pl.Float64,
    "mean_discharge_voltage_V": pl.Float64,
    "charge_time_to_80_soc_min": pl.Float64,
    "temperature_max_degC": pl.Float64,
    "temperature_mean_degC": pl.Float64,
    "resistance_ohm": pl.Float64,
}


def cycle_summary(recording: Recording) -> pl.DataFrame:
    """Per-cycle quantities of a recording; check-ups made after a cycle are no part of it.

    Args:
        recording: time series with `cycle_count` (without it the whole recording is one cycle); current positive when charging.

    Returns:
        One row per recorded cycle, in order, with the columns of `SUMMARY_SCHEMA`: capacities by trapezoid in Ah,
        energies in Wh, `charge_time_to_80_soc_min` (from the first charging sample until 80 % of the nominal capacity
        has been charged; null if it never was), temperatures in degC (null without a thermocouple), and
        `resistance_ohm` from the voltage step where the discharge begins or ends (null if there is none).

    Raises:
        SpecError: if the recording has no time series, or its time runs backwards within a cycle.
    """
    if not len(recording):
        raise SpecError("the recording has no time series: there are no cycles to summarise.")
    recording = recording.ageing()
    counts = recording.columns.get("cycle_count")
    cycles = np.ones(len(recording), dtype=np.int64) if counts is None else np.asarray(counts, dtype=np.int64)
    starts = np.flatnonzero(np.r_[True, np.diff(cycles) != 0])
    ends = np.r_[starts[1:], len(cycles)]
    rows = [_summarise(recording, slice(a, b), int(cycles[a])) for a, b in zip(starts, ends, strict=True) if b - a > 1]
    return pl.DataFrame(rows, schema=SUMMARY_SCHEMA)


def _summarise(recording: Recording, part: slice, cycle: int) -> dict[str, float | int | None]:
    time_s, voltage, current = (recording.column(n)[part] for n in ("test_time_second", "voltage_volt", "current_ampere"))
    if np.any(np.diff(time_s) < 0):
        raise SpecError(f"time runs backwards within cycle {cycle}. Ingest the file with quality checks before it is summarised.")
    charged, discharged = _charge_Ah(time_s, np.maximum(current, 0.0)), _charge_Ah(time_s, np.maximum(-current, 0.0))
    energy_in = _charge_Ah(time_s, np.maximum(current, 0.0) * voltage)
    energy_out = _charge_Ah(time_s, np.maximum(-current, 0.0) * voltage)
    temperature = _temperature(recording, part)
    return {
        "cycle_count": cycle,
        "test_time_h": time_s[-1] / 3600,
        "duration_h": (time_s[-1] - time_s[0]) / 3600,
        "charge_capacity_Ah": charged,
        "discharge_capacity_Ah": discharged,
        "charge_energy_Wh": energy_in,
        "discharge_energy_Wh": energy_out,
        "coulombic_efficiency": _ratio(discharged, charged),
        "energy_efficiency": _ratio(energy_out, energy_in),
        "mean_charge_voltage_V": _ratio(energy_in, charged),
        "mean_discharge_voltage_V": _ratio(energy_out, discharged),
        "charge_time_to_80_soc_min": _charge_time_min(time_s, current, recording.nominal_capacity_Ah),
        "temperature_max_degC": None if temperature is None else float(np.max(temperature)),
        "temperature_mean_degC": None if temperature is None else float(np.mean(temperature)),
        "resistance_ohm": _step_resistance_ohm(voltage, current, recording.nominal_capacity_Ah),
    }


def _charge_Ah(time_s: Array, current_A: Array) -> float:
    return float(np.trapezoid(current_A, time_s) / 3600)


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > 0 else None


def _temperature(recording: Recording, part: slice) -> Array | None:
    if "surface_temperature_celsius" not in recording.columns:
        return None
    values = recording.column("surface_temperature_celsius")[part]
    finite = values[np.isfinite(values)]
    return finite if len(finite) else None


def _charge_time_min(time_s: Array, current: Array, nominal_Ah: float | None) -> float | None:
    """Minutes from the start of charging until 80 % of the nominal capacity is in, by interpolation."""
    if nominal_Ah is None:
        return None
    threshold = _REST_SHARE * nominal_Ah
    charging = np.flatnonzero(current > threshold)
    if not len(charging):
        return None
    first = int(charging[0])
    clock, amps = time_s[first:], np.maximum(current[first:], 0.0)
    passed = np.r_[0.0, np.cumsum(np.diff(clock) * (amps[1:] + amps[:-1]) / 2)] / 3600
    target = CHARGE_TIME_SOC * nominal_Ah
    if passed[-1] < target:
        return None
    return float((np.interp(target, passed, clock) - clock[0]) / 60)


def _step_resistance_ohm(voltage: Array, current: Array, nominal_Ah: float | None) -> float | None:
    """Ohmic drop over the largest current step between two neighbouring samples, in ohm."""
    jumps = np.diff(current)
    if not len(jumps):
        return None
    i = int(np.argmax(np.abs(jumps)))
    least = 0.1 * (nominal_Ah or 1.0)
    if abs(jumps[i]) < least:
        return None
    resistance = float((voltage[i + 1] - voltage[i]) / jumps[i])
    return resistance if resistance > 0 else None
