"""Whether a spectrum can be that of a linear, causal, stable and steady cell: a check by Kramers and Kronig's relations.

    Z(omega) = R0 + i omega L + 1/(i omega C) + sum_k R_k / (1 + i omega tau_k)

Each term obeys the relations, so a spectrum that such a sum describes to its noise obeys them, and residuals with a pattern say
that it does not: the cell drifted while it was measured, or the excitation was too large. The tau_k are spread evenly in the
logarithm over the frequencies, so the R_k are found by linear least squares, weighted by the modulus (Boukamp, J. Electrochem.
Soc. 142 (1995) 1885). No circuit is assumed. How many terms: the fewest for which mu = 1 - sum of |R_k| over the negative ones
/ sum over the positive ones is below 0.85, since more begin to fit noise (Schönleber, Klotz and Ivers-Tiffée, Electrochim. Acta
131 (2014) 20). mu alone stops too early where arcs are sharp (a single charge transfer falls between two tau_k), so the
residuals' variance must also be within twice the least that any number of terms gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain.errors import SpecError
from orchestrator.features.spectrum_shape import ordered_spectrum

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
_LEAST_POINTS = 6
_LEAST_ELEMENTS, _MOST_ELEMENTS = 3, 100
_ENOUGH = 2.0  # times the least variance
_BELOW_ANY_NOISE = 1e-8  # variance: residuals of 0.01 %


@dataclass(frozen=True)
class KramersKronig:
    """How far a spectrum is from one that obeys the relations.

    Attributes:
        frequency_Hz: from high to low, (n,).
        residual: (Z - its nearest lawful spectrum) / |Z|, complex, relative, (n,).
        elements: number of R_k.
        mu: 1 where all R_k are positive; small where there are too many.
    """

    frequency_Hz: Array
    residual: ComplexArray
    elements: int
    mu: float

    @property
    def residual_rms(self) -> float:
        """Root mean square of the residual's modulus, relative: the figure to judge by.

        Where the relations hold it is the size of the noise (times the root of two: both parts). Measured spectra of steady
        cells leave 0.005 to 0.011 (59 of NREL's 467). Above 0.012, or several times the analyser's own noise, the cell drifted
        or was driven too hard.
        """
        return float(np.sqrt(np.mean(np.abs(self.residual) ** 2)))

    @property
    def residual_max(self) -> float:
        """The largest real or imaginary part of the residual, relative: it finds bad points, and judges no spectrum."""
        return float(max(np.abs(self.residual.real).max(), np.abs(self.residual.imag).max()))


def kramers_kronig(frequency_Hz: ArrayLike, Z_ohm: ArrayLike, mu_limit: float = 0.85) -> KramersKronig:
    """The linear Kramers-Kronig check of a spectrum.

    Args:
        frequency_Hz: (n,), in any order.
        Z_ohm: complex impedance, ohm, (n,); inductive points may stay.
        mu_limit: what mu must fall below.

    Returns:
        Residuals and how many terms they were found with; at most as many as there are points.

    Raises:
        SpecError: fewer than six points, unequal lengths, or values that are no numbers.
    """
    frequency, Z = ordered_spectrum(frequency_Hz, Z_ohm)
    if len(frequency) < _LEAST_POINTS or frequency[0] == frequency[-1] or not np.abs(Z).all():
        wanted = f"a Kramers-Kronig check needs {_LEAST_POINTS} points at different frequencies and no impedance of 0"
        raise SpecError(f"{wanted} (got {len(frequency)} points).")
    most = min(_MOST_ELEMENTS, len(frequency))
    fits = [_fit(frequency, Z, elements) for elements in range(_LEAST_ELEMENTS, most + 1)]
    variances = [_variance(residual, elements) for elements, _, residual in fits]
    enough = max(_ENOUGH * min(variances), _BELOW_ANY_NOISE)
    described = [fit for fit, variance in zip(fits, variances, strict=True) if variance <= enough]
    elements, mu, residual = next((fit for fit in described if fit[1] < mu_limit), described[-1])
    return KramersKronig(frequency, residual, elements, mu)


def _variance(residual: ComplexArray, elements: int) -> float:
    """Of the residuals, by the degrees of freedom that so many terms leave."""
    return float(np.sum(np.abs(residual) ** 2) / (2 * len(residual) - elements - 3))


def _fit(frequency: Array, Z: ComplexArray, elements: int) -> tuple[int, float, ComplexArray]:
    """The number of terms, mu, and the relative residual with them."""
    omega = 2 * np.pi * frequency
    tau = np.geomspace(1 / omega[0], 1 / omega[-1], elements)
    terms = 1 / (1 + 1j * omega[:, None] * tau)
    middle = np.sqrt(omega[0] * omega[-1])
    design = np.column_stack([np.ones(len(omega)), 1j * omega / middle, middle / (1j * omega), terms]) / np.abs(Z)[:, None]
    target = Z / np.abs(Z)
    both, wanted = np.concatenate([design.real, design.imag]), np.concatenate([target.real, target.imag])
    sizes = np.linalg.norm(both, axis=0)
    found = np.linalg.lstsq(both / sizes, wanted, rcond=1e-12)[0] / sizes
    parts = found[3:]
    positive, negative = parts[parts >= 0].sum(), -parts[parts < 0].sum()
    mu = 1 - negative / positive if positive > 0 else 0.0
    return elements, float(mu), target - design @ found
