"""Rows of a file that counted no cycles -> cycle numbers, from charge and discharge in turn.

The charge that a cell holds is followed: a cycle ends where it is lowest between a discharge and the next charge, and both must
move more than a share of what the cell holds, so that pulses, pauses and regenerative braking make no cycles of their own.
"""

from __future__ import annotations

import numpy as np

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.recording import CHECKUP_STEP_ID, REQUIRED, Columns
from orchestrator.features.blocks import UNUSABLE, Array, Integers, Mask, vector
from orchestrator.features.refusals import require_columns, runs_backwards

LEAST_SHARE = 0.05
_REST_SHARE = 1e-3  # of the recording's largest current: below it a sample counts as rest
_NOISE_SHARE = 0.02  # of what a charge must move to count: what noise at rest may move


def number_cycles(columns: Columns, nominal_capacity_Ah: float | None = None, *, least_share: float = LEAST_SHARE) -> Integers:
    """Cycle numbers from the alternation of charge and discharge. Nothing is changed; the numbers are used where you give them.

    A cycle begins in the row of the first charging current (more than 0.1 % of the recording's largest |current|) after a
    discharge; rests after a discharge belong to it. The first cycle, numbered 1, begins in the first row; a recording that
    begins with a discharge has that one alone in its first cycle. A discharge or a charge counts once it has moved the charge
    in the cell by `least_share` of the nominal capacity or, where that is not given, of the range (highest less lowest) of the
    charge that went in over the whole recording. Check-ups and rows that say nothing (no number, flagged as back in time,
    missing or impossible) do not count; they have the number of the cycle that they lie in.

    Args:
        columns: whole recording by Battery Data Format name, each (n,); `test_time_second` and `current_ampere` are looked at,
            and `quality_flags` and `step_id` where they are there. Current positive when charging.
        nominal_capacity_Ah: of the cell; give it for recordings of thousands of cycles, in which a counter drifts.
        least_share: what a charge or discharge must move to count, above 0 and below 1. Cycles of a cell that holds less than
            this are not told apart: take a smaller one for a cell that died.

    Returns:
        Numbers from 1, (n,), never falling; all 1 where there are not a discharge and a charge after it.

    Raises:
        SpecError: a column is missing or no vector of numbers, time runs backwards where no flag says so, or a share or
            capacity has no meaning.

    Example:
        >>> hours = np.arange(9.0)
        >>> amps = np.array([1.0, 1, -1, -1, -1, 1, 1, -1, -1])
        >>> number_cycles({"test_time_second": 3600 * hours, "current_ampere": amps}).tolist()
        [1, 1, 1, 1, 1, 2, 2, 2, 2]
    """
    require_columns(columns, "number_cycles")
    _refuse(columns, nominal_capacity_Ah, least_share)
    time_s = vector(REQUIRED[0], columns[REQUIRED[0]]).astype(np.float64)
    amps = vector(REQUIRED[2], columns[REQUIRED[2]], len(time_s)).astype(np.float64)
    rows = np.flatnonzero(_counting(columns, time_s, amps))
    begins = rows[_beginnings(time_s[rows], amps[rows], nominal_capacity_Ah, least_share)]
    numbers: Integers = np.searchsorted(begins, np.arange(len(time_s)), side="right") + 1
    return numbers


def _refuse(columns: Columns, nominal_Ah: float | None, least_share: float) -> None:
    faults = [Fault(name, "is missing from the time series.") for name in (REQUIRED[0], REQUIRED[2]) if name not in columns]
    if not 0 < least_share < 1:
        faults.append(Fault("least_share", f"must be above 0 and below 1 (got {least_share:g})."))
    if nominal_Ah is not None and not 0 < nominal_Ah < np.inf:
        faults.append(Fault("nominal_capacity_Ah", f"must be a positive number of Ah (got {nominal_Ah:g})."))
    if faults:
        raise SpecError(faults)


def _counting(columns: Columns, time_s: Array, amps: Array) -> Mask:
    """Which rows are looked at, (n,)."""
    counting: Mask = np.isfinite(time_s) & np.isfinite(amps)
    if "quality_flags" in columns:
        counting &= vector("quality_flags", columns["quality_flags"], len(time_s)).astype(np.int64) & UNUSABLE == 0
    if "step_id" in columns:
        counting &= ~(vector("step_id", columns["step_id"], len(time_s)).astype(np.float64) > CHECKUP_STEP_ID)
    return counting


def _beginnings(time_s: Array, amps: Array, nominal_Ah: float | None, least_share: float) -> Integers:
    """The rows in which the second and later cycles begin, ascending."""
    passed_s = np.diff(time_s)
    if (passed_s < 0).any():
        raise runs_backwards(None)
    held_Ah = np.append(0.0, np.cumsum(passed_s * (amps[1:] + amps[:-1]) / 7200))
    flowing = np.flatnonzero(np.abs(amps) > _REST_SHARE * np.abs(amps).max(initial=0.0))
    signs = np.sign(amps[flowing])
    begins = flowing[np.flatnonzero(np.diff(signs, prepend=-signs[:1]))]  # of each charge and each discharge, in turn
    ends = np.append(begins[1:], len(amps) - 1)[: len(begins)]
    least_Ah = least_share * (nominal_Ah or float(np.ptp(held_Ah)))
    if not len(begins) or least_Ah <= 0:
        return np.zeros(0, dtype=np.int64)
    levels = np.append(held_Ah[begins[0]], held_Ah[ends])
    return begins[_lowest(levels, least_Ah)]


def _lowest(levels: Array, least: float) -> Integers:
    """Where a level that fell by `least` and rises by `least` again leaves its lowest value, noise apart, ascending."""
    found: list[int] = []
    highest, lowest, last, falling = levels[0], levels[0], 0, False
    for place, level in enumerate(levels.tolist()):
        if not falling:
            highest = max(highest, level)
            falling, lowest, last = highest - level >= least, level, place
        elif level - lowest <= _NOISE_SHARE * least:
            lowest, last = min(lowest, level), place
        elif level - lowest >= least:
            found.append(last)
            highest, falling = level, False
    return np.array(found, dtype=np.int64)
