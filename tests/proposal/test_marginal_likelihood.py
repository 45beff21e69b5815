"""Hyperparameters: the likelihood is exact, with replicates too, and its gradient is its gradient."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from orchestrator.proposal.marginal_likelihood import JITTER, MarginalLikelihood, Prior, matern


@pytest.fixture
def readings():
    """Thirty readings of at most twelve points: X, y and noise variances."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(12, 3))[rng.integers(0, 12, 30)]
    return X, rng.normal(size=30), rng.uniform(0.1, 0.5, 30)


def test_replicates_leave_the_likelihood_what_it_is(readings):
    """Differences of the value between parameters equal those of the plain 30-dimensional normal density."""
    X, y, noise = readings
    problem = MarginalLikelihood(X, y, noise, Prior())

    def plain(theta):
        covariance = np.exp(theta[-2]) * matern(X, X, np.exp(theta[:-2])) + 1 + np.diag(noise + np.exp(theta[-1]) + JITTER)
        step = (theta - problem.centre) / problem.width
        return -multivariate_normal(np.zeros(30), covariance).logpdf(y) + 0.5 * step @ step

    one, other = np.array([-0.5, -0.3, 0.1, -0.2, -1.5]), np.array([0.1, -0.6, 0.4, 0.3, -2.5])
    assert problem.loss(other)[0] - problem.loss(one)[0] == pytest.approx(plain(other) - plain(one), abs=1e-9)


@pytest.mark.parametrize("smooth", [False, True])
def test_the_gradient_is_that_of_the_value(readings, smooth):
    """Against finite differences, replicates included."""
    problem, theta = MarginalLikelihood(*readings, Prior(smooth=smooth)), np.array([-0.5, -0.3, 0.1, -0.2, -1.5])
    assert problem.loss(theta)[1] == pytest.approx(approx_fprime(theta, lambda t: problem.loss(t)[0], 1e-6), abs=1e-4)
