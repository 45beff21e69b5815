"""Methods in a box that need no optimiser: random and Sobol points, and a safe set as one would write it in an afternoon."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood
from scipy.stats import qmc

from benchmarks.peers.task import Matrix, Task


class RandomBox:
    """Points at random."""

    def __init__(self, task: Task) -> None:
        self._dimension, self._rng = task.dimension, np.random.default_rng([task.seed, 1])

    def propose(self, n: int) -> Matrix:
        """The next n points."""
        return self._rng.random((n, self._dimension))

    def tell(self, X: Matrix, Y: Matrix) -> None:
        """Nothing is learned."""


class SobolBox:
    """The points of a scrambled Sobol sequence."""

    def __init__(self, task: Task) -> None:
        self._engine = qmc.Sobol(task.dimension, rng=np.random.default_rng([task.seed, 2]))

    def propose(self, n: int) -> Matrix:
        """The sequence's next n points."""
        return np.asarray(self._engine.random(n))

    def tell(self, X: Matrix, Y: Matrix) -> None:
        """Nothing is learned."""


class PlainSafeSet:
    """BoTorch's default model of value and hazard; LogEI among points whose hazard plus two sds keeps the limit.

    Where no point does, the tested point of the lowest hazard is tested again.
    """

    BETA = 2.0
    POOL = 2048

    def __init__(self, task: Task) -> None:
        self.task = task
        self.X, self.Y = np.zeros((0, task.dimension)), np.zeros((0, 2))
        self._pool = qmc.Sobol(task.dimension, rng=np.random.default_rng([task.seed, 3]))

    def propose(self, n: int) -> Matrix:
        """One point: batches are not its business."""
        value, hazard = self._model(0), self._model(1)
        pool = torch.from_numpy(self._pool.random(self.POOL))
        posterior = hazard.posterior(pool)
        bound = (posterior.mean + self.BETA * posterior.variance.sqrt()).detach().squeeze(-1)
        pool = pool[bound <= self.task.limit[1]]
        if not len(pool):
            return np.asarray(self.X[[self.Y[:, 1].argmin()]])
        best = value.posterior(torch.from_numpy(self.X)).mean.max().detach()
        gain = LogExpectedImprovement(value, best_f=best)(pool[:, None])
        return np.asarray(pool[[int(gain.argmax())]].numpy())

    def tell(self, X: Matrix, Y: Matrix) -> None:
        """Results of value and hazard."""
        self.X, self.Y = np.vstack([self.X, X]), np.vstack([self.Y, Y])

    def _model(self, column: int) -> SingleTaskGP:
        X, y = torch.from_numpy(self.X), torch.from_numpy(self.Y[:, [column]])
        model = SingleTaskGP(X, y, torch.full_like(y, self.task.noise_sd**2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        return model
