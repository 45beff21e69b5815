"""A finite list of candidates as points for a kernel: one row, one point."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import Candidate, CandidateTable, Fault, SpecError

Matrix = NDArray[np.float64]

# A feature spread evenly over its range has this sd when the range is 1: standardised columns stand as in a unit cube.
_EVEN_SD = 1 / np.sqrt(12)


class TableEncoding:
    """Rows of one table, to and from numbers."""

    def __init__(self, table: CandidateTable) -> None:
        self.table = table

    @cached_property
    def X(self) -> Matrix:
        """Every row, shape (rows, k): features standardised, so that one far row does not squeeze the rest."""
        return self._columns[0]

    def columns_of(self, name: str) -> tuple[int, ...]:
        """The columns that a kernel reads a feature by; none where it is the same in every row."""
        return tuple(j for j, feature in enumerate(self._columns[1]) if feature == name)

    @cached_property
    def _columns(self) -> tuple[Matrix, list[str]]:
        """Columns that vary, standardised, and the feature each comes from."""
        raw, groups = self._features()
        spread = raw.std(axis=0)
        varying = spread > 1e-12 * np.maximum(np.abs(raw).max(axis=0), 1e-300)
        if not varying.any():
            raise SpecError(Fault("features", "are the same in every row.", "Name a column that tells the rows apart."))
        widest = {g: max(s for s, other in zip(spread, groups, strict=True) if other == g) for g in groups}
        scale = np.array([widest[g] for g in groups])[varying]
        columns = (raw[:, varying] - raw[:, varying].mean(axis=0)) / scale * _EVEN_SD
        return columns, [group for group, kept in zip(groups, varying, strict=True) if kept]

    def _features(self) -> tuple[Matrix, list[str]]:
        """Raw columns and the feature each comes from; the representation is asked only for text: it loads pymatgen."""
        if any(isinstance(self.table.rows[0][f], str) for f in self.table.features):
            from orchestrator.representation.materials import feature_matrix

            matrix, names = feature_matrix(self.table)
            return matrix, [name.partition(":")[0] for name in names]
        return np.array([[row[f] for f in self.table.features] for row in self.table.rows], dtype=float), list(
            self.table.features
        )

    @cached_property
    def first_like(self) -> NDArray[np.intp]:
        """By row, the first row with the same features, shape (rows,)."""
        first: dict[bytes, int] = {}
        return np.array([first.setdefault(row.tobytes(), i) for i, row in enumerate(self.X)], dtype=np.intp)

    @property
    def dimension(self) -> int:
        """The number k of columns a kernel reads."""
        return int(self.X.shape[1])

    def rows(self, candidates: Sequence[Candidate]) -> list[int]:
        """The rows that candidates stand for.

        Raises:
            SpecError: for one that is not in the table.
        """
        found = [self.table.row_of(candidate) for candidate in candidates]
        for candidate, row in zip(candidates, found, strict=True):
            if row is None:
                raise SpecError(Fault("candidate", f"no row of the table is {candidate.describe()}."))
        return [row for row in found if row is not None]

    def encode(self, candidates: Sequence[Candidate]) -> Matrix:
        """What a kernel reads of candidates, shape (n, k)."""
        return np.asarray(self.X[np.array(self.rows(candidates), dtype=int)])
