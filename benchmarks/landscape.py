"""A finite list of candidates whose true response is known: what a race over a table is run on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.candidate import CandidateTable, read_rows

Matrix = NDArray[np.float64]

# Attia's fourth current follows from the other three: every protocol of the list charges in ten minutes.
FREE = ("C1", "C2", "C3")
PROTOCOL = (*FREE, "C4")


@dataclass(frozen=True)
class Landscape:
    """Rows with their features and the true response, which is wanted large.

    Attributes:
        rows: one mapping of feature values per candidate.
        axes: the features that vary freely; methods that search a box search theirs.
        life: the response without noise, shape (rows,).
    """

    rows: Sequence[Mapping[str, float]]
    axes: tuple[str, ...]
    life: Matrix

    @property
    def features(self) -> tuple[str, ...]:
        """Every feature."""
        return tuple(self.rows[0])

    @cached_property
    def table(self) -> CandidateTable:
        """The list as a campaign takes it."""
        return CandidateTable([dict(row) for row in self.rows], list(self.features))

    @cached_property
    def X(self) -> Matrix:
        """The rows on the axes, each scaled to 0..1: shape (rows, axes)."""
        low, high = self.bounds
        return (self.raw - low) / np.where(high > low, high - low, 1.0)

    @cached_property
    def raw(self) -> Matrix:
        """The rows on the axes in their own units."""
        return np.array([[row[a] for a in self.axes] for row in self.rows], dtype=float)

    @property
    def bounds(self) -> tuple[Matrix, Matrix]:
        """The axes' lowest and highest values."""
        return self.raw.min(axis=0), self.raw.max(axis=0)

    def nearest(self, points: Matrix) -> list[int]:
        """The rows next to points given on the axes in their own units, shape (n, axes)."""
        low, high = self.bounds
        scaled = (points - low) / np.where(high > low, high - low, 1.0)
        return [int(row) for row in ((scaled[:, None] - self.X[None]) ** 2).sum(axis=2).argmin(axis=1)]


def read_landscape(path: Path, target: str) -> Landscape:
    """A CSV file's numeric columns as features, one column as the response.

    Of a table of charging protocols only the currents C1 to C4 are features, and C1 to C3 the axes.

    Raises:
        KeyError: if the file has no such column.
    """
    rows = read_rows(path)
    if target not in rows[0]:
        raise KeyError(f"{path} has no column '{target}'; it has {', '.join(rows[0])}.")
    numeric = [name for name, value in rows[0].items() if name != target and isinstance(value, (int, float))]
    protocols = all(name in numeric for name in FREE)
    features = [name for name in PROTOCOL if name in numeric] if protocols else numeric
    return Landscape(
        rows=[{name: float(row[name]) for name in features} for row in rows],
        axes=FREE if protocols else tuple(features),
        life=np.array([float(row[target]) for row in rows]),
    )
