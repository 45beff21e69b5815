"""`auto`: the models that beat the baseline, together; and errors that hold on cells nobody has seen.

1. Each model's errors are taken out of fold, by cell. Those that beat the baseline surely enough (gate.py) form a committee; its
   prediction is their mean. On forty cells choosing one model by its score is a lottery, the mean of the passing ones is not.
2. The whole of step 1 is repeated without each fold (nested): errors of the committee that neither its members nor their choice
   have seen. On these it must beat the baseline once more, else the baseline serves; and they calibrate its intervals (CV+).
3. Outside of what was learned from, errors widen with the distance (unfamiliar.py), and beyond a limit there is no prediction.

Folds are shared between the two levels: a model learned without folds i and j serves as the inner model of either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.learning.conformal import Interval, cv_plus_interval
from orchestrator.learning.folds import Fold, cell_numbers, grouped_folds
from orchestrator.prognostics.gate import ComparisonTable, compare_with_baseline
from orchestrator.prognostics.life_models import BASELINE, plain_models
from orchestrator.prognostics.unfamiliar import Unfamiliarity

Array = NDArray[np.float64]
COMMITTEE = "auto"
_FEWEST_CELLS = 8


class Committee:
    """Fitted models whose mean is the prediction, with the envelope of what they learned from."""

    def __init__(self, models: Mapping[str, Any], X: Array, y: Array, blocks: Sequence[Sequence[int]] | None) -> None:
        self.members = tuple(models)
        self._models = [clone(model).fit(X, y) for model in models.values()]
        self.envelope = Unfamiliarity(blocks).fit(X)

    def predict(self, X: Array) -> Array:
        """Mean of the members, (m,)."""
        mean: Array = np.mean([np.ravel(model.predict(X)) for model in self._models], axis=0)
        return mean

    def widening(self, X: Array) -> Array:
        """How many times the usual error is expected, (m,), >= 1."""
        return np.maximum(1.0, self.envelope.ratio(X))


class AutoCycleLifeRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The committee of models that beat the baseline, with calibrated errors.

    Args:
        models: unfitted models by name, among them `baseline`; they see log10 of the target. None: `plain_models`.
        blocks: column numbers that are weighed together where unfamiliar cells are told; None: all columns are one block.
        log_target: whether models see log10 of the target (a life) or the target itself.
        folds: of the cross-validation, by cell.
        member_confidence: of the intervals that let a model into the committee, two-sided.
        confidence: of the interval that lets the committee serve, two-sided.
        coverage: of `predict_interval`.
        refuse_beyond: unfamiliarity above which there is no prediction (NaN); `unfamiliarity` tells why.
        seed: of the folds.

    Attributes:
        comparison_: `ComparisonTable` of squared errors, out of fold: members as they were chosen, and `auto` nested.
        members_: what serves, `("baseline",)` where nothing beat it.
        sigma_: root mean square of the nested errors, in log10 of the target (with `log_target`).
        nested_: nested predictions of the training rows, in the target's unit, shape (n,).

    Example:
        >>> table = early_life_features(V, cycles, curves)  # doctest: +SKIP
        >>> auto = AutoCycleLifeRegressor(life_models(table.names)).fit(table.values, life)  # doctest: +SKIP
        >>> life, std = auto.predict(new.values, return_std=True)  # doctest: +SKIP
    """

    def __init__(
        self,
        models: Mapping[str, Any] | None = None,
        blocks: Sequence[Sequence[int]] | None = None,
        log_target: bool = True,
        folds: int = 8,
        member_confidence: float = 0.8,
        confidence: float = 0.95,
        coverage: float = 0.9,
        refuse_beyond: float = 10.0,
        seed: int = 0,
    ) -> None:
        self.models = models
        self.blocks = blocks
        self.log_target = log_target
        self.folds = folds
        self.member_confidence = member_confidence
        self.confidence = confidence
        self.coverage = coverage
        self.refuse_beyond = refuse_beyond
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Choose, fit and calibrate.

        Args:
            X: features, shape (n, p), without NaN.
            y: targets, shape (n,); above 0 with `log_target`.
            groups: the cell of each row, shape (n,); None: each row is a cell of its own.

        Raises:
            SpecError: fewer than 8 cells, no baseline among the models, or targets without a logarithm.
            ValueError: NaN, infinite values or shapes that do not fit.
        """
        checked: tuple[Array, Array] = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        features, targets = checked[0], self._inner(checked[1])
        cells = cell_numbers(groups, len(targets))
        if cells.max() + 1 < _FEWEST_CELLS:
            raise SpecError(
                Fault("groups", f"must hold at least {_FEWEST_CELLS} cells to choose models (got {cells.max() + 1}).")
            )
        models = dict(self.models if self.models is not None else plain_models(features.shape[1]))
        if BASELINE not in models:
            raise SpecError(Fault("models", f"must hold one named '{BASELINE}' for the others to beat."))
        nested = _Nested(models, features, targets, cells, grouped_folds(cells, len(cells), self.folds, self.seed, y=targets))
        self._choose(models, nested, features, targets, cells)
        return self

    def _choose(self, models: dict[str, Any], nested: _Nested, X: Array, y: Array, cells: NDArray[np.int64]) -> None:
        predicted, widening = np.empty(len(y)), np.empty(len(y))
        without = []
        for number, fold in enumerate(nested.folds):
            chosen = self._members(nested.without(number), y[fold.train], cells[fold.train])
            left = Committee({name: models[name] for name in chosen}, X[fold.train], y[fold.train], self.blocks)
            predicted[fold.test], widening[fold.test] = left.predict(X[fold.test]), left.widening(X[fold.test])
            without.append(left)
        outer = nested.outer()
        losses = {name: (each - y) ** 2 for name, each in outer.items()} | {COMMITTEE: (predicted - y) ** 2}
        loss = "squared error of log10" if self.log_target else "squared error"
        table = compare_with_baseline(losses, BASELINE, cells, self.confidence, loss)
        members = self._members(outer, y, cells)
        if not table.row(COMMITTEE).passes:
            members = (BASELINE,)
            predicted = outer[BASELINE]
            without = [Committee({BASELINE: models[BASELINE]}, X[f.train], y[f.train], self.blocks) for f in nested.folds]
        self.members_ = members
        self.comparison_: ComparisonTable = table.serving((COMMITTEE, *members) if members != (BASELINE,) else members)
        self.sigma_ = float(np.sqrt(np.mean(((predicted - y) / widening) ** 2)))
        self.nested_: Array = self._outer(predicted)
        self._committee = Committee({name: models[name] for name in members}, X, y, self.blocks)
        self._without, self._fold_of = without, nested.fold_of
        self._scores: Array = _worst_of_cells(np.abs(y - predicted) / widening, cells)
        self._score_fold: NDArray[np.int64] = nested.fold_of[np.unique(cells, return_index=True)[1]]

    def _members(self, predicted: Mapping[str, Array], y: Array, cells: NDArray[np.int64]) -> tuple[str, ...]:
        losses = {name: (each - y) ** 2 for name, each in predicted.items()}
        return compare_with_baseline(losses, BASELINE, cells, self.member_confidence).passing or (BASELINE,)

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:
        """The expected target of new cells.

        Args:
            X: features, shape (m, p); rows with NaN or infinite values get no prediction.
            return_std: also give the standard deviation of a new cell about the prediction, widened where cells are unfamiliar.

        Returns:
            Array of shape (m,), or two; NaN where a cell is farther away than `refuse_beyond`.
        """
        features, far = self._readable(X)
        mean = np.full(len(far), np.nan)
        near = far <= self.refuse_beyond
        if near.any():
            mean[near] = self._outer(self._committee.predict(features[near]))
        if not return_std:
            return mean
        std = self.sigma_ * np.where(near, np.maximum(1.0, far), np.nan)
        return mean, std * np.log(10) * mean if self.log_target else std

    def predict_interval(self, X: ArrayLike) -> Interval:
        """Bounds that hold the measured value with probability `coverage`, shapes (m,); NaN where there is no prediction."""
        features, far = self._readable(X)
        near = far <= self.refuse_beyond
        low, high = np.full(len(far), np.nan), np.full(len(far), np.nan)
        if near.any():
            means = np.array([left.predict(features[near]) for left in self._without])[self._score_fold]
            reach = np.array([left.widening(features[near]) for left in self._without])[self._score_fold]
            bounds = cv_plus_interval(self._scores, means, reach, self.coverage)
            low[near], high[near] = self._outer(bounds.low), self._outer(bounds.high)
        return Interval(low, high)

    def unfamiliarity(self, X: ArrayLike) -> Array:
        """How far cells lie outside of the training cells, shape (m,): up to 1 inside; infinite where a feature is not finite."""
        return self._readable(X)[1]

    def refusals(self, X: ArrayLike) -> list[str | None]:
        """Why a cell gets no prediction, in words; None where it gets one."""
        return [self._why(far) for far in self._readable(X)[1].tolist()]

    def _why(self, far: float) -> str | None:
        if far <= self.refuse_beyond:
            return None
        if not np.isfinite(far):
            return "A feature is missing or infinite."
        apart = f"{far:.3g} times as far from the nearest training cells as these are from one another"
        return f"The cell is {apart}; predictions end at {self.refuse_beyond:g}. Train on cells like it."

    def _readable(self, X: ArrayLike) -> tuple[Array, Array]:
        check_is_fitted(self)
        features: Array = validate_data(self, X, dtype=np.float64, reset=False, ensure_all_finite=False)
        return features, self._committee.envelope.ratio(features)

    def _inner(self, y: Array) -> Array:
        if not self.log_target:
            return y
        if not (y > 0).all():
            raise SpecError(Fault("y", "must be above 0 to have a logarithm.", "Set log_target=False."))
        logs: Array = np.log10(y)
        return logs

    def _outer(self, inner: Array) -> Array:
        outer: Array = np.power(10.0, inner) if self.log_target else inner
        return outer


class _Nested:
    """Predictions without one fold and without two, each pair of folds learned without once."""

    def __init__(self, models: Mapping[str, Any], X: Array, y: Array, cells: NDArray[np.int64], folds: list[Fold]) -> None:
        self.folds = folds
        self.fold_of = np.empty(len(y), dtype=np.int64)
        for number, fold in enumerate(folds):
            self.fold_of[fold.test] = number
        self._models, self._X, self._y = models, X, y
        # [model][row, i]: the row's prediction by a model that learned without its own fold and without fold i.
        self._predicted = {name: np.full((len(y), len(folds)), np.nan) for name in models}
        for first in range(len(folds)):
            for second in range(first, len(folds)):
                self._learn(first, second)

    def _learn(self, first: int, second: int) -> None:
        kept = (self.fold_of != first) & (self.fold_of != second)
        for name, model in self._models.items():
            fitted = clone(model).fit(self._X[kept], self._y[kept])
            for own, other in {(first, second), (second, first)}:
                rows = self.folds[own].test
                self._predicted[name][rows, other] = np.ravel(fitted.predict(self._X[rows]))

    def outer(self) -> dict[str, Array]:
        """Of every row, by models that learned without its fold, (n,)."""
        rows = np.arange(len(self._y))
        return {name: each[rows, self.fold_of] for name, each in self._predicted.items()}

    def without(self, number: int) -> dict[str, Array]:
        """Of all rows outside one fold, by models that learned without it and without the row's own."""
        return {name: each[self.folds[number].train, number] for name, each in self._predicted.items()}


def _worst_of_cells(scores: Array, cells: NDArray[np.int64]) -> Array:
    worst = np.zeros(int(cells.max()) + 1)
    np.maximum.at(worst, cells, scores)
    return worst
