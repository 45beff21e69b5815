"""Ax's Client on a list: it searches the axes' box, what it proposes is tested at the nearest row, and the noise is given."""

from __future__ import annotations

import logging
import warnings

import numpy as np
from ax.api.client import Client
from ax.api.configs import RangeParameterConfig
from ax.utils.common.logger import set_ax_logger_levels

from benchmarks.landscape import Landscape

set_ax_logger_levels(logging.ERROR)
warnings.filterwarnings("ignore", module="ax|botorch|gpytorch|linear_operator")


class AxRows:
    """One client for the whole campaign; a proposal is abandoned and the row beside it attached."""

    def __init__(self, landscape: Landscape, noise_sd: float, seed: int) -> None:
        self.landscape, self.noise_sd = landscape, noise_sd
        self.client = Client(random_seed=seed)
        low, high = landscape.bounds
        self.client.configure_experiment(
            [
                RangeParameterConfig(name=name, bounds=(float(a), float(b)), parameter_type="float")
                for name, a, b in zip(landscape.axes, low, high, strict=True)
            ]
        )
        self.client.configure_optimization("life")
        self._asked: list[int] = []

    def propose(self, n: int) -> list[int]:
        """The rows next to the client's n points."""
        asked = self.client.get_next_trials(n)
        self._asked += asked
        points = np.array([[trial[name] for name in self.landscape.axes] for trial in asked.values()], dtype=float)
        return self.landscape.nearest(points)

    def tell(self, rows: list[int], means: list[float]) -> None:
        """Results with their standard error."""
        for index in self._asked:
            self.client.mark_trial_abandoned(index)
        self._asked = []
        for row, mean in zip(rows, means, strict=True):
            index = self.client.attach_trial(self._parameters(row))
            self.client.complete_trial(index, {"life": (mean, self.noise_sd)})

    def recommend(self) -> dict[str, int]:
        """The client's own choice, and the best mean that its model predicts over all rows.

        Both come from the model of the last proposal, so one is asked for first; the first of all may
        still be a Sobol point.
        """
        self._asked += self.client.get_next_trials(2)
        best, _, _, _ = self.client.get_best_parameterization()
        chosen = self.landscape.nearest(np.array([[best[name] for name in self.landscape.axes]], dtype=float))[0]
        predicted = self.client.predict([self._parameters(row) for row in range(len(self.landscape.rows))])
        means = [prediction["life"][0] for prediction in predicted]
        return {"ax": chosen, "ax, best mean of all rows": int(np.argmax(means))}

    def _parameters(self, row: int) -> dict[str, float]:
        return {name: float(self.landscape.rows[row][name]) for name in self.landscape.axes}
