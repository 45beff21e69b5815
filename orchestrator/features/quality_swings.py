"""How far the voltage climbs and falls while a current that is never negative flows steadily: a cell that is charged only climbs.

The voltage is followed from one anchor to the next, `LEAST_MOVE_V` away: noise that is smaller moves nothing. What happens in one
row at a border of steps or cycles, in a gap, at a rest or at a step of the current is not counted, nor is a jump of the voltage:
where discharges were not recorded, the next charge begins low again, and nothing is wrong with that.
"""

from __future__ import annotations

import numpy as np

from orchestrator.domain.recording import Columns
from orchestrator.features.quality_rows import CURRENT, VOLTAGE, Array, Bools, borders, number

LEAST_MOVE_V = 0.02
LARGEST_MOVE_V = 0.2
# Of the current: what changes by less from row to row, and between two anchors, is steady.
STEADY = 0.05
_WINDOW = 256


class Swings:
    """Follows the voltage as long as no current is negative; rows come in any pieces.

    Attributes:
        up_V, down_V: sums of what it climbed and fell under steady positive current, V.
    """

    def __init__(self) -> None:
        self.up_V, self.down_V = 0.0, 0.0
        self._signed, self._flows = False, False
        self._anchor_V, self._anchor_A = np.nan, np.nan

    def add(self, columns: Columns, rows: slice, sound: Bools) -> None:
        """Follow some rows.

        Args:
            columns: those rows and at least the one before them (none before the first row of a recording).
            rows: which of them are new.
            sound: rows before which time passed that is known, as long as the columns.
        """
        current, voltage = number(columns, CURRENT), number(columns, VOLTAGE)
        self._signed = self._signed or bool((current[rows] < 0).any())
        if self._signed:
            return
        steady = (sound & ~borders(columns) & self._steady(current) & np.isfinite(voltage))[rows]
        steady &= np.isfinite(np.diff(voltage, prepend=np.nan))[rows]
        edges = np.flatnonzero(np.diff(np.concatenate([[False], steady, [False]]).astype(np.int8)))
        for start, stop in zip(edges[::2] + rows.start, edges[1::2] + rows.start, strict=True):
            if start > rows.start or not self._flows:
                self._anchor_V, self._anchor_A = float(voltage[start - 1]), float(current[start - 1])
            self._follow(voltage[start:stop], current[start:stop])
        if len(steady):
            self._flows = bool(steady[-1])

    @staticmethod
    def _steady(current: Array) -> Bools:
        before = np.concatenate([[0.0], current[:-1]])
        return np.asarray((before > 0) & (current > 0) & (np.abs(current - before) <= STEADY * current))

    def _follow(self, voltage: Array, current: Array) -> None:
        at = 0
        while at < len(voltage):
            moved = voltage[at : at + _WINDOW] - self._anchor_V
            far = np.abs(moved) >= LEAST_MOVE_V
            first = int(np.argmax(far))
            if not far[first]:
                at += len(far)
                continue
            at += first
            here_A = float(current[at])
            if abs(here_A - self._anchor_A) <= STEADY * here_A:
                self._count(float(moved[first]))
            self._anchor_V, self._anchor_A = float(voltage[at]), here_A
            at += 1

    def _count(self, moved_V: float) -> None:
        if abs(moved_V) <= LARGEST_MOVE_V:
            self.up_V += max(moved_V, 0.0)
            self.down_V += max(-moved_V, 0.0)
