"""Centred kernel alignment: blind to rotation, scale and shift, and to chance."""

import numpy as np
import pytest

from orchestrator.domain.errors import SpecError
from orchestrator.prognostics.alignment import centered_kernel_alignment


def by_definition(A, B):
    """The debiased estimate with its sums written out over tuples of different rows (Song et al. 2012, equation 4)."""
    K, L = A @ A.T, B @ B.T
    n = len(K)

    def hsic(K, L):
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
        two = np.mean([K[i, j] * L[i, j] for i, j in pairs])
        three = np.mean([K[i, j] * L[i, q] for i, j in pairs for q in range(n) if q not in (i, j)])
        four = np.mean([K[i, j] * L[q, r] for i, j in pairs for q, r in pairs if not {i, j} & {q, r}])
        return two + four - 2 * three

    return hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))


def test_independent_activations_are_not_alike():
    """Twelve rows of independent activations: the plug-in estimate says 0.6, the debiased one 0 on average."""
    rng = np.random.default_rng(1)
    pairs = [(rng.normal(size=(12, 20)), rng.normal(size=(12, 20))) for _ in range(300)]
    assert abs(np.mean([centered_kernel_alignment(A, B) for A, B in pairs])) < 0.03
    assert np.mean([centered_kernel_alignment(A, B, debiased=False) for A, B in pairs]) == pytest.approx(0.62, abs=0.03)


def test_it_is_the_unbiased_statistic():
    """The closed form equals the means over pairs, triples and quadruples of different rows."""
    rng = np.random.default_rng(2)
    A = rng.normal(size=(7, 3))
    B = A[:, :2] + rng.normal(size=(7, 2))
    assert centered_kernel_alignment(A, B) == pytest.approx(by_definition(A, B), abs=1e-10)


@pytest.mark.parametrize("debiased", [True, False])
def test_rotation_scale_and_shift_change_nothing(debiased):
    """Representations that differ by these alone are alike to 1; any pair keeps its value; the order does not matter."""
    rng = np.random.default_rng(3)
    A, B = rng.normal(size=(15, 6)), rng.normal(size=(15, 4))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    moved = 1e6 * A @ rotation + 7
    assert centered_kernel_alignment(A, moved, debiased) == pytest.approx(1)
    assert centered_kernel_alignment(moved, B, debiased) == pytest.approx(centered_kernel_alignment(B, A, debiased))


def test_unpaired_rows_differ():
    """The same activations in another order are no longer alike: rows belong to inputs."""
    rng = np.random.default_rng(4)
    A = rng.normal(size=(40, 5))
    assert centered_kernel_alignment(A, A[rng.permutation(40)]) < 0.3


def test_what_does_not_vary_is_like_nothing():
    """A constant representation gives 0, not NaN."""
    A = np.random.default_rng(5).normal(size=(9, 3))
    assert centered_kernel_alignment(A, np.full((9, 2), 0.1)) == 0


def test_what_cannot_be_compared_is_said():
    """Unpaired rows, too few rows, NaN."""
    with pytest.raises(SpecError, match="paired rows, one per input \\(got 5 and 6\\)"):
        centered_kernel_alignment(np.ones((5, 2)), np.ones((6, 2)))
    with pytest.raises(SpecError, match="at least 4 rows"):
        centered_kernel_alignment(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(SpecError, match="finite"):
        centered_kernel_alignment(np.full((5, 2), np.nan), np.ones((5, 2)))
