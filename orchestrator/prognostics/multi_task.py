"""Several properties of a cell from one network, or from one each where that is better.

    shared backbone -> a linear head per property;   loss = sum over properties of weight * mean squared standardised error

A property that few cells have a label for borrows the backbone that the others shaped (Caruana, Machine Learning 28 (1997) 41).
Where properties have nothing in common the backbone serves none of them well. So both are trained on the same folds of cells,
and for each property the joint network serves only if its squared error on cells it did not learn from is lower, by more than
one standard error of the paired differences between cells; else a network taught this property alone does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.learning.folds import cell_numbers, grouped_folds
from orchestrator.learning.seeding import derive_seed, reproducible
from orchestrator.prognostics.network import NUMBERS, NetworkStack, decay_of, initial_networks, trained
from orchestrator.prognostics.network_data import Lesson, Lessons, Standard, checked_features, checked_properties
from orchestrator.prognostics.network_selection import Spread, between_members, cell_losses, gain_over, lowest

Array = NDArray[np.float64]

# Weight decays that cross-validation chooses from: from nearly free to nearly linear, on standardised features and labels.
DECAYS = (1e-3, 6e-3, 4e-2)
# Members of the ensembles that are compared; two tell the variance between members.
_COMPARED_MEMBERS = 2


class Course(NamedTuple):
    """How a network is taught: which properties (by number), and how strongly its weights decay."""

    outputs: tuple[int, ...]
    decay: float


class Ensemble(NamedTuple):
    """Members that learned the same lesson, with what is needed to ask them."""

    networks: NetworkStack
    lessons: Lessons


class MultiTaskRegressor(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Small ensembles of networks for several properties, each property served by the joint or by its own network.

    Args:
        tasks: names of the properties, in the order of the columns of `Y`.
        loss_weights: weight of each property in the joint loss, in the order of `tasks` or by name; None: 1 each.
        hidden: widths of the shared layers.
        members: networks of an ensemble.
        folds: of the cross-validation over cells.
        steps: gradient steps.
        random_state: seed of the first weights and of the folds.

    Attributes:
        chosen_: `"joint"` or `"single"` for each property.
        comparison_: one dict per property: cells with a label, root-mean-squared errors on cells not learned from (`joint_rmse`,
            `single_rmse`, in the property's unit), the gain of the joint network in standardised squared error, its standard
            error, and what was chosen.
        courses_: how the networks serving each property were taught.

    Example:
        >>> model = MultiTaskRegressor(["cycle_life", "resistance_growth"]).fit(X, Y, groups=cells)  # doctest: +SKIP
        >>> mean, std = model.predict(new, return_std=True)  # doctest: +SKIP
        >>> mean["cycle_life"]  # doctest: +SKIP
    """

    def __init__(
        self,
        tasks: Sequence[str],
        loss_weights: Sequence[float] | Mapping[str, float] | None = None,
        *,
        hidden: Sequence[int] = (16, 16),
        members: int = 4,
        folds: int = 5,
        steps: int = 250,
        random_state: int = 0,
    ) -> None:
        self.tasks = tasks
        self.loss_weights = loss_weights
        self.hidden = hidden
        self.members = members
        self.folds = folds
        self.steps = steps
        self.random_state = random_state

    def fit(self, X: ArrayLike, Y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit to rows of features.

        Args:
            X: features, shape (n, d), finite.
            Y: properties, shape (n, tasks); NaN where nothing was measured.
            groups: the cell of each row, shape (n,); None: each row is a cell of its own.

        Raises:
            SpecError: shapes that do not fit, NaN in X, wrong weights, or a property measured on fewer than two cells.
        """
        features = checked_features(X)
        values = checked_properties(Y, len(features), self.tasks)
        self._weights = self._checked_weights()
        cells = cell_numbers(groups, len(features))
        self._check_cells(values, cells)
        with reproducible(derive_seed("multi_task", self.random_state)):
            told = self._out_of_fold(features, values, cells)
            self._choose(values, cells, told)
            self._ensembles = {course: self._fitted(features, values, course) for course in dict.fromkeys(self.courses_)}
        self.n_features_in_ = features.shape[1]
        return self

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:
        """Each property of new rows.

        Args:
            X: features, shape (m, d).
            return_std: also give predictive standard deviations of a new cell, calibrated on cells not learned from.

        Returns:
            Arrays of shape (m,) by property's name; or two such dicts, means and standard deviations.
        """
        check_is_fitted(self, "courses_")
        features = checked_features(X, self.n_features_in_)
        means, stds = {}, {}
        for number, task in enumerate(self.tasks):
            networks, lessons = self._ensembles[self.courses_[number]]
            said = lessons.predictions(networks, features)[:, :, number]
            means[task] = said.mean(axis=0)
            stds[task] = self._spreads[number].std(between_members(said))
        return (means, stds) if return_std else means

    def served(self, number: int) -> tuple[NetworkStack, Standard, Standard]:
        """The networks that serve a property (by number) with its head alone, and the standards of features and property."""
        check_is_fitted(self, "courses_")
        networks, lessons = self._ensembles[self.courses_[number]]
        head = slice(number, number + 1)
        alone = NetworkStack(
            (*networks.weights[:-1], networks.weights[-1][:, :, head]), (*networks.biases[:-1], networks.biases[-1][:, :, head])
        )
        return alone, lessons.inputs[0], Standard(*(each[head] for each in lessons.outputs[0]))

    def _fitted(self, X: Array, Y: Array, course: Course) -> Ensemble:
        everything = Lesson(np.ones(len(X), dtype=np.bool_), course.outputs)
        return self._taught(X, Y, [everything] * self.members, [course] * self.members, list(range(self.members)))

    def _taught(self, X: Array, Y: Array, lessons: list[Lesson], courses: list[Course], members: list[int]) -> Ensemble:
        """One network for each lesson, trained side by side; members of one number begin alike."""
        ready = Lessons(X, Y, lessons, self._weights)
        seeds = [derive_seed("member", self.random_state, member) for member in members]
        start = initial_networks(seeds, X.shape[1], tuple(self.hidden), Y.shape[1])
        decay = decay_of(start, torch.tensor([course.decay for course in courses], dtype=NUMBERS))
        return Ensemble(trained(start, ready.features, ready.labels, decay, self.steps), ready)

    def _courses(self) -> list[Course]:
        """Every way of teaching that is compared: all properties together, and each alone."""
        all_outputs = tuple(range(len(self.tasks)))
        taught = dict.fromkeys([all_outputs, *((output,) for output in all_outputs)])
        return [Course(outputs, decay) for outputs in taught for decay in DECAYS]

    def _out_of_fold(self, X: Array, Y: Array, cells: NDArray[np.int64]) -> dict[Course, Array]:
        """What each way of teaching says of rows whose cells it did not see: shape (members, n, tasks) each."""
        folds = grouped_folds(cells, len(X), self.folds, seed=self.random_state, y=_rarity(Y))
        plan = [(c, f, m) for c in self._courses() for f in range(len(folds)) for m in range(_COMPARED_MEMBERS)]
        seen = [np.isin(np.arange(len(X)), fold.train) for fold in folds]
        lessons = [Lesson(seen[fold], course.outputs) for course, fold, _ in plan]
        networks, ready = self._taught(X, Y, lessons, [course for course, _, _ in plan], [member for _, _, member in plan])
        said = ready.predictions(networks, X)
        told = {course: np.full((_COMPARED_MEMBERS, *Y.shape), np.nan) for course in self._courses()}
        for each, (course, fold, member) in zip(said, plan, strict=True):
            told[course][member, folds[fold].test] = each[folds[fold].test]
        return told

    def _choose(self, Y: Array, cells: NDArray[np.int64], told: dict[Course, Array]) -> None:
        self.comparison_, self.courses_, self._spreads = [], [], []
        for number, task in enumerate(self.tasks):
            known, unit = Y[:, number], float(np.nanstd(Y[:, number])) or 1.0
            said = {course: each[:, :, number] for course, each in told.items() if number in course.outputs}
            losses = {course: cell_losses((each.mean(axis=0) - known) / unit, cells) for course, each in said.items()}
            joint = _best({c: loss for c, loss in losses.items() if len(c.outputs) == len(self.tasks)})
            single = _best({c: loss for c, loss in losses.items() if len(c.outputs) == 1})
            gain = gain_over(losses[single], losses[joint])
            course = joint if gain.is_clear else single
            self.comparison_.append(
                {
                    "task": task,
                    "cells": len(losses[single]),
                    "joint_rmse": unit * float(np.sqrt(losses[joint].mean())),
                    "single_rmse": unit * float(np.sqrt(losses[single].mean())),
                    "gain": gain.mean,
                    "gain_sem": gain.sem,
                    "chosen": "joint" if gain.is_clear else "single",
                }
            )
            self.courses_.append(course)
            self._spreads.append(Spread.calibrated(known, said[course].mean(axis=0), between_members(said[course]), cells))
        self.chosen_ = {row["task"]: row["chosen"] for row in self.comparison_}

    def _checked_weights(self) -> Array:
        if not len(self.tasks) or len(set(self.tasks)) != len(self.tasks):
            raise SpecError(Fault("tasks", f"must be names, each once (got {list(self.tasks)})."))
        given = [1.0] * len(self.tasks) if self.loss_weights is None else self.loss_weights
        if isinstance(given, Mapping):
            if set(given) != set(self.tasks):
                raise SpecError(Fault("loss_weights", f"must name {list(self.tasks)} (got {list(given)})."))
            given = [given[task] for task in self.tasks]
        weights = np.asarray(given, dtype=np.float64)
        if weights.shape != (len(self.tasks),) or not (np.isfinite(weights) & (weights > 0)).all():
            raise SpecError(Fault("loss_weights", f"must be a number > 0 for each of {len(self.tasks)} tasks (got {given})."))
        return weights

    def _check_cells(self, Y: Array, cells: NDArray[np.int64]) -> None:
        for number, task in enumerate(self.tasks):
            labelled = len(np.unique(cells[~np.isnan(Y[:, number])]))
            if labelled < 2:
                raise SpecError(
                    Fault("groups", f"{task} is measured on {labelled} cell; at least 2 are needed to compare on others.")
                )


def _best(losses: dict[Course, Array]) -> Course:
    return list(losses)[lowest(list(losses.values()))]


def _rarity(Y: Array) -> Array:
    """A level per row by which folds are dealt, shape (n,): the rarest labels first, so that every fold gets its share."""
    known = ~np.isnan(Y)
    weight = 2.0 ** np.argsort(np.argsort(-known.sum(axis=0), kind="stable"), kind="stable")
    level: Array = -(known * weight).sum(axis=1)
    return level
