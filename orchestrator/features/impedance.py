"""Impedance spectrum -> the elements of a Randles circuit, by weighted least squares.

    Z(omega) = R0 + 1 / (i omega Cdl + 1/(Rct + Zw)),    Zw = Aw (1 - i) omega^(-1/2)

a series resistance, then a double layer beside a charge transfer and semi-infinite diffusion (Randles, Discuss. Faraday Soc. 1
(1947) 11; Bard and Faulkner, Electrochemical Methods, 2nd ed., section 10.3). Residuals are weighted by the modulus, since an
analyser's error is a share of it (Boukamp, Solid State Ionics 20 (1986) 31).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from orchestrator.domain.errors import SpecError

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
RANDLES = ("R0_ohm", "Rct_ohm", "Cdl_F", "Aw_ohm_s-0.5")
_LEAST_POINTS = 5
_FURTHEST = np.log(1e6)  # from a start value
_UNDETERMINED = 10.0  # standard error of a logarithm: nobody knows an element to a factor of 20 000
_LEAST_NOISE, _NO_EFFECT = 1e-6, 1e-150  # relative: no analyser is better, and what is divided by
_NEARLY_NOTHING = 1e-6  # of the modulus: where a start value would be zero or negative


@dataclass(frozen=True)
class Spectrum:
    """An impedance spectrum: frequencies in Hz, impedance in ohm (imaginary part negative where capacitive), both (n,)."""

    frequency_Hz: Array
    Z_ohm: ComplexArray


def randles_ohm(frequency_Hz: ArrayLike, R0_ohm: float, Rct_ohm: float, Cdl_F: float, Aw: float) -> ComplexArray:
    """Impedance (ohm) of a Randles circuit at frequencies, (n,) to (n,); `Aw` in ohm s^-1/2."""
    omega = 2 * np.pi * np.asarray(frequency_Hz, dtype=np.float64)
    faradaic = Rct_ohm + Aw * (1 - 1j) / np.sqrt(omega)
    impedance: ComplexArray = R0_ohm + 1 / (1j * omega * Cdl_F + 1 / faradaic)
    return impedance


def fit_randles(frequency_Hz: ArrayLike, Z_ohm: ArrayLike) -> dict[str, float]:
    """The Randles circuit nearest to a spectrum, with standard errors.

    Points with a positive imaginary part (the leads' inductance) are left out. The elements are fitted as logarithms, so they
    stay positive. Standard errors come from the residuals' curvature; they tell noise from signal as far as the circuit is the
    right one, and grow where it is not. An element that the spectrum does not determine (a charge transfer hidden under the
    diffusion, as in warm cells) has an infinite one: its value means nothing then.

    Args:
        frequency_Hz: (n,), in any order.
        Z_ohm: complex impedance, (n,); imaginary part negative where capacitive.

    Returns:
        `R0_ohm`, `Rct_ohm`, `Cdl_F`, `Aw_ohm_s-0.5`, the standard error of each under its name plus `_se`, and `residual`: the
        root mean square of the relative residuals.

    Raises:
        SpecError: fewer than five capacitive points, unequal lengths, values that are no numbers, or an impedance of zero.

    Example:
        >>> f = np.geomspace(1e4, 1e-2, 31)
        >>> found = fit_randles(f, randles_ohm(f, 0.01, 0.02, 1.0, 0.002))
        >>> round(found["R0_ohm"], 6)
        0.01
    """
    spectrum = _capacitive(np.asarray(frequency_Hz, dtype=np.float64), np.asarray(Z_ohm, dtype=np.complex128))
    modulus = np.abs(spectrum.Z_ohm)

    def residuals(logs: Array) -> Array:
        relative = (randles_ohm(spectrum.frequency_Hz, *np.exp(logs).tolist()) - spectrum.Z_ohm) / modulus
        return np.concatenate([relative.real, relative.imag])

    fits = [least_squares(residuals, start, bounds=(start - _FURTHEST, start + _FURTHEST)) for start in _starts(spectrum)]
    best = min(fits, key=lambda fit: fit.cost)
    elements, errors = np.exp(best.x), _standard_errors(best.jac, best.cost)
    found = dict(zip(RANDLES, elements.tolist(), strict=True))
    found.update({f"{name}_se": float(e) for name, e in zip(RANDLES, elements * errors, strict=True)})
    return {**found, "residual": float(np.sqrt(2 * best.cost / len(best.fun)))}


def _capacitive(frequency_Hz: Array, Z_ohm: ComplexArray) -> Spectrum:
    if frequency_Hz.shape != Z_ohm.shape or frequency_Hz.ndim != 1:
        raise SpecError(f"a spectrum needs as many frequencies as impedances (got {frequency_Hz.shape} and {Z_ohm.shape}).")
    if not (np.isfinite(frequency_Hz).all() and np.isfinite(Z_ohm).all() and (frequency_Hz > 0).all()):
        raise SpecError("a spectrum needs positive frequencies and finite impedances; leave out the points that are not.")
    order = np.argsort(-frequency_Hz)
    kept = order[Z_ohm.imag[order] <= 0]
    if len(kept) < _LEAST_POINTS:
        raise SpecError(f"a Randles circuit needs {_LEAST_POINTS} capacitive points (got {len(kept)} of {len(order)}).")
    if (none := int((np.abs(Z_ohm[kept]) < _NO_EFFECT).sum())) > 0:
        raise SpecError(f"the impedance is zero at {none} of {len(kept)} points: nothing was measured. Leave them out.")
    return Spectrum(frequency_Hz[kept], Z_ohm[kept])


def _starts(spectrum: Spectrum) -> list[Array]:
    """Logarithms of R0, Rct, Cdl, Aw read off the spectrum, and variations: the arc's width is what a tail hides."""
    omega, real, imaginary = 2 * np.pi * spectrum.frequency_Hz, spectrum.Z_ohm.real, -spectrum.Z_ohm.imag
    least = _NEARLY_NOTHING * float(np.abs(spectrum.Z_ohm).max())
    series = max(float(real[0]), least)
    top = _arc_top(imaginary)
    foot = top + int(np.argmin(imaginary[top:]))
    charge_transfer = max(float(real[foot]) - series, 2 * float(imaginary[top]), least)
    diffusion = max(float(imaginary[-1]) * float(np.sqrt(omega[-1])), least)
    layer = 1 / (float(omega[top]) * charge_transfer)
    return [
        np.log([series, charge_transfer * wide, layer / wide, diffusion * steep])
        for wide, steep in product((0.4, 1.0, 2.5), (0.2, 1.0))
    ]


def _arc_top(imaginary: Array) -> int:
    """Where the first arc, from high frequencies, is highest; the middle if the imaginary part only ever grows."""
    rising = np.flatnonzero(np.diff(imaginary) < 0)
    return int(rising[0]) if len(rising) else len(imaginary) // 2


def _standard_errors(jacobian: Array, cost: float) -> Array:
    """Of the logarithms: s^2 (J' J)^-1 with s^2 the residuals' variance, (4,); infinite for what the spectrum leaves open."""
    rows, columns = jacobian.shape
    variance = 2 * cost / max(rows - columns, 1)
    _, sizes, directions = np.linalg.svd(jacobian, full_matrices=False)
    spread = np.sqrt(((directions / np.maximum(sizes, _NO_EFFECT)[:, None]) ** 2).sum(axis=0))
    return np.where(spread * max(np.sqrt(variance), _LEAST_NOISE) < _UNDETERMINED, np.sqrt(variance) * spread, np.inf)
