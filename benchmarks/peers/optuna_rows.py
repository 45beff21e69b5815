"""Optuna on a list: it searches the axes' box, and what it proposes is tested at the nearest row."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import Trial, TrialState, create_trial

from benchmarks.landscape import Landscape
from benchmarks.peers.plain import Tally

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


class OptunaRows(Tally, ABC):
    """A study with one of Optuna's samplers; recommends the best observed mean: Optuna has no other."""

    name = "optuna"

    def __init__(self, landscape: Landscape, noise_sd: float, seed: int) -> None:
        super().__init__()
        self.landscape = landscape
        low, high = landscape.bounds
        self._axes = {a: FloatDistribution(float(x), float(y)) for a, x, y in zip(landscape.axes, low, high, strict=True)}
        self.study = optuna.create_study(direction="maximize", sampler=self._sampler(seed))
        self._asked: list[Trial] = []

    @abstractmethod
    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """Which of Optuna's samplers asks."""

    def propose(self, n: int) -> list[int]:
        """The rows next to the study's n points, asked together."""
        asked = [self.study.ask(self._axes) for _ in range(n)]
        self._asked += asked
        return self.landscape.nearest(np.array([[trial.params[a] for a in self._axes] for trial in asked]))

    def tell(self, rows: list[int], means: list[float]) -> None:
        """Results at the rows; the trials asked for are closed without one."""
        super().tell(rows, means)
        for trial in self._asked:
            self.study.tell(trial, state=TrialState.FAIL)
        self._asked = []
        for row, mean in zip(rows, means, strict=True):
            parameters = {a: float(self.landscape.rows[row][a]) for a in self._axes}
            self.study.add_trial(create_trial(params=parameters, distributions=dict(self._axes), value=mean))

    def recommend(self) -> dict[str, int]:
        """The best observed row."""
        return {self.name: self.best()}


class TpeRows(OptunaRows):
    """The tree-structured Parzen estimator; batches by its constant liar."""

    name = "optuna-tpe"

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


class GpRows(OptunaRows):
    """Optuna's Gaussian process."""

    name = "optuna-gp"

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.GPSampler(seed=seed)
