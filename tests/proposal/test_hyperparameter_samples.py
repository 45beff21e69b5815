"""Beliefs averaged over the hyperparameters that the data allow."""

import numpy as np
import pytest

from orchestrator.proposal.hyperparameter_samples import LARGEST_AVERAGED, average_of
from orchestrator.proposal.marginal_likelihood import FeatureGroup, Prior
from orchestrator.proposal.surrogate import Readings, fit_surrogate


def fitted(n: int, noise: float, prior: Prior | None = None, seed: int = 0):
    random = np.random.default_rng(seed)
    X = random.random((n, 2))
    y = np.sin(4 * X[:, 0]) + X[:, 1] + noise * random.standard_normal(n)
    return fit_surrogate(Readings(X, 100 * y, np.full(n, 100 * noise)), prior)


def test_few_noisy_results_allow_many_hyperparameters():
    """No node has all the weight, and what they differ by is part of the uncertainty: it exceeds the mean over nodes."""
    surrogate = average_of(fitted(12, 0.7))
    assert len(surrogate.nodes) > 5
    assert surrogate.weights.sum() == pytest.approx(1.0)
    X = np.random.default_rng(1).random((40, 2))
    _, sd = surrogate.posterior(X)
    variances = np.stack([node.posterior(X)[1] ** 2 for node in surrogate.nodes])
    assert (sd**2 >= surrogate.weights @ variances - 1e-9).all()


def test_moments_agree_with_the_posterior():
    """Mean and variance of a row are the same, asked alone or with all others; the covariance is one."""
    surrogate = average_of(fitted(15, 0.5))
    X = np.random.default_rng(2).random((30, 2))
    mean, sd = surrogate.posterior(X)
    scaled, covariance = surrogate.moments(X)
    assert surrogate.centre + surrogate.scale * scaled == pytest.approx(mean)
    assert surrogate.scale * np.sqrt(np.diag(covariance)) == pytest.approx(sd, rel=1e-6)
    assert np.linalg.eigvalsh(covariance).min() > -1e-8


def test_plenty_of_exact_results_leave_the_fit():
    """Sixty results nearly without noise: the average says what the truth is, and the fit."""
    fit = fitted(60, 0.01)
    surrogate = average_of(fit)
    X = 0.1 + 0.8 * np.random.default_rng(3).random((40, 2))
    truth = 100 * (np.sin(4 * X[:, 0]) + X[:, 1])
    assert np.abs(surrogate.posterior(X)[0] - truth).max() < 5
    assert surrogate.posterior(X)[0] == pytest.approx(fit.posterior(X)[0], abs=3)
    assert len(surrogate.nodes) < 10


def test_what_is_stated_as_uncertain_is():
    """Over thirty sets of noisy data a 90 % interval of the average holds the truth about as often as it says."""
    random = np.random.default_rng(4)
    within = []
    for seed in range(30):
        surrogate = average_of(fitted(14, 0.6, seed=seed))
        X = random.random((20, 2))
        mean, sd = surrogate.posterior(X)
        within += list(np.abs(mean - 100 * (np.sin(4 * X[:, 0]) + X[:, 1])) <= 1.645 * sd)
    assert 0.8 < np.mean(within) < 0.99


def test_groups_of_columns_and_many_points():
    """Kernels of groups are averaged too; beyond so many points the fit stands alone; the average of an average is itself."""
    prior = Prior(groups=(FeatureGroup("a", (0,)), FeatureGroup("b", (1,))))
    grouped = average_of(fitted(20, 0.5, prior))
    assert np.isfinite(grouped.posterior(grouped.readings.X)[0]).all()
    assert len(grouped.nodes) > 1
    assert average_of(grouped) is grouped
    assert len(average_of(fitted(LARGEST_AVERAGED + 1, 0.5)).nodes) == 1
