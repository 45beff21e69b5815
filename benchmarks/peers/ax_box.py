"""Ax's Client in a box, as it comes: the limit an outcome constraint, the noise given with every result."""

from __future__ import annotations

import logging
import warnings

import numpy as np
from ax.api.client import Client
from ax.api.configs import RangeParameterConfig
from ax.utils.common.logger import set_ax_logger_levels

import orchestrator.proposal.botorch_model  # noqa: F401 - no compiler, and no lock of a killed one, in the middle of a race
from benchmarks.peers.task import Matrix, Task

set_ax_logger_levels(logging.ERROR)
warnings.filterwarnings("ignore", module="ax|botorch|gpytorch|linear_operator")


class AxBox:
    """One client for the whole campaign; points that it did not propose are attached."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.client = Client(random_seed=task.seed)
        self.client.configure_experiment(
            [RangeParameterConfig(name=name, bounds=(0.0, 1.0), parameter_type="float") for name in task.names]
        )
        metric, upper = task.limit
        thresholds = [f"{name} >= {at!r}" for name, at in task.objectives.items() if at is not None]
        self.client.configure_optimization(", ".join(task.objectives), [*thresholds, f"{metric} <= {upper!r}"])
        self._asked: dict[tuple[float, ...], int] = {}

    def propose(self, n: int) -> Matrix:
        """The client's next n points."""
        found = {}
        while len(found) < n:  # the first design may pause before the batch is full
            found.update(self.client.get_next_trials(n - len(found)))
        X = np.array([[trial[name] for name in self.task.names] for trial in found.values()], dtype=float)
        self._asked = {tuple(map(float, x)): index for x, index in zip(X, found, strict=True)}
        return X

    def tell(self, X: Matrix, Y: Matrix) -> None:
        """Results with their standard error."""
        for x, y in zip(X, Y, strict=True):
            point = tuple(map(float, x))
            index = self._asked.pop(point, None)
            if index is None:
                index = self.client.attach_trial(dict(zip(self.task.names, point, strict=True)))
            results = {m: (float(v), self.task.noise_sd) for m, v in zip(self.task.metrics, y, strict=True)}
            self.client.complete_trial(index, results)

    def forget(self) -> None:
        """Abandon what was proposed and not tested."""
        for index in self._asked.values():
            self.client.mark_trial_abandoned(index)
        self._asked = {}
