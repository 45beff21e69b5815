"""Charges and discharges of a recording one after the other: how much each moved, and how many a cycle has had."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from orchestrator.features.quality_rows import CURRENT, CYCLE, LARGEST_CAPACITY, Array, Bools, intervals, number, unrecorded

# A charge or discharge counts once it has taken so long, or moved so much of the nominal capacity: pulses do not.
LEAST_HALF_S = 600.0
LEAST_HALF = 0.2
# Of the largest current so far; less is none.
DEAD_BAND = 1e-3
# A cycle is one charge and one discharge; some programs have two or three under one number.
MOST_HALVES = 6


class Halves:
    """Follows the current's sign through a recording; rows come in any pieces.

    A half is what lies between two changes of the current's sign; rests belong to the half before them. What passes in a gap or
    while time runs backwards is not counted.

    Args:
        nominal_capacity_Ah: of the cell; None where it is not known.
    """

    def __init__(self, nominal_capacity_Ah: float | None) -> None:
        self._nominal_Ah = nominal_capacity_Ah
        self._largest_A = 0.0
        self._sign, self._moved_Ah, self._lasted_s, self._counted = 0, 0.0, 0.0, False
        self._cycle: float = np.nan
        self._in_cycle = 0

    def add(self, columns: dict[str, NDArray[np.generic]], rows: slice, gap: Bools) -> tuple[Bools, Bools]:
        """Follow some rows.

        Args:
            columns: those rows and at least the one before them (none before the first row of a recording).
            rows: which of them are new.
            gap: rows that follow lost ones, as long as the columns.

        Returns:
            For the new rows, whether the half has moved more than a cell holds, and whether the cycle has had more halves than
            a cycle has.
        """
        current = number(columns, CURRENT)
        signs = self._signs(current[rows])
        since = intervals(columns)
        before = np.concatenate([current[:1], current[:-1]])
        moved = np.abs((current + before) / 2 * since / 3600)
        counts = (since > 0) & np.isfinite(moved) & ~gap & ~unrecorded(columns)
        moved, lasted = np.where(counts, moved, 0.0)[rows], np.where(counts, since, 0.0)[rows]
        cycles = number(columns, CYCLE)[rows]
        too_much = np.zeros(len(signs), dtype=bool)
        endless = np.zeros(len(signs), dtype=bool)
        for start, stop in _stretches(signs, cycles):
            part = slice(start, stop)
            too_much[part], endless[part] = self._follow(int(signs[start]), cycles[start], moved[part], lasted[part])
        return too_much, endless

    def _signs(self, current: Array) -> NDArray[np.int64]:
        """The current's sign, 0 in the dead band; rests take the sign before them."""
        size = np.where(np.isfinite(current), np.abs(current), 0.0)
        largest = np.maximum.accumulate(np.concatenate([[self._largest_A], size]))
        self._largest_A = float(largest[-1])
        own = np.where(size > DEAD_BAND * largest[1:], np.sign(current), 0.0)
        own = np.concatenate([[self._sign], own])
        last = np.maximum.accumulate(np.where(own != 0, np.arange(len(own)), 0))
        return own[last][1:].astype(np.int64)

    def _follow(self, sign: int, cycle: float, moved: Array, lasted: Array) -> tuple[Bools, Bools]:
        if sign != self._sign:
            self._sign, self._moved_Ah, self._lasted_s, self._counted = sign, 0.0, 0.0, False
        if cycle != self._cycle:
            self._cycle, self._in_cycle, self._counted = cycle, 0, False
            self._lasted_s = 0.0
        so_far_Ah = np.cumsum(np.concatenate([[self._moved_Ah], moved]))
        so_far_s = np.cumsum(np.concatenate([[self._lasted_s], lasted]))
        self._moved_Ah, self._lasted_s = float(so_far_Ah[-1]), float(so_far_s[-1])
        halves = np.full(len(moved), self._in_cycle)
        if sign and not self._counted:
            enough = so_far_s[1:] >= LEAST_HALF_S
            if self._nominal_Ah:
                enough |= so_far_Ah[1:] >= LEAST_HALF * self._nominal_Ah
            halves += np.logical_or.accumulate(enough)
            self._counted = bool(enough.any())
            self._in_cycle += self._counted
        limit = LARGEST_CAPACITY * self._nominal_Ah if self._nominal_Ah else np.inf
        numbered = not np.isnan(cycle)
        return so_far_Ah[1:] > limit, (halves > MOST_HALVES) & numbered


def _stretches(signs: NDArray[np.int64], cycles: Array) -> list[tuple[int, int]]:
    """Where neither sign nor cycle changes: first row and one past the last, of each stretch."""
    if not len(signs):
        return []
    same_cycle = (cycles[1:] == cycles[:-1]) | (np.isnan(cycles[1:]) & np.isnan(cycles[:-1]))
    cuts = np.flatnonzero((signs[1:] != signs[:-1]) | ~same_cycle) + 1
    edges = [0, *cuts.tolist(), len(signs)]
    return list(pairwise(edges))
