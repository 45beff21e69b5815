"""What a method is told of a problem in a box, and what it must answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """A problem over the unit cube.

    Attributes:
        dimension: the number of parameters.
        objectives: metrics wanted large, each with the reference point's coordinate (None with one objective).
        limit: the metric that must stay below a value, and that value.
        trials: how many will be made.
        seed: of the method's own randomness.
        noise_sd: known standard error of every result; 0 for a problem without noise.
        safe_seeds: points known to keep the limit, which must then never be passed; None where the limit is only a constraint.
    """

    dimension: int
    objectives: Mapping[str, float | None]
    limit: tuple[str, float]
    trials: int
    seed: int
    noise_sd: float = 0.0
    safe_seeds: Matrix | None = None

    @property
    def names(self) -> list[str]:
        """The parameters' names."""
        return [f"x{i}" for i in range(self.dimension)]

    @property
    def metrics(self) -> list[str]:
        """The objectives, then the limited metric: the columns of every result."""
        return [*self.objectives, self.limit[0]]


class BoxMethod(Protocol):
    """Asked for points of the unit cube, told results."""

    def propose(self, n: int) -> Matrix:
        """At most n points, shape (n, d); none where the method stops."""
        ...

    def tell(self, X: Matrix, Y: Matrix) -> None:
        """Results at points: a column for every metric."""
        ...
