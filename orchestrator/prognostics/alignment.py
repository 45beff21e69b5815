"""How alike two sets of activations are, whatever their rotation and scale: centred kernel alignment with linear kernels.

    CKA(A, B) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)),    K = A A',  L = B B'

The plug-in estimate of HSIC, tr(K H L H) / (n - 1)^2, is biased upwards: independent activations of 12 rows look 0.6 alike. The
debiased one takes diagonals out (Song, Smola, Gretton, Bedo and Borgwardt, JMLR 13 (2012) 1393, equation 5), for each of the
three terms (Nguyen, Raghu and Kornblith, ICLR 2021):

    HSIC = (tr(K~ L~) + 1'K~1 1'L~1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'K~ L~ 1) / (n (n - 3)),    K~ = K with a zero diagonal

Rows must be paired: the same inputs through both networks (Kornblith, Norouzi, Lee and Hinton, ICML 2019).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain.errors import Fault, SpecError

Array = NDArray[np.float64]


def centered_kernel_alignment(A: ArrayLike, B: ArrayLike, debiased: bool = True) -> float:
    """The alignment of two representations of the same inputs.

    Args:
        A: activations, shape (n, p); row i belongs to the same input as row i of `B`.
        B: activations, shape (n, q).
        debiased: the debiased estimate, about 0 on average for independent representations and a little below 0 in half of
            such cases; else the plug-in one, in [0, 1].

    Returns:
        1 for representations that differ by a rotation, a scale and a shift only; 0 where one of them does not vary.

    Raises:
        SpecError: rows that are not paired, fewer than 4 of them (2 when not debiased), NaN or infinite activations.

    Example:
        >>> centered_kernel_alignment(hidden_before, hidden_after)  # doctest: +SKIP
    """
    first, second = _checked(A, "A"), _checked(B, "B")
    n, least = len(first), 4 if debiased else 2
    if len(second) != n:
        raise SpecError(Fault("A, B", f"must have paired rows, one per input (got {n} and {len(second)})."))
    if n < least:
        raise SpecError(Fault("A, B", f"must have at least {least} rows (got {n})."))
    K, L = _gram(first), _gram(second)
    hsic = _debiased_hsic if debiased else _plug_in_hsic
    between, own = hsic(K, L), (hsic(K, K), hsic(L, L))
    if min(own) <= 0:
        return 0.0
    return float(between / math.sqrt(own[0] * own[1]))


def _checked(values: ArrayLike, name: str) -> Array:
    rows = np.asarray(values, dtype=np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise SpecError(Fault(name, f"must be finite activations of shape (n, units) (got shape {rows.shape})."))
    return rows


def _gram(rows: Array) -> Array:
    """Inner products of centred rows, to unit size: HSIC does not see a shift, rounding does."""
    centred = rows - rows.mean(axis=0)
    largest = np.abs(centred).max(initial=0.0)
    # What rounding leaves of a constant is no variation.
    if largest <= 1e-12 * np.abs(rows).max(initial=0.0):
        return np.zeros((len(rows), len(rows)))
    scaled = centred / largest
    made: Array = scaled @ scaled.T
    return made


def _plug_in_hsic(K: Array, L: Array) -> float:
    return float((K * L).sum())


def _debiased_hsic(K: Array, L: Array) -> float:
    n = len(K)
    k, m = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    level = k.sum() * m.sum() / ((n - 1) * (n - 2))
    return float(((k * m).sum() + level - 2 / (n - 2) * k.sum(axis=0) @ m.sum(axis=0)) / (n * (n - 3)))
