"""Discharge curves Q(V) on a voltage grid, and what their change between two cycles says of a cell's life.

The change of the curve from an early to a later cycle, Delta Q(V) = Q_late(V) - Q_early(V), foretells life long before the
capacity does: Severson et al., Nature Energy 4 (2019) 383, there between cycles 10 and 100.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.recording import Recording

Array = NDArray[np.float64]

# Share of the nominal current that counts as a discharge.
_DISCHARGING = 0.02


def delta_q_features(V: ArrayLike, Q_early: ArrayLike, Q_late: ArrayLike) -> dict[str, float]:
    """Statistics of Delta Q(V) = Q_late(V) - Q_early(V).

    Args:
        V: voltages, V, shape (n,), n >= 4, ascending or descending.
        Q_early: discharge capacity of the early cycle at each voltage, Ah, shape (n,).
        Q_late: that of the later cycle; voltages where either is NaN are left out.

    Returns:
        `log_variance`, `log_minimum`, `log_mean`: log10 of the variance (Ah^2), of |minimum| and of |mean| (Ah);
        `variance` (Ah^2), `minimum`, `mean`, `at_lowest_voltage` (Ah); `skewness`, `kurtosis` (Pearson's, normal = 3).
        Logarithms of 0 and moments of a constant difference are NaN.

    Raises:
        SpecError: if the shapes differ, or fewer than 4 voltages have both values.
    """
    volts, early, late = (np.asarray(each, dtype=np.float64) for each in (V, Q_early, Q_late))
    if not volts.shape == early.shape == late.shape or volts.ndim != 1:
        shapes = f"V {volts.shape}, Q_early {early.shape}, Q_late {late.shape}"
        raise SpecError(Fault("V, Q_early, Q_late", f"must be vectors of one length (got {shapes})."))
    known = np.isfinite(volts) & np.isfinite(early) & np.isfinite(late)
    if known.sum() < 4:
        remedy = "Interpolate both curves to the same voltages."
        raise SpecError(Fault("Q_early, Q_late", f"have both a value at {known.sum()} voltages; 4 are needed.", remedy))
    change = (late - early)[known]
    mean, variance = float(change.mean()), float(change.var())
    off = change - mean
    return {
        "log_variance": _log10(variance),
        "log_minimum": _log10(abs(float(change.min()))),
        "log_mean": _log10(abs(mean)),
        "variance": variance,
        "minimum": float(change.min()),
        "mean": mean,
        "skewness": float((off**3).mean() / variance**1.5) if variance > 0 else float("nan"),
        "kurtosis": float((off**4).mean() / variance**2) if variance > 0 else float("nan"),
        "at_lowest_voltage": float(change[np.argmin(volts[known])]),
    }


def _log10(size: float) -> float:
    return float(np.log10(size)) if size > 0 else float("nan")


def discharge_curve(recording: Recording, cycle: int, V: ArrayLike) -> Array:
    """The discharge capacity of one cycle at given voltages, counted from the beginning of its longest discharge.

    Args:
        recording: time series with `cycle_count`; current positive when charging.
        cycle: the cycle's number.
        V: voltages, V, shape (n,).

    Returns:
        Capacity in Ah, shape (n,). Above the voltage at which the discharge begins it is 0, below the one at which it ends
        that of the whole discharge, a hold at the end included.

    Raises:
        SpecError: if the cycle was not recorded, or holds no discharge.
    """
    recording = recording.ageing()
    numbers = recording.column("cycle_count")
    inside = np.flatnonzero(numbers == cycle)
    if not len(inside):
        raise SpecError(Fault("cycle", f"{cycle} was not recorded.", f"Recorded: {_some(np.unique(numbers))}."))
    time_s, volts, amps = (recording.column(n)[inside] for n in ("test_time_second", "voltage_volt", "current_ampere"))
    part = _longest_discharge(time_s, amps, _DISCHARGING * (recording.nominal_capacity_Ah or 1.0))
    if part is None:
        raise SpecError(Fault("cycle", f"{cycle} holds no discharge."))
    time_s, volts, out_A = time_s[part], volts[part], -amps[part]
    passed = np.r_[0.0, np.cumsum(np.diff(time_s) * (out_A[1:] + out_A[:-1]) / 2)] / 3600
    falling = np.minimum.accumulate(volts)
    # Where the voltage stands still the last capacity counts: a hold at the end belongs to its voltage.
    last = np.r_[np.flatnonzero(np.diff(falling) < 0), len(falling) - 1]
    return np.asarray(np.interp(-np.asarray(V, dtype=np.float64), -falling[last], passed[last], left=0.0))


def _longest_discharge(time_s: Array, amps: Array, least_A: float) -> slice | None:
    """The discharge that takes out most, as a slice; holds that follow it at once belong to it."""
    discharging = amps < -1e-3 * least_A / _DISCHARGING
    edges = np.flatnonzero(np.diff(np.r_[False, discharging, False].astype(np.int8)))
    runs = [slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 1 and amps[a:b].min() < -least_A]
    if not runs:
        return None
    return max(runs, key=lambda run: float(np.trapezoid(-amps[run], time_s[run])))


def _some(numbers: Array) -> str:
    shown = ", ".join(f"{n:g}" for n in numbers[:8])
    return shown + (" ..." if len(numbers) > 8 else "")
