"""Which of several rivals serves: by their errors on cells that they did not learn from, cell by cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from orchestrator.learning.conformal import cell_scores, conformal_quantile
from orchestrator.learning.folds import cell_numbers

Array = NDArray[np.float64]


class Gain(NamedTuple):
    """What a rival's mean squared error is below another's, over cells: mean and its standard error."""

    mean: float
    sem: float

    @property
    def is_clear(self) -> bool:
        """Above zero by more than one standard error."""
        return self.mean > self.sem


def cell_losses(error: Array, groups: ArrayLike | None) -> Array:
    """Mean squared error of each cell, cells without any label left out.

    Args:
        error: prediction less label, shape (n,); NaN where there is no label.
        groups: the cell of each row, shape (n,); None: each row is a cell of its own.
    """
    cells, known = cell_numbers(groups, len(error)), ~np.isnan(error)
    total = np.bincount(cells[known], weights=error[known] ** 2, minlength=cells.max() + 1)
    count = np.bincount(cells[known], minlength=cells.max() + 1)
    losses: Array = total[count > 0] / count[count > 0]
    return losses


def gain_over(other: Array, rival: Array) -> Gain:
    """The gain of a rival over another, from their losses on the same cells, shape (cells,) each."""
    saved = other - rival
    spread = float(saved.std(ddof=1)) / math.sqrt(len(saved)) if len(saved) > 1 else math.inf
    return Gain(float(saved.mean()), spread)


def lowest(losses: Sequence[Array]) -> int:
    """The number of the rival with the lowest mean loss; the first of equals."""
    return int(np.argmin([loss.mean() for loss in losses]))


def between_members(said: Array) -> Array:
    """Variance between members, shape (m,), from what each says, shape (members, m); zero where there is only one."""
    made: Array = said.var(axis=0, ddof=1) if len(said) > 1 else np.zeros(said.shape[1])
    return made


class Spread(NamedTuple):
    """How far new cells lie from predictions: `scale * sqrt(residual_variance + variance between members)`."""

    residual_variance: float
    scale: float

    @classmethod
    def calibrated(cls, y: Array, mean: Array, members: Array, groups: Any, coverage: float = 0.9) -> Spread:
        """From predictions of rows whose cells were not learned from: `coverage` of cells then lie as near as a normal's would.

        Args:
            y: measured, shape (n,); NaN where nothing was.
            mean: predicted, shape (n,).
            members: variance between members there, shape (n,).
            groups: the cell of each row, or None.
            coverage: at which the spread is made to hold; less where cells are too few to promise as much.
        """
        residual = float(np.nanmean((y - mean) ** 2)) + 1e-300
        scores = cell_scores(y, mean, np.sqrt(residual + members), groups)
        reached = min(coverage, len(scores) / (len(scores) + 1))
        return cls(residual, conformal_quantile(scores, reached) / float(norm.ppf((1 + reached) / 2)))

    def std(self, members: Array) -> Array:
        """Predictive standard deviation, from the variance between members, shape (m,)."""
        made: Array = self.scale * np.sqrt(self.residual_variance + members)
        return made
