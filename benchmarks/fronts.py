"""Two published problems with two objectives and a constraint, and the volume that a set of results dominates."""

from __future__ import annotations

import numpy as np
import torch
from botorch.test_functions.multi_objective import C2DTLZ2, ConstrainedBraninCurrin
from botorch.utils.multi_objective.hypervolume import Hypervolume
from botorch.utils.multi_objective.pareto import is_non_dominated

from benchmarks.peers.task import Matrix, Task

PROBLEMS = {
    "C2DTLZ2 d=4": lambda: C2DTLZ2(dim=4, num_objectives=2, negate=True),
    "constrained Branin-Currin": lambda: ConstrainedBraninCurrin(negate=True),
}


class FrontProblem:
    """A test function of BoTorch: objectives wanted large, and a metric `slackless` that must not pass 0.

    Args:
        name: one of `PROBLEMS`.
    """

    def __init__(self, name: str) -> None:
        self.function = PROBLEMS[name]()
        self.reference = [float(r) for r in self.function.ref_point]
        self.best = float(self.function.max_hv)

    def task(self, trials: int, seed: int) -> Task:
        """What every method is told."""
        objectives = {f"y{i}": at for i, at in enumerate(self.reference)}
        return Task(int(self.function.dim), objectives, ("slackless", 0.0), trials, seed)

    def measure(self, X: Matrix) -> Matrix:
        """Results without noise at points of the cube (both functions are stated on it): shape (n, 3)."""
        points = torch.from_numpy(np.ascontiguousarray(X))
        return np.asarray(torch.cat([self.function(points), -self.function.evaluate_slack(points)], dim=1).numpy())

    def hypervolume(self, Y: Matrix) -> float:
        """What feasible results dominate beyond the reference point."""
        good = torch.from_numpy(Y[Y[:, -1] <= 0.0, :-1])
        if not len(good):
            return 0.0
        return float(Hypervolume(torch.tensor(self.reference, dtype=torch.double)).compute(good[is_non_dominated(good)]))
