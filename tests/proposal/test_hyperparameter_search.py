"""The search for hyperparameters: every reading counts once, and cutting the likelihood costs the belief nothing to speak of."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from orchestrator.proposal import hyperparameter_search
from orchestrator.proposal.hyperparameter_search import composite, fit_hyperparameters, neighbourhoods, spread_subset
from orchestrator.proposal.marginal_likelihood import MarginalLikelihood, Prior
from orchestrator.proposal.surrogate import Readings, Surrogate


def response(X):
    return np.sin(4 * X[:, 0]) + 0.5 * np.cos(7 * X[:, 1]) + X[:, 0] * X[:, 1]


@pytest.fixture
def readings():
    """Five hundred noisy readings of four hundred and fifty points: X, y and noise variances."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(450, 2))
    X = np.vstack([X, X[:50]])
    return X, response(X) + 0.1 * rng.standard_normal(500), np.full(500, 0.01)


def test_neighbourhoods_part_all_points_evenly():
    """Each row is in one block, blocks are equal in size, and no larger than asked."""
    X = np.random.default_rng(1).uniform(size=(1000, 3))
    blocks = neighbourhoods(X, 320)
    assert sorted(np.concatenate(blocks)) == list(range(1000))
    assert [len(rows) for rows in blocks] == [250] * 4
    assert len(neighbourhoods(X[:320], 320)) == 1


def test_neighbours_are_near():
    """Blocks are smaller than the cube, and identical points break nothing."""
    X = np.random.default_rng(1).uniform(size=(1000, 2))
    assert max(np.ptp(X[rows], axis=0).prod() for rows in neighbourhoods(X, 250)) < 0.4
    assert len(neighbourhoods(np.zeros((10, 2)), 5)) == 2


def test_a_subset_covers_what_the_points_cover():
    """No point is far from the subset, and asking for more than there are gives all."""
    X = np.random.default_rng(1).uniform(size=(500, 2))
    chosen = spread_subset(X, 60)
    assert len(set(chosen)) == 60
    assert np.sqrt(((X[:, None] - X[chosen][None]) ** 2).sum(axis=2).min(axis=1)).max() < 0.15
    assert sorted(spread_subset(X[:5], 9)) == list(range(5))


def test_the_composite_likelihood_counts_the_prior_once(readings):
    """One block is the exact likelihood; several have the gradient of their value."""
    X, y, noise = readings
    theta = np.array([-0.5, -0.3, 0.1, -4.0])
    parts = [MarginalLikelihood(X[i::8], y[i::8], noise[i::8], Prior()) for i in range(3)]
    assert composite(parts[:1], theta)[0] == pytest.approx(parts[0].loss(theta)[0])
    assert composite(parts, theta)[0] == pytest.approx(
        sum(p.loss(theta)[0] - p.before(theta)[0] for p in parts) + parts[0].before(theta)[0]
    )
    assert composite(parts, theta)[1] == pytest.approx(approx_fprime(theta, lambda t: composite(parts, t)[0], 1e-6), abs=1e-3)


def test_a_cut_likelihood_teaches_what_the_whole_one_does(readings, monkeypatch):
    """Unseen points are foretold as well, in density and on average, as with the exact likelihood of all readings."""
    X, y, noise = readings
    unseen = np.random.default_rng(9).uniform(size=(300, 2))

    def surprise():
        learned = fit_hyperparameters(X, y, noise, Prior())
        surrogate = Surrogate(Readings(X, y, np.sqrt(noise)), Prior(), 0.0, 1.0, learned)
        mean, variance = surrogate.scaled_mean(unseen), surrogate.scaled_variance(unseen)
        return float(np.mean(0.5 * np.log(variance) + 0.5 * (response(unseen) - mean) ** 2 / variance))

    cut = surprise()
    monkeypatch.setattr(hyperparameter_search, "LARGEST_BLOCK", 1000)
    assert cut == pytest.approx(surprise(), abs=0.05)


def test_the_same_readings_teach_the_same(readings):
    """Nothing is drawn and nothing is kept: two searches end at the same numbers."""
    one, two = fit_hyperparameters(*readings, Prior()), fit_hyperparameters(*readings, Prior())
    assert np.array_equal(one.lengthscales, two.lengthscales)
    assert (one.signal, one.spread) == (two.signal, two.spread)
