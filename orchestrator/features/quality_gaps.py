"""Rows that come after lost ones: told from the file's numbering, from time, and from the cycler's own counters of charge."""

from __future__ import annotations

import numpy as np

from orchestrator.domain.recording import Columns
from orchestrator.features.quality_evidence import Counters
from orchestrator.features.quality_rows import CURRENT, FREQUENCY, INDEX, Array, Bools, borders, intervals, number, unrecorded

# A gap is this many times as long as the interval before and the one after it, takes at least a second, and stands out.
GAP_FACTOR = 5.0
LEAST_GAP_S = 1.0
BEYOND_USUAL = 1.5
# Of the nominal capacity, within one interval: what rounding and sampling never leave unexplained.
UNEXPLAINED = 2e-3


class Gaps:
    """Finds rows that come after lost ones; rows come in any pieces.

    A row comes after a gap if the file's own numbering jumps before it, or if the time does within a step that current flows in:
    its interval is `GAP_FACTOR` times the one before and the one after, and beyond `BEYOND_USUAL` times every such interval so
    far that did not stand out. Where a cycle or a step begins, and while nothing flows, cyclers are set to record seldom: those
    intervals are none. The last row is never one. Where the cycler counts capacity by itself and the nominal capacity is known,
    a row also comes after a gap if by that counter another charge passed in an interval that stands out than
    the currents before and after say: so even single lost rows show where they matter.

    Args:
        nominal_capacity_Ah: of the cell; None where it is not known.
    """

    def __init__(self, nominal_capacity_Ah: float | None) -> None:
        self._usual_s = 0.0
        self._unexplained_Ah = UNEXPLAINED * nominal_capacity_Ah if nominal_capacity_Ah else None

    def find(self, columns: Columns, rows: slice) -> Bools:
        """Which rows come after a gap, shape (n,); those before `rows` are context, and False."""
        since = intervals(columns)
        before, after = np.full(len(since), np.nan), np.full(len(since), np.nan)
        before[1:], after[:-1] = since[:-1], since[1:]
        current = np.abs(number(columns, CURRENT))
        within = current > 0
        within[1:] &= current[:-1] > 0
        within &= ~borders(columns) & ~(number(columns, FREQUENCY) > 0) & (since > 0)
        stands_out = within & (since >= LEAST_GAP_S) & (before > 0) & (after > 0)
        stands_out &= (since > GAP_FACTOR * before) & (since > GAP_FACTOR * after)
        usual = np.where(within & ~stands_out & np.isfinite(since), since, 0.0)[rows]
        usual = np.maximum.accumulate(np.concatenate([[self._usual_s], usual]))
        self._usual_s = float(usual[-1])
        out = np.zeros(len(since), dtype=bool)
        out[rows] = stands_out[rows] & (since[rows] > BEYOND_USUAL * usual[:-1])
        if INDEX in columns:
            jump = np.diff(np.asarray(columns[INDEX], dtype=np.float64), prepend=np.nan) > 1
            out[rows] |= jump[rows]
        out[rows] |= self._uncounted(columns, since, before, after)[rows]
        return out

    def _uncounted(self, columns: Columns, since: Array, before: Array, after: Array) -> Bools:
        """Rows since whose predecessor the cycler counted a charge that the two currents do not explain."""
        counters = Counters.of(list(columns))
        if self._unexplained_Ah is None or not counters.there:
            return np.zeros(len(since), dtype=bool)
        charged, discharged, on = counters.moves(columns, borders(columns))
        current = number(columns, CURRENT)
        earlier = np.concatenate([current[:1], current[:-1]])
        passed = (current + earlier) / 2 * since / 3600
        counted = charged - discharged if counters.signed else charged
        unexplained = np.abs(counted - (passed if counters.signed else np.abs(passed))) > self._unexplained_Ah
        stands_out = (since > BEYOND_USUAL * before) | (since > BEYOND_USUAL * after)
        stands_out &= ~(before < 0)  # the clock went back and comes forward again
        return np.asarray(unexplained & stands_out & on & (since > 0) & ~unrecorded(columns))
