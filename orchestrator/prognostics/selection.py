"""`auto`: the models that beat the baseline, together; and errors that hold on cells nobody has seen.

1. Each model's errors are taken out of fold, by cell. Those that beat the baseline surely enough (gate.py) form a committee; its
   prediction is their mean. On forty cells choosing one model by its score is a lottery, the mean of the passing ones is not.
   Where a cell is unfamiliar in some columns, members that look at them weigh less: 1 / u^2, errors being proportional to u.
2. A cell that most of the models miss by far is no use for learning (a short circuit, a lost contact): it is set aside when the
   committee is fitted, and counted with all others when it is judged.
3. Steps 1 and 2 are repeated without each fold (nested): errors of the committee that neither its members nor their choice have
   seen. On these it must beat the baseline once more, else the baseline serves; and they calibrate its intervals (CV+).
4. Outside of what was learned from, errors widen with the distance (unfamiliar.py), and beyond a limit there is no prediction.

Folds are shared between the two levels: a model learned without folds i and j serves as the inner model of either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.learning.conformal import Interval, cv_plus_interval, fold_of_rows
from orchestrator.learning.folds import Fold, cell_numbers, grouped_folds
from orchestrator.prognostics.gate import ComparisonTable, compare_with_baseline
from orchestrator.prognostics.life_models import BASELINE, columns_of, life_blocks, life_models, plain_models
from orchestrator.prognostics.unfamiliar import Unfamiliarity

Array = NDArray[np.float64]
COMMITTEE = "auto"
_FEWEST_CELLS = 8
# A cell is set aside when its error is this many robust standard deviations for most models; never more than a tenth of all.
_HOPELESS, _SET_ASIDE_MOST = 6.0, 0.1


class _Rows(NamedTuple):
    """What is learned from: features (n, p), targets as models see them (n,), cells (n,)."""

    X: Array
    y: Array
    cells: NDArray[np.int64]

    def at(self, chosen: NDArray[Any]) -> _Rows:
        return _Rows(self.X[chosen], self.y[chosen], self.cells[chosen])


class _Committee:
    """Fitted models whose mean is the prediction, with the envelope of what they learned from."""

    def __init__(self, models: Mapping[str, Any], rows: _Rows, blocks: Sequence[Sequence[int]] | None) -> None:
        self._models = [clone(model).fit(rows.X, rows.y) for model in models.values()]
        self.envelope = Unfamiliarity(blocks).fit(rows.X, rows.cells)
        self._looks = [self.envelope.looked_at(columns_of(model, rows.X.shape[1])) for model in models.values()]

    def predict(self, X: Array) -> Array:
        """Mean of the members, (m,), the more of each the more familiar the cells are to it."""
        far = np.maximum(1.0, self.envelope.ratios(X))
        weights = np.array([far[looks].max(axis=0) ** -2.0 for looks in self._looks])
        mean: Array = np.average([np.ravel(model.predict(X)) for model in self._models], axis=0, weights=weights)
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
        comparison_: `ComparisonTable` of absolute errors, out of fold: members as they were chosen, and `auto` nested.
        members_: what serves, `("baseline",)` where nothing beat it.
        batch_sigma_: standard deviation of the baseline's errors between batches, beyond that of cells, in log10 of the target;
            None where batches were not told.
        set_aside_: numbers of the training rows that were not learned from, shape (k,).
        sigma_: root mean square of the nested errors of the others, in log10 of the target (with `log_target`).
        nested_: nested predictions of the training rows, in the target's unit, shape (n,).

    Example:
        >>> table = early_life_features(V, cycles, curves)  # doctest: +SKIP
        >>> auto = auto_cycle_life(table.names).fit(table.values, life)  # doctest: +SKIP
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

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None, batches: ArrayLike | None = None) -> Self:
        """Choose, fit and calibrate.

        Args:
            X: features, shape (n, p), without NaN.
            y: targets, shape (n,); above 0 with `log_target`.
            groups: the cell of each row, shape (n,); None: each row is a cell of its own.
            batches: the batch in which each row's cell was made and tested, shape (n,); needed for errors in a new batch.

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
        rows = _Rows(features, targets, cells)
        nested = _Nested(models, rows, grouped_folds(cells, len(cells), self.folds, self.seed, y=targets))
        self._choose(models, rows, nested)
        learned = np.setdiff1d(np.arange(len(targets)), self.set_aside_)
        left = (targets - nested.outer()[BASELINE])[learned]
        self.batch_sigma_ = None if batches is None else _between_batches(left, np.asarray(batches)[learned], cells[learned])
        return self

    def _choose(self, models: dict[str, Any], rows: _Rows, nested: _Nested) -> None:
        predicted, widening = np.empty(len(rows.y)), np.empty(len(rows.y))
        without = []
        for number, fold in enumerate(nested.folds):
            left, _, _ = self._committee_of(models, rows.at(fold.train), nested.without(number))
            predicted[fold.test], widening[fold.test] = left.predict(rows.X[fold.test]), left.widening(rows.X[fold.test])
            without.append(left)
        outer = nested.outer()
        losses = {name: np.abs(each - rows.y) for name, each in outer.items()}
        most = _beyond_measure(losses)
        losses = {name: np.minimum(each, most) for name, each in (losses | {COMMITTEE: np.abs(predicted - rows.y)}).items()}
        loss = f"absolute error{' of log10' if self.log_target else ''}, {most:.3g} at most"
        table = compare_with_baseline(losses, BASELINE, rows.cells, self.confidence, loss)
        self._committee, members, aside = self._committee_of(models, rows, outer)
        if not table.row(COMMITTEE).passes:
            members, alone, predicted = (BASELINE,), {BASELINE: models[BASELINE]}, outer[BASELINE]
            self._committee, aside = _Committee(alone, rows, self.blocks), np.zeros_like(aside)
            without = [_Committee(alone, rows.at(fold.train), self.blocks) for fold in nested.folds]
        self.members_ = members
        self.comparison_: ComparisonTable = table.serving((COMMITTEE, *members) if members != (BASELINE,) else members)
        self.set_aside_: NDArray[np.int64] = np.flatnonzero(aside)
        self.nested_: Array = self._outer(predicted)
        scores = np.abs(rows.y - predicted) / widening
        self.sigma_ = float(np.sqrt(np.mean(scores[~aside] ** 2)))
        self._without, self._scores = without, _worst_of_cells(scores, rows.cells)
        self._score_fold: NDArray[np.int64] = nested.fold_of[np.unique(rows.cells, return_index=True)[1]]

    def _committee_of(
        self, models: Mapping[str, Any], rows: _Rows, predicted: Mapping[str, Array]
    ) -> tuple[_Committee, tuple[str, ...], NDArray[np.bool_]]:
        """The committee that out-of-fold predictions of these rows speak for, its members, and which rows it leaves aside."""
        losses = {name: np.abs(each - rows.y) for name, each in predicted.items()}
        most = _beyond_measure(losses)
        capped = {name: np.minimum(each, most) for name, each in losses.items()}
        table = compare_with_baseline(capped, BASELINE, rows.cells, self.member_confidence)
        members = table.passing or (BASELINE,)
        aside = _hopeless(losses, rows.cells)
        return _Committee({name: models[name] for name in members}, rows.at(~aside), self.blocks), members, aside

    def predict(self, X: ArrayLike, return_std: bool = False, new_batch: bool = False) -> Any:
        """The expected target of new cells.

        Args:
            X: features, shape (m, p); rows with NaN or infinite values get no prediction.
            return_std: also give the standard deviation of a new cell about the prediction, widened where cells are unfamiliar.
            new_batch: whether the cells come from a batch that was not learned from; the spread between batches counts too then.

        Returns:
            Array of shape (m,), or two; NaN where a cell is farther away than `refuse_beyond`.

        Raises:
            SpecError: `new_batch` without batches in `fit`.
        """
        features, far = self._readable(X)
        mean = np.full(len(far), np.nan)
        near = far <= self.refuse_beyond
        if near.any():
            mean[near] = self._outer(self._committee.predict(features[near]))
        if not return_std:
            return mean
        std = np.hypot(self.sigma_ * np.where(near, np.maximum(1.0, far), np.nan), self._between(new_batch))
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

    def _between(self, new_batch: bool) -> float:
        if not new_batch:
            return 0.0
        if self.batch_sigma_ is None:
            raise SpecError(
                Fault("new_batch", "needs to know how batches differ.", "Fit with batches=..., at least two of them.")
            )
        return self.batch_sigma_

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


def auto_cycle_life(names: Sequence[str], **parameters: Any) -> AutoCycleLifeRegressor:
    """The regressor for tables of `early_life_features`: its models, its blocks.

    Args:
        names: of the table's columns.
        parameters: others of `AutoCycleLifeRegressor`.
    """
    return AutoCycleLifeRegressor(life_models(names), life_blocks(names), **parameters)


class _Nested:
    """Predictions without one fold and without two, each pair of folds learned without once."""

    def __init__(self, models: Mapping[str, Any], rows: _Rows, folds: list[Fold]) -> None:
        self.folds, self.fold_of = folds, fold_of_rows(folds, len(rows.y))
        self._models, self._rows = models, rows
        # [model][row, i]: the row's prediction by a model that learned without its own fold and without fold i.
        self._predicted = {name: np.full((len(rows.y), len(folds)), np.nan) for name in models}
        for first in range(len(folds)):
            for second in range(first, len(folds)):
                self._learn(first, second)

    def _learn(self, first: int, second: int) -> None:
        kept = self._rows.at((self.fold_of != first) & (self.fold_of != second))
        for name, model in self._models.items():
            fitted = clone(model).fit(kept.X, kept.y)
            for own, other in {(first, second), (second, first)}:
                tested = self.folds[own].test
                self._predicted[name][tested, other] = np.ravel(fitted.predict(self._rows.X[tested]))

    def outer(self) -> dict[str, Array]:
        """Of every row, by models that learned without its fold, (n,)."""
        every = np.arange(len(self.fold_of))
        return {name: each[every, self.fold_of] for name, each in self._predicted.items()}

    def without(self, number: int) -> dict[str, Array]:
        """Of all rows outside one fold, by models that learned without it and without the row's own."""
        return {name: each[self.folds[number].train, number] for name, each in self._predicted.items()}


def _worst_of_cells(scores: Array, cells: NDArray[np.int64]) -> Array:
    worst = np.zeros(int(cells.max()) + 1)
    np.maximum.at(worst, cells, scores)
    return worst


def _beyond_measure(errors: Mapping[str, Array]) -> float:
    """The absolute error from which on a cell counts as lost: further ones say nothing about which model is better."""
    return _HOPELESS * float(np.median(np.median(list(errors.values()), axis=0))) / 0.6745


def _hopeless(errors: Mapping[str, Array], cells: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows of cells that most models lose, (n,)."""
    by_cell = _worst_of_cells(np.median(list(errors.values()), axis=0), cells)
    worst = np.argsort(-by_cell, kind="stable")[: int(_SET_ASIDE_MOST * len(by_cell))]
    aside = np.zeros(len(by_cell), dtype=np.bool_)
    aside[worst] = by_cell[worst] > _beyond_measure(errors)
    chosen: NDArray[np.bool_] = aside[cells]
    return chosen


def _between_batches(left: Array, batches: NDArray[Any], cells: NDArray[np.int64]) -> float:
    """Standard deviation of batches' mean errors beyond that of their cells' (method of moments), from errors of rows."""
    of_cell = cell_numbers(cells, len(left))
    mean = np.bincount(of_cell, weights=left) / np.bincount(of_cell)
    batch = cell_numbers(batches, len(left))[np.unique(of_cell, return_index=True)[1]]
    each = [mean[batch == number] for number in range(int(batch.max()) + 1)]
    if len(each) < 2 or min(map(len, each)) < 2:
        raise SpecError(Fault("batches", "must be at least two, of at least two cells each, to tell how batches differ."))
    between = np.var([part.mean() for part in each], ddof=1) - np.mean([part.var(ddof=1) / len(part) for part in each])
    return float(np.sqrt(max(between, 0.0)))
