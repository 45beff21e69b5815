"""Discharge curves Q(V) on a common voltage grid, for one cycle or many at once.

The capacity is counted from the beginning of a cycle's longest discharge. Where the voltage rises in passing (noise, a pause)
the curve stays: each capacity belongs to the lowest voltage so far, and what a hold takes out to the voltage that it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.recording import CHECKUP_STEP_ID, Columns, Recording
from orchestrator.features.blocks import (
    UNUSABLE,
    Array,
    Blocks,
    Integers,
    durations_s,
    find_blocks,
    largest,
    range_sums,
    ranges,
    runs,
    vector,
)
from orchestrator.features.delta_q import delta_q_features
from orchestrator.features.refusals import require_columns, require_recording, runs_backwards, without_cycle_numbers

__all__ = ["delta_q_features", "delta_q_of", "discharge_curve", "discharge_curves"]
# Shares of the nominal current: what counts as a discharge, and below what a sample counts as rest.
_DISCHARGING, _RESTING = 0.02, 1e-3
# Without a nominal capacity, of the cycle's largest current: a slow discharge may follow a charge a hundred times as fast.
_DISCHARGING_OF_LARGEST, _RESTING_OF_LARGEST = 5e-3, 1e-3
_NUMBERS = ("test_time_second", "voltage_volt", "current_ampere")


def discharge_curve(recording: Recording, cycle: int, V: ArrayLike) -> Array:
    """The discharge capacity of one cycle at given voltages, counted from the beginning of its longest discharge.

    Args:
        recording: time series with `cycle_count`; current positive when charging. What tells a discharge from a rest is its
            nominal capacity or, without one, the cycle's largest |current|, as in `discharge_curves`.
        cycle: the cycle's number.
        V: voltages, V, shape (n,).

    Returns:
        Capacity in Ah, shape (n,). Above the voltage at which the discharge begins it is 0, below the one at which it ends
        that of the whole discharge, a hold at the end included.

    Raises:
        SpecError: if it is no recording, has no cycle numbers, or the cycle was not recorded or holds no discharge.
    """
    require_recording(recording, "discharge_curve")
    curve: Array = discharge_curves(recording.columns, [cycle], V, recording.nominal_capacity_Ah)[0]
    return curve


def delta_q_of(columns: Columns, early: int, late: int, V: ArrayLike, nominal_capacity_Ah: float | None = None) -> Array:
    """The change of the discharge curve, Delta Q(V) = Q_late(V) - Q_early(V); only the two cycles are looked at.

    Args:
        columns: time series with `cycle_count`, each (rows,); current positive when charging.
        early: the earlier cycle's number (10 in Severson et al., Nature Energy 4 (2019) 383).
        late: the later cycle's number (100 there).
        V: voltages, V, shape (n,).
        nominal_capacity_Ah: what tells a discharge from a rest, as in `discharge_curves`.

    Returns:
        Ah, shape (n,): a row for `delta_q_statistics`.

    Raises:
        SpecError: as `discharge_curves`.
    """
    first, second = discharge_curves(columns, [early, late], V, nominal_capacity_Ah)
    change: Array = second - first
    return change


def discharge_curves(
    columns: Columns, cycles: Sequence[int] | Integers, V: ArrayLike, nominal_capacity_Ah: float | None = None
) -> Array:
    """The discharge capacity of several cycles at given voltages, all at once.

    Check-ups are no part of a cycle. Rows without a time, voltage or current are left out.

    Args:
        columns: time series with `cycle_count`, each (rows,); current positive when charging.
        cycles: the cycles' numbers, (k,), in any order.
        V: voltages, V, shape (n,).
        nominal_capacity_Ah: what tells a discharge from a rest: its current must pass 0.02 C, and rows below 0.001 C are rest.
            Without it, 0.5 % and 0.1 % of the largest |current| of the same cycle.

    Returns:
        Capacity in Ah, shape (k, n), each row as `discharge_curve` gives it.

    Raises:
        SpecError: if a column is missing, a cycle was not recorded, holds no discharge, or its time runs backwards.
    """
    require_columns(columns, "discharge_curves")
    volts = np.asarray(V, dtype=np.float64)
    if volts.ndim != 1:
        raise SpecError(Fault("V", f"must be a vector of voltages (got shape {volts.shape})."))
    missing = [] if "cycle_count" in columns else [without_cycle_numbers()]
    missing += [Fault(name, "is missing from the time series.") for name in _NUMBERS if name not in columns]
    if missing:
        raise SpecError(missing)
    wanted = np.asarray(cycles, dtype=np.int64)
    time_s, level_V, amps, blocks = _rows_of(columns, wanted)
    _refuse_backwards(time_s, blocks)
    out_Ah = _out_Ah(amps, durations_s(time_s, blocks))
    cycle, start, stop = _longest(amps, out_Ah, blocks, *_thresholds_A(amps, blocks, nominal_capacity_Ah))
    place = np.searchsorted(cycle, wanted)
    lacking = wanted[np.append(cycle, wanted.min(initial=0) - 1)[place] != wanted]
    if len(lacking):
        raise SpecError(Fault("cycle", f"{_some(lacking)} holds no discharge."))
    return _interpolated(_Curves.of(level_V, out_Ah, start, stop), volts)[place]


def _rows_of(columns: Columns, wanted: Integers) -> tuple[Array, Array, Array, Blocks]:
    """Time, voltage and current of the wanted cycles' usable rows, and their blocks."""
    every = find_blocks(columns["cycle_count"])
    unknown = wanted[~np.isin(wanted, every.cycle)]
    if len(unknown):
        recorded = f"Recorded: {_some(np.unique(every.cycle))}."
        raise SpecError(Fault("cycle", f"{_some(unknown)} was not recorded.", recorded))
    chosen = np.flatnonzero(np.isin(every.cycle, wanted))
    rows = ranges(every.start[chosen], every.stop[chosen])
    block = np.repeat(chosen, every.stop[chosen] - every.start[chosen])
    time_s, level_V, amps = (vector(n, columns[n])[rows].astype(np.float64) for n in _NUMBERS)
    usable = np.isfinite(time_s) & np.isfinite(level_V) & np.isfinite(amps)
    if "step_id" in columns:
        usable &= np.asarray(columns["step_id"])[rows].astype(np.int64) <= CHECKUP_STEP_ID
    if "quality_flags" in columns:
        usable &= np.asarray(columns["quality_flags"])[rows].astype(np.int64) & UNUSABLE == 0
    if not usable.all():
        block, time_s, level_V, amps = block[usable], time_s[usable], level_V[usable], amps[usable]
    kept = find_blocks(block)
    return time_s, level_V, amps, Blocks(every.cycle[kept.cycle], kept.start, kept.stop)


def _out_Ah(amps: Array, passed_s: Array) -> Array:
    """What is discharged from each row to the next of its block, Ah, (n,)."""
    out = np.zeros(len(amps))
    out[:-1] = passed_s[:-1] * (amps[1:] + amps[:-1]) / -7200
    return out


def _refuse_backwards(time_s: Array, blocks: Blocks) -> None:
    wrong = np.diff(time_s) < 0
    wrong[blocks.stop[:-1] - 1] = False
    if wrong.any():
        raise runs_backwards(int(blocks.cycle[blocks.of_rows(np.flatnonzero(wrong)[:1])[0]]))


def _thresholds_A(amps: Array, blocks: Blocks, nominal_Ah: float | None) -> tuple[Array, Array]:
    """For each block, what the current of a discharge must pass, and below what a row is rest, A, each (k,)."""
    if nominal_Ah:
        return np.full(len(blocks.cycle), _DISCHARGING * nominal_Ah), np.full(len(blocks.cycle), _RESTING * nominal_Ah)
    _, inverse = np.unique(blocks.cycle, return_inverse=True)
    of_cycle = np.zeros(int(inverse.max(initial=-1)) + 1)
    np.maximum.at(of_cycle, inverse, largest(np.abs(amps), blocks))
    return _DISCHARGING_OF_LARGEST * of_cycle[inverse], _RESTING_OF_LARGEST * of_cycle[inverse]


def _longest(
    amps: Array, out_Ah: Array, blocks: Blocks, discharging_A: Array, resting_A: Array
) -> tuple[Integers, Integers, Integers]:
    """The discharge of each cycle that takes out most, as cycle (ascending), first row and row after the last."""
    start, stop = runs(amps < -blocks.spread(resting_A), blocks)
    long = stop - start > 1
    start, stop = start[long], stop[long]
    if len(start):
        lowest = np.minimum.reduceat(np.append(amps, 0.0), np.stack([start, stop], axis=1).ravel())[::2]
        enough = lowest < -discharging_A[blocks.of_rows(start)]
        start, stop = start[enough], stop[enough]
    cycle = blocks.cycle[blocks.of_rows(start)]
    order = np.lexsort((-range_sums(out_Ah, start, stop - 1), cycle))
    order = order[np.append(True, np.diff(cycle[order]) > 0)[: len(order)]]
    return cycle[order], start[order], stop[order]


@dataclass(frozen=True)
class _Curves:
    """Falling discharge curves laid end to end: the voltages (V) reached, the charge (Ah) out when the next was, whose it is."""

    level_V: Array
    charge_Ah: Array
    curve: Integers
    first: Integers

    @classmethod
    def of(cls, level_V: Array, out_Ah: Array, start: Integers, stop: Integers) -> _Curves:
        """The curves of the rows `start[i]:stop[i]`."""
        rows, length = ranges(start, stop), stop - start
        begin = np.cumsum(length) - length
        steps = np.zeros(len(rows))
        steps[1:] = out_Ah[rows[:-1]]
        passed = np.cumsum(steps)
        passed -= np.repeat(passed[begin], length)
        volts, curve = level_V[rows], np.repeat(np.arange(len(length)), length)
        apart = np.ptp(volts) + 1 if len(volts) else 1.0
        falling = volts - apart * curve
        new = np.ones(len(rows), dtype=np.bool_)
        new[1:] = falling[1:] < np.minimum.accumulate(falling)[:-1]
        reached = np.flatnonzero(new)
        until = np.append(reached[1:], len(rows))[: len(reached)] - 1
        first = np.searchsorted(curve[reached], np.arange(len(length)))
        return cls(volts[reached], passed[until], curve[reached], first)


def _interpolated(curves: _Curves, V: Array) -> Array:
    """Every curve at the voltages, (k, n): 0 above its first voltage, all of it below its last."""
    known = V[np.isfinite(V)]
    if not len(curves.first) or not len(known):
        return np.full((len(curves.first), len(V)), np.nan)
    apart = max(curves.level_V.max(), known.max()) - min(curves.level_V.min(), known.min()) + 1
    number = np.arange(len(curves.first))[:, None]
    place = np.searchsorted(apart * curves.curve - curves.level_V, apart * number - V, side="right") - 1
    after = np.append(curves.first[1:], len(curves.level_V))[:, None] - 1
    above, place = place < curves.first[:, None], np.clip(place, curves.first[:, None], after)
    following = np.minimum(place + 1, after)
    fall = curves.level_V[place] - curves.level_V[following]
    share = np.clip(np.divide(curves.level_V[place] - V, fall, out=np.zeros(place.shape), where=fall > 0), 0, 1)
    charge = curves.charge_Ah[place] + share * (curves.charge_Ah[following] - curves.charge_Ah[place])
    found: Array = np.where(np.isnan(V), np.nan, np.where(above, 0.0, charge))
    return found


def _some(numbers: Integers) -> str:
    shown = ", ".join(f"{n:g}" for n in numbers[:8])
    return shown + (" ..." if len(numbers) > 8 else "")
