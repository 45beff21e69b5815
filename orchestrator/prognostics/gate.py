"""Who may serve: a model is let through only where it beats the baseline on the same cells, surely enough.

    d_c = loss of the model on cell c - loss of the baseline on cell c,   both from cells that were not learned from
    let through when  mean(d) + t sd(d) / sqrt(cells) < 0

t is Student's at `confidence` (two-sided), cells - 1 degrees of freedom: the interval of cross-validation error of Bayle, Bayle,
Janson and Mackey (Advances in Neural Information Processing Systems 33 (2020) 16339). Rows of one cell make one difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.learning.folds import cell_numbers

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """One model beside the baseline, on cells that neither had learned from.

    Attributes:
        model: its name.
        loss: mean over cells.
        difference: mean over cells of its loss less the baseline's; negative is better.
        low: lower end of the difference's confidence interval.
        high: upper end.
        passes: whether the whole interval lies below 0. The baseline needs no pass.
        served: whether it takes part in what is served.
    """

    model: str
    loss: float
    difference: float
    low: float
    high: float
    passes: bool
    served: bool = False


@dataclass(frozen=True)
class ComparisonTable:
    """All models beside the baseline; kept with the fitted model, and shown in reports.

    Attributes:
        baseline: name of the model to beat.
        loss: what was compared, in words.
        cells: how many cells were compared on.
        confidence: of the intervals, two-sided.
        rows: the baseline first.
    """

    baseline: str
    loss: str
    cells: int
    confidence: float
    rows: tuple[Comparison, ...]

    @property
    def passing(self) -> tuple[str, ...]:
        """Names of the models that were let through."""
        return tuple(row.model for row in self.rows if row.passes)

    def row(self, model: str) -> Comparison:
        """One model's row."""
        return next(row for row in self.rows if row.model == model)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and words, ready for JSON."""
        return asdict(self) | {"rows": [asdict(row) for row in self.rows]}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `as_dict` wrote."""
        return cls(**{**stored, "rows": tuple(Comparison(**row) for row in stored["rows"])})

    def serving(self, models: tuple[str, ...]) -> Self:
        """The same table with those marked that are served."""
        rows = tuple(Comparison(**{**asdict(row), "served": row.model in models}) for row in self.rows)
        return type(self)(self.baseline, self.loss, self.cells, self.confidence, rows)


def cell_losses(losses: ArrayLike, groups: ArrayLike | None = None) -> Array:
    """Mean loss of each cell, shape (cells,), from losses of rows, shape (n,)."""
    each = np.asarray(losses, dtype=np.float64)
    cells = cell_numbers(groups, len(each))
    means: Array = np.bincount(cells, weights=each) / np.bincount(cells)
    return means


def compare_with_baseline(
    losses: Mapping[str, ArrayLike],
    baseline: str,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
    loss: str = "squared error",
) -> ComparisonTable:
    """Compare models with the baseline, paired by cell.

    Args:
        losses: of each model, of rows that it had not learned from, shape (n,), rows in one order.
        baseline: which of them is the one to beat.
        groups: the cell of each row, shape (n,); None: each row is a cell of its own.
        confidence: of the intervals, two-sided, in (0, 1).
        loss: what it is, in words.

    Raises:
        SpecError: if the baseline is not among the models, there are fewer than two cells, or a loss is not finite.
    """
    from scipy.stats import t

    if baseline not in losses:
        raise SpecError(Fault("baseline", f"must be one of {', '.join(losses)} (got '{baseline}')."))
    if not 0 < confidence < 1:
        raise SpecError(Fault("confidence", f"must lie between 0 and 1 (got {confidence:g})."))
    by_cell = {name: cell_losses(each, groups) for name, each in losses.items()}
    cells = len(by_cell[baseline])
    if cells < 2:
        raise SpecError(Fault("losses", f"must be of at least two cells to compare (got {cells})."))
    for name, each in by_cell.items():
        if not np.isfinite(each).all():
            raise SpecError(Fault(f"losses.{name}", "hold values that are not finite."))
    quantile = float(t.ppf((1 + confidence) / 2, cells - 1))
    names = [baseline, *(name for name in losses if name != baseline)]
    rows = tuple(_compared(name, by_cell[name], by_cell[baseline], quantile) for name in names)
    return ComparisonTable(baseline, loss, cells, confidence, rows)


def _compared(name: str, model: Array, baseline: Array, quantile: float) -> Comparison:
    difference = model - baseline
    mean = float(difference.mean())
    reach = quantile * float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return Comparison(name, float(model.mean()), mean, mean - reach, mean + reach, mean + reach < 0)
