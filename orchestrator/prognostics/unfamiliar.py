"""How far a new cell lies outside of what a model has learned from.

    u(x) = max over blocks b of  d_b(x) / q_b,   d_b: mean distance to the three nearest training cells in block b

with q_b the 0.9 quantile of the same distance of each training cell to the others. Up to 1 a cell is as near to others as
they are to one another; beyond it is outside in at least one block, and errors are widened in proportion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.learning.folds import cell_numbers

Array = NDArray[np.float64]
_NEIGHBOURS = 3
_INSIDE = 0.9
# Squared features of a wild cell overflow long before this says any more.
_FARTHEST = 1e6
# Of more rows than these, evenly many are looked at: distances between all of them would not fit into memory.
_MOST_ROWS = 1500


class Unfamiliarity:
    """Distance to the training cells, in units of their own distances.

    Args:
        blocks: column numbers that are weighed together; None: all columns are one block.
    """

    def __init__(self, blocks: Sequence[Sequence[int]] | None = None) -> None:
        self.blocks = blocks

    def fit(self, X: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Learn the envelope of the training cells.

        Args:
            X: features, shape (n, p).
            groups: the cell of each row, shape (n,), at least two cells; None: each row is a cell of its own.
        """
        features = np.asarray(X, dtype=np.float64)
        self._centre, self._scale = features.mean(axis=0), features.std(axis=0)
        floor = 1e-9 * (np.abs(self._centre) + 1)
        self._scale = np.where(self._scale < floor, floor, self._scale)
        blocks = self.blocks if self.blocks is not None else [range(features.shape[1])]
        self._blocks = [list(block) for block in blocks]
        kept = np.linspace(0, len(features) - 1, min(_MOST_ROWS, len(features))).round().astype(np.int64)
        self._rows = self._standard(features[kept])
        cells = cell_numbers(groups, len(features))[kept]
        self._reach = [self._inside(block, cells) for block in self._blocks]
        return self

    def ratio(self, X: ArrayLike) -> Array:
        """How far new cells are, u, shape (m,); infinite where a feature is not finite."""
        furthest: Array = self.ratios(X).max(axis=0)
        return furthest

    def ratios(self, X: ArrayLike) -> Array:
        """The same block by block, shape (blocks, m)."""
        features = np.asarray(X, dtype=np.float64)
        known = np.isfinite(features).all(axis=1)
        found = np.full((len(self._blocks), len(features)), np.inf)
        rows = self._standard(features[known])
        for number, (block, reach) in enumerate(zip(self._blocks, self._reach, strict=True)):
            found[number, known] = _nearest(_distances(rows[:, block], self._rows[:, block])) / reach
        return found

    def looked_at(self, columns: Sequence[int]) -> NDArray[np.bool_]:
        """Which blocks hold any of these columns, shape (blocks,)."""
        return np.array([not set(columns).isdisjoint(block) for block in self._blocks])

    def _standard(self, X: Array) -> Array:
        scaled: Array = np.clip((X - self._centre) / self._scale, -_FARTHEST, _FARTHEST)
        return scaled

    def _inside(self, block: list[int], cells: NDArray[np.int64]) -> float:
        """The 0.9 quantile of the distances of training rows to other cells."""
        apart = _distances(self._rows[:, block], self._rows[:, block])
        apart[cells[:, None] == cells] = np.inf
        return max(float(np.quantile(_nearest(apart), _INSIDE)), 1e-9)


def _distances(left: Array, right: Array) -> Array:
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
    apart: Array = np.sqrt(np.maximum(squares, 0.0) / left.shape[1])
    return apart


def _nearest(distance: Array) -> Array:
    """Mean of the smallest finite distances of each row."""
    there = int(np.isfinite(distance).sum(axis=1).min(initial=_NEIGHBOURS))
    mean: Array = np.sort(distance, axis=1)[:, : max(1, there)].mean(axis=1)
    return mean
