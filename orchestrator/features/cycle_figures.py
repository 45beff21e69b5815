"""Rows of whole blocks -> the figures of each block, all blocks at once: what can be added up to the summary of a cycle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orchestrator.features.blocks import (
    Array,
    Blocks,
    Integers,
    durations_s,
    find_blocks,
    first_rows,
    largest,
    range_sums,
    sums,
    trapezoid_weights_h,
)
from orchestrator.features.discharge_ends import END_FIGURES, discharge_ends
from orchestrator.features.pulses import first_pulses_ohm, largest_steps

CHARGE_TIME_SOC = 0.8
# Below this share of the nominal current a sample counts as rest; sensors are never exactly zero.
REST_SHARE = 1e-3
# A charge that stops at the very capacity looked for has reached it, whichever way its last digit was rounded.
_REACHED = 1 - 1e-9

# How the figures of two blocks of one cycle become one: `nan` is what a block does not have.
SUMMED = (
    "duration_s", "charge_Ah", "discharge_Ah", "charge_Wh", "discharge_Wh", "temperature_sum", "temperatures", "warmth_degC_h",
)  # fmt: skip
HIGHEST = ("temperature_max", "end_s", "largest_A")
LOWEST = ("temperature_min",)
FIRST = ("charge_time_min", "pulse_ohm")
LAST = END_FIGURES
LARGEST_STEP = ("step_A", "step_ohm")
FIGURES = np.dtype(
    [("cycle", np.int64)] + [(name, np.float64) for name in (*SUMMED, *HIGHEST, *LOWEST, *FIRST, *LAST, *LARGEST_STEP)]
)


def block_figures(rows: Mapping[str, Array], nominal_Ah: float | None) -> np.ndarray:
    """The figures of each contiguous block of a cycle's rows; blocks of one row have none and are left out.

    Args:
        rows: `cycle`, `time_s`, `voltage_V`, `current_A` and `temperature_degC` (NaN where it was not measured), each (n,).
        nominal_Ah: nominal capacity; what needs it is NaN without.

    Returns:
        A structured array of `FIGURES`, (k,). The figures of a block are the same, bit for bit, in whatever company it comes.

    Raises:
        SpecError: if time runs backwards within a block.
    """
    every = find_blocks(rows["cycle"])
    long = every.stop - every.start > 1
    if not long.all():
        kept = np.repeat(long, every.stop - every.start)
        rows = {name: values[kept] for name, values in rows.items()}
        length = (every.stop - every.start)[long]
        every = Blocks(every.cycle[long], np.cumsum(length) - length, np.cumsum(length))
    found = np.zeros(len(every.cycle), dtype=FIGURES)
    if len(found):
        found["cycle"] = every.cycle
        _fill(found, rows, every, nominal_Ah)
    return found


def _fill(found: np.ndarray, rows: Mapping[str, Array], blocks: Blocks, nominal_Ah: float | None) -> None:
    time_s, volts, amps = rows["time_s"], rows["voltage_V"], rows["current_A"]
    passed_s = durations_s(time_s, blocks)
    weights = trapezoid_weights_h(passed_s)
    into, out = np.maximum(amps, 0.0) * weights, np.maximum(-amps, 0.0) * weights
    found["end_s"] = time_s[blocks.stop - 1]
    found["duration_s"] = time_s[blocks.stop - 1] - time_s[blocks.start]
    found["charge_Ah"], found["discharge_Ah"] = sums(into, blocks), sums(out, blocks)
    found["charge_Wh"], found["discharge_Wh"] = sums(into * volts, blocks), sums(out * volts, blocks)
    found["charge_time_min"] = _charge_times_min(time_s, amps, passed_s, blocks, nominal_Ah)
    found["largest_A"] = largest(np.abs(amps), blocks)
    found["step_A"], found["step_ohm"] = largest_steps(volts, amps, blocks)
    found["pulse_ohm"] = first_pulses_ohm(time_s, volts, amps, blocks, nominal_Ah)
    for name, values in discharge_ends(volts, amps, passed_s, blocks, nominal_Ah).items():
        found[name] = values
    _temperatures(found, rows["temperature_degC"], weights, blocks)


def _temperatures(found: np.ndarray, degC: Array, weights: Array, blocks: Blocks) -> None:
    known = np.isfinite(degC)
    found["temperatures"] = sums(known.astype(np.float64), blocks)
    found["temperature_sum"] = sums(np.where(known, degC, 0.0), blocks)
    found["warmth_degC_h"] = sums(np.where(known, degC, 0.0) * weights, blocks)
    found["temperature_max"] = largest(np.where(known, degC, -np.inf), blocks)
    found["temperature_min"] = -largest(np.where(known, -degC, -np.inf), blocks)


def _charge_times_min(time_s: Array, amps: Array, passed_s: Array, blocks: Blocks, nominal_Ah: float | None) -> Array:
    """Minutes from a block's first charging sample until 80 % of the nominal capacity is in, by interpolation, (k,)."""
    minutes = np.full(len(blocks.cycle), np.nan)
    if nominal_Ah is None:
        return minutes
    into = np.zeros(len(amps))
    positive = np.maximum(amps, 0.0)
    into[:-1] = passed_s[:-1] * (positive[1:] + positive[:-1]) / 7200
    first = first_rows(amps > REST_SHARE * nominal_Ah, blocks)
    charging = np.flatnonzero(first >= 0)
    first, stop = first[charging], blocks.stop[charging]
    target = CHARGE_TIME_SOC * nominal_Ah * _REACHED
    row = _crossing(into, first, stop, target)
    reached = row < stop
    first, row, charging = first[reached], row[reached], charging[reached]
    before = target - range_sums(into, first, row - 1)
    end_s = time_s[row - 1] + before / into[row - 1] * passed_s[row - 1]
    minutes[charging] = (end_s - time_s[first]) / 60
    return minutes


def _crossing(into: Array, first: Integers, stop: Integers, target: float) -> Integers:
    """The first row before which at least `target` went in since row `first`; `stop` where that never was.

    A running sum over all blocks says where about; the sums from `first` alone decide, so that no other block has a say.
    """
    running = np.append(0.0, np.cumsum(into))
    row = np.searchsorted(running, running[first] + target)
    row = np.clip(row, first + 1, stop)
    too_late = (row - 1 > first) & (range_sums(into, first, row - 1) >= target)
    row = np.where(too_late, row - 1, row)
    short = (row < stop) & (range_sums(into, first, np.minimum(row, stop - 1)) < target)
    return np.where(short, row + 1, row)
