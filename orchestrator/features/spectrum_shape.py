"""Impedance spectrum -> its characteristic points, read off without a model: where it crosses the axis, tops and turns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain.errors import SpecError

Array = NDArray[np.float64]
_TWO_SIDES = 2  # points on either side that a top or foot must stand out from
_LEAST_PROMINENCE = 1e-3  # of the range of -Im Z: less is a plateau


class CharacteristicPoint(NamedTuple):
    """A point of a spectrum: frequency in Hz, and real and negative imaginary part of the impedance there in ohm."""

    frequency_Hz: float
    real_ohm: float
    minus_imaginary_ohm: float


class CharacteristicPoints(NamedTuple):
    """The points of a spectrum that have a name; None where it has none in the frequencies measured.

    Attributes:
        zero_crossing: where the leads' inductance gives way to capacitance, -Im Z = 0; its real part is the ohmic resistance.
        arc_top: the most prominent maximum of -Im Z below it: 1/(2 pi R C) of the process that makes the arc, as a rule the
            charge transfer. `arc_tops` has the others.
        foot: the first minimum of -Im Z below that, where another arc begins or diffusion takes over; its real part bounds the
            charge transfer.
    """

    zero_crossing: CharacteristicPoint | None
    arc_top: CharacteristicPoint | None
    foot: CharacteristicPoint | None


def characteristic_points(frequency_Hz: ArrayLike, Z_ohm: ArrayLike) -> CharacteristicPoints:
    """Where a spectrum crosses the real axis, where its arc is highest, and where the tail begins.

    Between measured frequencies the crossing is interpolated straight in log frequency, top and foot by a parabola through
    three points. A top or foot must be the extreme of two points on either side and its prominence 0.1 % of the range of
    -Im Z, so that single noisy points and plateaus make none. The arc is the most prominent one: a smaller one is passed over.

    Args:
        frequency_Hz: (n,), in any order.
        Z_ohm: complex impedance, (n,); imaginary part negative where capacitive.

    Raises:
        SpecError: unequal lengths, or values that are no numbers.
    """
    frequency, Z = ordered_spectrum(frequency_Hz, Z_ohm)
    log_f, minus = np.log(frequency), -Z.imag
    crossing, begin = _crossing(log_f, Z.real, minus), _capacitive_from(log_f, Z.real, minus)
    tops = _maxima(minus, begin)
    top = tops[0] if tops else None
    foot = None if top is None else min(_maxima(-minus, top), default=None)
    points = (None if row is None else _turning(log_f, Z.real, minus, row) for row in (top, foot))
    return CharacteristicPoints(crossing, *points)


def arc_tops(frequency_Hz: ArrayLike, Z_ohm: ArrayLike) -> list[CharacteristicPoint]:
    """The tops of all arcs that can be told apart, the most prominent first; the first is `characteristic_points(...).arc_top`.

    Prominence is what -Im Z must fall from a top before it can rise to a higher one. An arc that shows as a shoulder alone has no
    top.

    Args:
        frequency_Hz: (n,), in any order.
        Z_ohm: complex impedance, (n,); imaginary part negative where capacitive.

    Raises:
        SpecError: unequal lengths, or values that are no numbers.
    """
    frequency, Z = ordered_spectrum(frequency_Hz, Z_ohm)
    log_f, minus = np.log(frequency), -Z.imag
    return [_turning(log_f, Z.real, minus, row) for row in _maxima(minus, _capacitive_from(log_f, Z.real, minus))]


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


def _capacitive_from(log_f: Array, real: Array, minus: Array) -> int:
    """The first row below the crossing."""
    crossing = _crossing(log_f, real, minus)
    return 0 if crossing is None else int(np.searchsorted(-log_f, -np.log(crossing.frequency_Hz)))


def _maxima(values: Array, begin: int) -> list[int]:
    """The rows from `begin` on with a prominent maximum, highest of two rows on either side, the most prominent first."""
    from scipy.signal import find_peaks

    if len(values) - begin < 1 + _TWO_SIDES:
        return []
    near = values[max(begin - _TWO_SIDES, 0) :]
    rows, found = find_peaks(near, prominence=max(_LEAST_PROMINENCE * float(np.ptp(values[begin:])), np.finfo(np.float64).tiny))
    rows = rows + len(values) - len(near)
    order = np.argsort(-found["prominences"], kind="stable")
    return [int(row) for row in rows[order] if row >= begin and _stands_out(values, int(row))]


def _stands_out(values: Array, row: int) -> bool:
    if row < _TWO_SIDES or row + _TWO_SIDES >= len(values):
        return False
    around = values[row - _TWO_SIDES : row + _TWO_SIDES + 1]
    return bool(values[row] == around.max() and values[row] > max(around[0], around[-1]))


def _turning(log_f: Array, real: Array, minus: Array, row: int) -> CharacteristicPoint:
    near = slice(row - 1, row + 2)
    bend = np.polyfit(log_f[near] - log_f[row], minus[near], 2)
    shift = float(np.clip(-bend[1] / (2 * bend[0]), log_f[row + 1] - log_f[row], log_f[row - 1] - log_f[row])) if bend[0] else 0.0
    slope = np.polyfit(log_f[near] - log_f[row], real[near], 2)
    at = float(np.exp(log_f[row] + shift))
    return CharacteristicPoint(at, float(np.polyval(slope, shift)), float(np.polyval(bend, shift)))
