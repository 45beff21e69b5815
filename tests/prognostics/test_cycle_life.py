"""The linear baseline: what it predicts, and that its stated errors are the errors it makes."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from orchestrator.domain.errors import SpecError
from orchestrator.prognostics import LinearCycleLifeRegressor, expected_mspe


def cells(rng, n, p, sigma=0.5):
    X = rng.normal(size=(n, p))
    return X, 3.0 + X @ np.arange(1, p + 1) + sigma * rng.normal(size=n)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_expected_error_is_the_error_made(fit_intercept):
    """Monte Carlo of training sets of 10 cells, 2 features: the mean error on new cells is the formula's within 5 %."""
    rng, errors = np.random.default_rng(1), []
    for _ in range(1000):
        X, y = cells(rng, 30, 2)
        y = y if fit_intercept else y - 3.0
        model = LinearCycleLifeRegressor(fit_intercept).fit(X[:10], y[:10])
        errors.append(np.mean((model.predict(X[10:]) - y[10:]) ** 2))
    assert np.mean(errors) == pytest.approx(expected_mspe(0.25, 10, 2, fit_intercept).total, rel=0.05)


def test_the_parts_add_up():
    """Irreducible and model error make the total; the closed form with and without intercept."""
    error = expected_mspe(2.0, 20, 3)
    assert error.irreducible == 2.0
    assert error.irreducible + error.model == pytest.approx(error.total)
    assert error.total == pytest.approx(2.0 * (1 + 1 / 20) * (1 + 3 / 15))
    assert expected_mspe(2.0, 20, 3, fit_intercept=False).total == pytest.approx(2.0 * (1 + 3 / 16))
    assert expected_mspe(1.0, 5, 3).total == float("inf")


def test_it_is_ordinary_least_squares():
    """The same line as scikit-learn's, and residual variance with n - p - 1 degrees of freedom."""
    X, y = cells(np.random.default_rng(2), 25, 3)
    model, other = LinearCycleLifeRegressor().fit(X, y), LinearRegression().fit(X, y)
    assert model.coef_ == pytest.approx(other.coef_)
    assert model.intercept_ == pytest.approx(other.intercept_)
    assert model.sigma2_ == pytest.approx(np.sum((y - other.predict(X)) ** 2) / (25 - 4))


def test_press_is_leave_one_out():
    """The closed form equals 12 fits without one cell each."""
    X, y = cells(np.random.default_rng(3), 12, 2)
    off = [LinearCycleLifeRegressor().fit(np.delete(X, i, 0), np.delete(y, i)).predict(X[i : i + 1])[0] - y[i] for i in range(12)]
    assert LinearCycleLifeRegressor().fit(X, y).press_ == pytest.approx(np.sum(np.square(off)))


def test_the_predictive_spread_covers_new_cells():
    """About 68 % of new cells lie within one standard deviation, also far from the training cells."""
    rng, inside = np.random.default_rng(4), []
    for _ in range(200):
        X, y = cells(rng, 60, 2)
        mean, std = LinearCycleLifeRegressor().fit(X[:30], y[:30]).predict(X[30:], return_std=True)
        inside.append(np.mean(np.abs(mean - y[30:]) < std))
    assert np.mean(inside) == pytest.approx(0.683, abs=0.02)


def test_it_keeps_scikit_learns_habits():
    """Clone, score, parameters; NaN is refused with scikit-learn's own message."""
    X, y = cells(np.random.default_rng(5), 20, 2)
    model = clone(LinearCycleLifeRegressor(fit_intercept=False))
    assert model.get_params() == {"fit_intercept": False}
    assert model.fit(X, y, groups=np.arange(20)).score(X, y) < 1
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full((20, 2), np.nan), y)


def test_what_cannot_be_fitted_is_said():
    """Too few cells, and features that repeat one another."""
    with pytest.raises(SpecError, match="3 coefficients and a variance need at least 4 cells"):
        LinearCycleLifeRegressor().fit(np.eye(3)[:, :2], np.ones(3))
    with pytest.raises(SpecError, match="linear combination"):
        LinearCycleLifeRegressor().fit(np.ones((9, 1)), np.arange(9.0))
    with pytest.raises(SpecError, match="variance"):
        expected_mspe(-1.0, 10, 2)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_intervals_hold_as_often_as_they_say(fit_intercept):
    """90 % intervals from 8 cells and 2 features hold 90 % of new cells; a normal's quantile would hold fewer."""
    rng, inside = np.random.default_rng(6), []
    for _ in range(400):
        X, y = cells(rng, 18, 2)
        y = y if fit_intercept else y - 3.0
        low, high = LinearCycleLifeRegressor(fit_intercept).fit(X[:8], y[:8]).predict_interval(X[8:])
        inside.append(np.mean((y[8:] >= low) & (y[8:] <= high)))
    assert np.mean(inside) == pytest.approx(0.9, abs=0.015)
    with pytest.raises(SpecError, match="between 0 and 1"):
        LinearCycleLifeRegressor().fit(X, y).predict_interval(X, coverage=1.5)


@pytest.mark.parametrize(("n", "p"), [(10, 2), (20, 1), (41, 6)])
def test_the_formula_with_intercept_is_exact(n, p):
    """Over 20 000 training sets the expected error, taken exactly given each set's features, is the formula's within 1 %."""
    features = np.random.default_rng(n).normal(size=(20_000, n, p))
    mean = features.mean(axis=1)
    inverse = np.linalg.inv(np.einsum("sni,snj->sij", features - mean[:, None], features - mean[:, None]))
    made = 1 + 1 / n + np.trace(inverse, axis1=1, axis2=2) + np.einsum("si,sij,sj->s", mean, inverse, mean)
    assert made.mean() == pytest.approx(expected_mspe(1.0, n, p).total, rel=0.01)
