"""The linear baseline of cycle life, with the error it makes on a new cell.

    y = b0 + x b + e,   e ~ N(0, sigma^2)          ordinary least squares on n cells, p features

The mean-squared prediction error on a new cell, expected over the training set too, for Gaussian features:

    sigma^2 (1 + p/(n - p - 1))                    without intercept
    sigma^2 (1 + 1/n) (1 + p/(n - p - 2))          with intercept

The first sigma^2 is irreducible, the rest is the price of estimated coefficients (Breiman and Freedman, J. Am. Stat. Assoc. 78
(1983) 131; with an intercept the features are centred, which costs one cell, and the new cell stands off the mean by 1 + 1/n).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.learning.conformal import Interval

Array = NDArray[np.float64]


class MSPE(NamedTuple):
    """An expected mean-squared prediction error, in the target's unit squared: `total = irreducible + model`."""

    irreducible: float
    model: float
    total: float


def expected_mspe(sigma2: float, n: int, p: int, fit_intercept: bool = True) -> MSPE:
    """The mean-squared error that least squares is expected to make on a new cell.

    Args:
        sigma2: variance of a cell about the true line.
        n: training cells.
        p: features, the intercept not counted.
        fit_intercept: whether an intercept is fitted.

    Returns:
        Irreducible, model and total error; model and total are infinite where the expectation does not exist
        (n <= p + 2 with intercept and features, n <= p + 1 without intercept).

    Raises:
        SpecError: if `sigma2` is negative, `n` below 1 or `p` negative.
    """
    faults = [] if sigma2 >= 0 else [Fault("sigma2", f"must be a variance >= 0 (got {sigma2:g}).")]
    faults += [] if n >= 1 else [Fault("n", f"must be at least one cell (got {n}).")]
    faults += [] if p >= 0 else [Fault("p", f"must be a number of features >= 0 (got {p}).")]
    if faults:
        raise SpecError(faults)
    room = n - p - (2 if fit_intercept else 1)
    shape = 1.0 if p == 0 else 1 + p / room if room > 0 else float("inf")
    total = sigma2 * shape * (1 + 1 / n if fit_intercept else 1.0)
    return MSPE(float(sigma2), float(total - sigma2), float(total))


class LinearCycleLifeRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Ordinary least squares with its errors; `y` is taken as given and never logged inside.

    Args:
        fit_intercept: whether to fit an intercept.

    Attributes:
        coef_, intercept_: the line, in the target's unit per unit of each feature, shape (p,), and a number.
        degrees_of_freedom_: of the residuals, n - p - 1 with intercept.
        sigma2_: unbiased variance of the residuals, RSS / (n - p - 1) (with intercept).
        mspe_: expected error on a new cell, `MSPE(irreducible, model, total)`, from `sigma2_`.
        press_: sum of squared leave-one-out residuals, sum((e_i / (1 - h_ii))^2); `press_ / n` is comparable to `mspe_.total`.

    Example:
        >>> model = LinearCycleLifeRegressor().fit(log_variance[:, None], np.log10(life))
        >>> mean, std = model.predict(new[:, None], return_std=True)
    """

    def __init__(self, fit_intercept: bool = True) -> None:
        self.fit_intercept = fit_intercept

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit to cells (rows).

        Args:
            X: features, shape (n, p), without NaN.
            y: targets, shape (n,).
            groups: accepted for the common signature; least squares has no use for it.

        Raises:
            SpecError: fewer cells than coefficients plus one, or features that depend on one another linearly.
            ValueError: NaN, infinite values or shapes that do not fit.
        """
        checked: tuple[Array, Array] = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        design, targets = self._design(checked[0]), checked[1]
        n, k = design.shape
        if n <= k:
            wanted = f"{k} coefficients and a variance need at least {k + 1} cells (got {n})."
            raise SpecError(Fault("X", wanted, "Use fewer features, or more cells."))
        size = np.linalg.norm(design, axis=0).clip(1e-300)
        left, scales, right = np.linalg.svd(design / size, full_matrices=False)
        if scales[-1] < 1e-10 * scales[0]:
            raise SpecError(Fault("X", "has a feature that is constant or a linear combination of others.", "Leave it out."))
        solution = (right.T / scales) @ (left.T @ targets) / size
        residuals = targets - design @ solution
        self._covariance = (right.T / scales**2) @ right / np.outer(size, size)
        self.intercept_ = float(solution[0]) if self.fit_intercept else 0.0
        self.coef_: Array = solution[1:] if self.fit_intercept else solution
        self.degrees_of_freedom_ = n - k
        self.sigma2_ = float(residuals @ residuals / (n - k))
        self.mspe_ = expected_mspe(self.sigma2_, n, len(self.coef_), self.fit_intercept)
        leverage = (left**2).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.press_ = float(((residuals / (1 - leverage)) ** 2).sum())
        return self

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:
        """The expected life of new cells.

        Args:
            X: features, shape (m, p).
            return_std: also give the predictive standard deviation: of a new cell about the prediction, not of the line.

        Returns:
            Array of shape (m,), or two of them.
        """
        check_is_fitted(self)
        features: Array = validate_data(self, X, dtype=np.float64, reset=False)
        mean = features @ self.coef_ + self.intercept_
        if not return_std:
            return mean
        design = self._design(features)
        spread = 1 + np.einsum("ij,jk,ik->i", design, self._covariance, design)
        return mean, np.sqrt(self.sigma2_ * spread)

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> Interval:
        """Bounds that hold the target of a new cell with probability `coverage`, exactly so for normal errors.

        mean -+ t std, with Student's t of n - p - 1 degrees of freedom (n - p without intercept): the variance is estimated too.

        Args:
            X: features, shape (m, p).
            coverage: wanted probability, in (0, 1).

        Returns:
            Lower and upper bounds, each of shape (m,).

        Raises:
            SpecError: if `coverage` is not inside (0, 1).
        """
        from scipy.stats import t

        if not 0 < coverage < 1:
            raise SpecError(Fault("coverage", f"must lie between 0 and 1 (got {coverage:g})."))
        mean, std = self.predict(X, return_std=True)
        reach = float(t.ppf((1 + coverage) / 2, self.degrees_of_freedom_)) * std
        return Interval(mean - reach, mean + reach)

    def _design(self, X: Array) -> Array:
        return np.column_stack([np.ones(len(X)), X]) if self.fit_intercept else X
