"""The models of cycle life that `auto` chooses from: few, regularised, and different from one another.

All take the whole table and look at the columns they name; the target they get is log10 of the life. `baseline` is Severson's
variance model, least squares on one column; the others shrink: ridge and Gaussian processes with a scale per block of columns,
elastic net, partial least squares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import ElasticNet
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.prognostics.block_kernel import BlockGaussianProcess
from orchestrator.prognostics.cycle_life import LinearCycleLifeRegressor
from orchestrator.prognostics.early_curves import CAPACITY, EARLY, ROOT_CHANGE, SUMMARY

Array = NDArray[np.float64]
BASELINE = "baseline"
SEVERSON = ("log_variance", "log_minimum", "skewness", "kurtosis", "early_capacity_Ah", "rise_most_Ah")


class Columns(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Takes some columns of a table.

    Args:
        columns: their numbers.
    """

    def __init__(self, columns: Sequence[int]) -> None:
        self.columns = columns

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Nothing is learned."""
        return self

    def transform(self, X: ArrayLike) -> Array:
        """The columns, shape (n, k)."""
        taken: Array = np.asarray(X, dtype=np.float64)[:, list(self.columns)]
        return taken

    def __sklearn_is_fitted__(self) -> bool:
        return True


class StandardisedTarget(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A linear model on standardised columns and target, so that one penalty means the same for any of them.

    Args:
        model: gets features and target with mean 0 and variance 1.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to features (n, p) and targets (n,)."""
        from sklearn.base import clone

        targets = np.asarray(y, dtype=np.float64)
        self.level_, self.spread_ = float(targets.mean()), float(targets.std()) or 1.0
        self.model_ = make_pipeline(StandardScaler(), clone(self.model)).fit(X, (targets - self.level_) / self.spread_)
        return self

    def predict(self, X: ArrayLike) -> Array:
        """Targets in their own unit, shape (m,)."""
        predicted: Array = self.level_ + self.spread_ * np.ravel(self.model_.predict(X))
        return predicted


def life_models(names: Sequence[str]) -> dict[str, Any]:
    """Models of log10 life over the columns of `early_life_features`.

    Args:
        names: of the columns, in order.

    Returns:
        Unfitted models by name; `baseline` is the one that the others have to beat.

    Raises:
        SpecError: if a column that a model needs is not there.
    """
    place = {name: number for number, name in enumerate(names)}
    needed = (*SUMMARY, *CAPACITY, f"{ROOT_CHANGE}_0", f"{EARLY}_0")
    if missing := [name for name in needed if name not in place]:
        raise SpecError(Fault("names", f"lack {', '.join(missing)}.", "Make the table with early_life_features."))
    summary, capacity, severson = ([place[n] for n in chosen] for chosen in (SUMMARY, CAPACITY, SEVERSON))
    *_, root, early = life_blocks(names)
    return {
        BASELINE: _on([place["log_variance"]], LinearCycleLifeRegressor()),
        "severson": _blocks([severson]),
        "severson_relevance": _blocks([[column] for column in severson]),
        "summary": _blocks([summary, capacity]),
        "summary_smooth": _blocks([summary, capacity], smooth=[0]),
        "elastic_net": _on([*summary, *capacity], StandardisedTarget(ElasticNet(alpha=0.01, l1_ratio=0.5, max_iter=20_000))),
        "change": _blocks([root]),
        "change_and_early": _blocks([root, early]),
        "change_and_early_smooth": _blocks([root, early], smooth=[0]),
        "change_partial_least_squares": _on([*root, *early], StandardisedTarget(PLSRegression(4, scale=False))),
        "all": _blocks([summary, capacity, root, early]),
        "all_smooth": _blocks([summary, capacity, root, early], smooth=[0]),
    }


def life_blocks(names: Sequence[str]) -> list[list[int]]:
    """Column numbers that belong together in a table of `early_life_features`: statistics, capacities, change and early curve."""
    of_curves = [[n for n in names if _on_curve(n, stem)] for stem in (ROOT_CHANGE, EARLY)]
    return [[list(names).index(name) for name in block] for block in (SUMMARY, CAPACITY, *of_curves)]


def _on_curve(name: str, stem: str) -> bool:
    return name.startswith(f"{stem}_") and name[len(stem) + 1 :].isdigit()


def plain_models(columns: int) -> dict[str, Any]:
    """The same kinds of models for any table: the first column is the baseline's.

    Args:
        columns: how many there are.
    """
    every = list(range(columns))
    return {
        BASELINE: _on([0], LinearCycleLifeRegressor()),
        "ridge": _blocks([every]),
        "relevance": _blocks([[column] for column in every]),
        "smooth": _blocks([every], smooth=[0]),
        "elastic_net": _on(every, StandardisedTarget(ElasticNet(alpha=0.01, l1_ratio=0.5, max_iter=20_000))),
    }


def _on(columns: Sequence[int], model: Any) -> Pipeline:
    return make_pipeline(Columns(columns), model)


def _blocks(blocks: Sequence[Sequence[int]], smooth: Sequence[int] = ()) -> Pipeline:
    """A block kernel over columns of the table; its own column numbers count from 0."""
    ends = np.cumsum([0, *map(len, blocks)]).tolist()
    local = [list(range(a, b)) for a, b in pairwise(ends)]
    return _on([column for block in blocks for column in block], BlockGaussianProcess(local, list(smooth)))


def columns_of(model: Any, columns: int) -> list[int]:
    """The columns that a model looks at, of a table of so many."""
    first = model[0] if isinstance(model, Pipeline) else model
    return list(first.columns) if isinstance(first, Columns) else list(range(columns))


def names_of(models: Mapping[str, Any]) -> list[str]:
    """The models' names, the baseline first."""
    return [BASELINE, *(name for name in models if name != BASELINE)]
