"""Methods without a model: rows and points at random, or spread by a Sobol sequence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from benchmarks.landscape import Landscape

Matrix = NDArray[np.float64]


class Tally:
    """What has been measured of each row."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.means: list[float] = []

    def tell(self, rows: list[int], means: list[float]) -> None:
        """Add results."""
        self.rows += rows
        self.means += means

    def best(self) -> int:
        """The row whose results have the best mean."""
        found: dict[int, list[float]] = {}
        for row, mean in zip(self.rows, self.means, strict=True):
            found.setdefault(row, []).append(mean)
        return max(found, key=lambda row: sum(found[row]) / len(found[row]))


class RandomRows(Tally):
    """Rows at random, none twice while one is left; recommends the best observed."""

    def __init__(self, landscape: Landscape, noise_sd: float, seed: int) -> None:
        super().__init__()
        self._order = list(np.random.default_rng([seed, 1]).permutation(len(landscape.rows)))

    def propose(self, n: int) -> list[int]:
        """The next n rows."""
        open_rows = [row for row in self._order if row not in set(self.rows)] + self._order
        return [int(row) for row in open_rows[:n]]

    def recommend(self) -> dict[str, int]:
        """The best observed row."""
        return {"random": self.best()}


class SobolRows(Tally):
    """The rows next to a Sobol sequence; recommends the best observed."""

    def __init__(self, landscape: Landscape, noise_sd: float, seed: int) -> None:
        super().__init__()
        self.landscape = landscape
        self._engine = qmc.Sobol(len(landscape.axes), rng=np.random.default_rng([seed, 2]))

    def propose(self, n: int) -> list[int]:
        """The rows next to the sequence's next n points."""
        low, high = self.landscape.bounds
        return self.landscape.nearest(low + self._engine.random(n) * (high - low))

    def recommend(self) -> dict[str, int]:
        """The best observed row."""
        return {"sobol": self.best()}
