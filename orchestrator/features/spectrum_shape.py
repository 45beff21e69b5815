"""Impedance spectrum -> its characteristic points, read off without a model: where it crosses the axis, tops and turns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain.errors import SpecError

Array = NDArray[np.float64]
_TWO_SIDES = 2  # points on either side that a top or foot must stand out from


class CharacteristicPoint(NamedTuple):
    """A point of a spectrum: frequency in Hz, and real and negative imaginary part of the impedance there in ohm."""

    frequency_Hz: float
    real_ohm: float
    minus_imaginary_ohm: float


class CharacteristicPoints(NamedTuple):
    """The points of a spectrum that have a name; None where it has none in the frequencies measured.

    Attributes:
        zero_crossing: where the leads' inductance gives way to capacitance, -Im Z = 0; its real part is the ohmic resistance.
        arc_top: the first maximum of -Im Z below it: 1/(2 pi R C) of the charge transfer.
        foot: the minimum of -Im Z below that, where diffusion takes over; its real part bounds the charge transfer.
    """

    zero_crossing: CharacteristicPoint | None
    arc_top: CharacteristicPoint | None
    foot: CharacteristicPoint | None


def characteristic_points(frequency_Hz: ArrayLike, Z_ohm: ArrayLike) -> CharacteristicPoints:
    """Where a spectrum crosses the real axis, where its arc is highest, and where the tail begins.

    Between measured frequencies the crossing is interpolated straight in log frequency, top and foot by a parabola through
    three points. A top or foot must be the extreme of two points on either side, so that single noisy points make none.

    Args:
        frequency_Hz: (n,), in any order.
        Z_ohm: complex impedance, (n,); imaginary part negative where capacitive.

    Raises:
        SpecError: unequal lengths, or values that are no numbers.
    """
    log_f, Z = ordered_spectrum(frequency_Hz, Z_ohm)
    log_f = np.log(log_f)
    minus = -Z.imag
    crossing = _crossing(log_f, Z.real, minus)
    begin = 0 if crossing is None else int(np.searchsorted(-log_f, -np.log(crossing.frequency_Hz)))
    top = _extreme(minus, begin)
    foot = None if top is None else _extreme(-minus, top + 1)
    points = (None if row is None else _turning(log_f, Z.real, minus, row) for row in (top, foot))
    return CharacteristicPoints(crossing, *points)


def ordered_spectrum(frequency_Hz: ArrayLike, Z_ohm: ArrayLike) -> tuple[Array, NDArray[np.complex128]]:
    """A spectrum from high to low frequency, (n,) and (n,); SpecError where it is none."""
    frequency, Z = np.asarray(frequency_Hz, dtype=np.float64), np.asarray(Z_ohm, dtype=np.complex128)
    if frequency.shape != Z.shape or frequency.ndim != 1:
        raise SpecError(f"a spectrum needs as many frequencies as impedances (got {frequency.shape} and {Z.shape}).")
    if not (np.isfinite(frequency).all() and np.isfinite(Z).all() and (frequency > 0).all()):
        raise SpecError("a spectrum needs positive frequencies and finite impedances; leave out the points that are not.")
    order = np.argsort(-frequency, kind="stable")
    return frequency[order], Z[order]


def _crossing(log_f: Array, real: Array, minus: Array) -> CharacteristicPoint | None:
    """The last change from inductive to capacitive on the way down."""
    rows = np.flatnonzero((minus[:-1] < 0) & (minus[1:] >= 0))
    if not len(rows):
        return None
    row = int(rows[-1])
    share = minus[row] / (minus[row] - minus[row + 1])
    log_at, real_at = (float(v[row] + share * (v[row + 1] - v[row])) for v in (log_f, real))
    return CharacteristicPoint(float(np.exp(log_at)), real_at, 0.0)


def _extreme(values: Array, begin: int) -> int | None:
    """The first row from `begin` on that is the highest of two rows on either side, one of them at least lower on each."""
    for row in range(max(begin, _TWO_SIDES), len(values) - _TWO_SIDES):
        around = values[row - _TWO_SIDES : row + _TWO_SIDES + 1]
        if values[row] == around.max() and values[row] > max(around[0], around[-1]):
            return row
    return None


def _turning(log_f: Array, real: Array, minus: Array, row: int) -> CharacteristicPoint:
    near = slice(row - 1, row + 2)
    bend = np.polyfit(log_f[near] - log_f[row], minus[near], 2)
    shift = float(np.clip(-bend[1] / (2 * bend[0]), log_f[row + 1] - log_f[row], log_f[row - 1] - log_f[row])) if bend[0] else 0.0
    slope = np.polyfit(log_f[near] - log_f[row], real[near], 2)
    at = float(np.exp(log_f[row] + shift))
    return CharacteristicPoint(at, float(np.polyval(slope, shift)), float(np.polyval(bend, shift)))
