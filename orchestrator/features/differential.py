"""Differential curves of a slow charge or discharge, dQ/dV and dV/dQ, and their peaks.

Plateaus of the voltage are peaks of the incremental capacity dQ/dV (Dubarry et al., J. Power Sources 219 (2012) 204), the steps
between them peaks of the differential voltage dV/dQ (Bloom et al., J. Power Sources 139 (2005) 295). Both are the slope of a
straight line or parabola fitted around each point (Savitzky and Golay, Anal. Chem. 36 (1964) 1627): the window is the
smoothing, and peaks narrower than it are lost.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import find_peaks, peak_widths, savgol_filter

from orchestrator.domain.errors import Fault, SpecError

Array = NDArray[np.float64]
_ORDER = 2


class Peak(NamedTuple):
    """A peak of a curve y(x): where it is highest, how high, its width at half its prominence, and its prominence."""

    position: float
    height: float
    width: float
    prominence: float


def incremental_capacity(V: ArrayLike, Q_Ah: ArrayLike, window_V: float = 0.02, step_V: float = 1e-3) -> tuple[Array, Array]:
    """|dQ/dV| of one charge or discharge on an even grid of voltages.

    Args:
        V: voltages, V, (n,), rising or falling; where the voltage turns back in passing, rows are skipped.
        Q_Ah: charge passed at each, Ah, (n,).
        window_V: width of the window in which a parabola is fitted, V.
        step_V: of the grid, V.

    Returns:
        `(V, dQ/dV)`, V and Ah per V, each (m,), ascending in V; the derivative is positive in charge and discharge.

    Raises:
        SpecError: shapes that differ, fewer than three voltages in one direction, or a range narrower than the window.
    """
    volts, charge = _monotone("V", V, Q_Ah)
    grid, slope = _slope("V", volts, charge, window_V, step_V)
    return grid, slope if charge[-1] >= charge[0] else -slope


def differential_voltage(Q_Ah: ArrayLike, V: ArrayLike, window_Ah: float, step_Ah: float | None = None) -> tuple[Array, Array]:
    """|dV/dQ| of one charge or discharge on an even grid of charges.

    Args:
        Q_Ah: charge passed, Ah, (n,), rising or falling.
        V: voltage at each, V, (n,).
        window_Ah: width of the window in which a parabola is fitted, Ah.
        step_Ah: of the grid, Ah; a tenth of the window if it is not stated.

    Returns:
        `(Q, dV/dQ)`, Ah and V per Ah, each (m,), ascending in Q; positive where the voltage goes the way it goes as a whole.

    Raises:
        SpecError: as `incremental_capacity`.
    """
    charge, volts = _monotone("Q_Ah", Q_Ah, V)
    grid, slope = _slope("Q_Ah", charge, volts, window_Ah, window_Ah / 10 if step_Ah is None else step_Ah)
    return grid, slope if volts[-1] >= volts[0] else -slope


def curve_peaks(x: ArrayLike, y: ArrayLike, least_prominence: float) -> list[Peak]:
    """The peaks of a curve, in the order of x.

    Args:
        x: even grid, (m,), ascending (V or Ah).
        y: the curve, (m,), such as dQ/dV or dV/dQ.
        least_prominence: how far, in the unit of y, a peak must stand above the higher of the valleys beside it.

    Returns:
        Position and width in the unit of x, height and prominence in that of y; the position is that of the parabola through
        the three highest points.

    Raises:
        SpecError: if the shapes differ.
    """
    grid, curve = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if grid.shape != curve.shape or grid.ndim != 1:
        raise SpecError(Fault("x, y", f"must be vectors of one length (got {grid.shape} and {curve.shape})."))
    if len(grid) < 3:
        return []
    tops, found = find_peaks(curve, prominence=least_prominence)
    widths = peak_widths(curve, tops, rel_height=0.5)[0] * (grid[1] - grid[0])
    peaks = []
    for top, width, prominence in zip(tops, widths, found["prominences"], strict=True):
        before, at, after = curve[top - 1 : top + 2]
        bend = before - 2 * at + after
        shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
        height = at - 0.25 * (before - after) * shift
        peaks.append(Peak(float(grid[top] + shift * (grid[1] - grid[0])), float(height), float(width), float(prominence)))
    return peaks


def _monotone(name: str, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """The rows where x goes further than ever before in its direction, in ascending order."""
    along, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if along.shape != values.shape or along.ndim != 1:
        raise SpecError(Fault(name, f"must be a vector with as many values as the other (got {along.shape} and {values.shape})."))
    known = np.isfinite(along) & np.isfinite(values)
    along, values = along[known], values[known]
    rising = len(along) > 0 and along[-1] >= along[0]
    way = along if rising else -along
    further = np.append(True, way[1:] > np.maximum.accumulate(way)[:-1])[: len(way)]
    if further.sum() < 3:
        raise SpecError(Fault(name, "must go in one direction over three rows at least.", "Give one charge or one discharge."))
    along, values = along[further], values[further]
    return (along, values) if rising else (along[::-1], values[::-1])


def _slope(name: str, x: Array, y: Array, window: float, step: float) -> tuple[Array, Array]:
    if not (0 < step < window < x[-1] - x[0]):
        said = f"a step of {step:g}, a window of {window:g} and a range of {x[-1] - x[0]:g} do not fit."
        raise SpecError(Fault(name, said, "The step must be smaller than the window, and that smaller than the range."))
    grid = x[0] + step * np.arange(int((x[-1] - x[0]) / step * (1 + 1e-12)) + 1)
    points = max(2 * round(window / step / 2) + 1, _ORDER + 3)
    if points > len(grid):
        raise SpecError(Fault(name, f"gives {len(grid)} points, and the window takes {points}.", "Choose a smaller step."))
    slope: Array = savgol_filter(np.interp(grid, x, y), points, _ORDER, deriv=1, delta=step)
    return grid, slope
