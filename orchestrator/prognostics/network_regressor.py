"""One property from an ensemble of small networks: what transfer starts from, and what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.prognostics.multi_task import MultiTaskRegressor
from orchestrator.prognostics.network import NetworkStack
from orchestrator.prognostics.network_data import Standard


class NetworkRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A small ensemble of networks, its weight decay chosen by cross-validation over cells.

    Args:
        hidden: widths of the layers.
        members: networks of the ensemble.
        folds: of the cross-validation over cells.
        steps: gradient steps.
        random_state: seed of the first weights and of the folds.

    Attributes:
        model_: the `MultiTaskRegressor` of one task that it is.
    """

    def __init__(
        self, *, hidden: Sequence[int] = (16, 16), members: int = 4, folds: int = 5, steps: int = 250, random_state: int = 0
    ) -> None:
        self.hidden = hidden
        self.members = members
        self.folds = folds
        self.steps = steps
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit to rows.

        Args:
            X: features, shape (n, d), finite.
            y: targets, shape (n,); rows with NaN have no label.
            groups: the cell of each row, shape (n,); None: each row is a cell of its own.

        Raises:
            SpecError: shapes that do not fit, NaN in X, or fewer than two cells.
        """
        self.model_ = MultiTaskRegressor(["target"], **self.get_params()).fit(X, y, groups)
        self.n_features_in_ = self.model_.n_features_in_
        return self

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:
        """Targets of new rows, shape (m, d): shape (m,), or two of them with the calibrated standard deviation of a new cell."""
        check_is_fitted(self, "model_")
        mean, std = self.model_.predict(X, return_std=True)
        return (mean["target"], std["target"]) if return_std else mean["target"]


class Pretrained(NamedTuple):
    """The networks of a fitted regressor for one property, with their standards: shape of `output` is (1,)."""

    networks: NetworkStack
    inputs: Standard
    output: Standard


def pretrained(source: Any, task: str | None = None) -> Pretrained:
    """What a source brings along.

    Args:
        source: a fitted `NetworkRegressor`, or a fitted `MultiTaskRegressor`.
        task: which property of a `MultiTaskRegressor` with several.

    Raises:
        SpecError: another kind of source, one that is not fitted, or no such task.
    """
    model = getattr(source, "model_", source)
    if not isinstance(model, MultiTaskRegressor) or not hasattr(model, "courses_"):
        wanted = "must be a fitted NetworkRegressor, or a fitted MultiTaskRegressor"
        raise SpecError(Fault("source", f"{wanted} (got {type(source).__name__}{'' if model is source else ', not fitted'})."))
    tasks = list(model.tasks)
    if task is None and len(tasks) > 1:
        raise SpecError(Fault("task", f"must say which of {tasks} is meant: the source predicts several."))
    if task is not None and task not in tasks:
        raise SpecError(Fault("task", f"{task!r} is no task of the source, which predicts {tasks}."))
    number = 0 if task is None else tasks.index(task)
    return Pretrained(*model.served(number))
