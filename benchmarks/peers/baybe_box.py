"""BayBE in a box. It has no outcome constraints: a result beyond the limit is told as the reference point, worth nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from baybe import Campaign
from baybe.objectives import ParetoObjective
from baybe.parameters import NumericalContinuousParameter
from baybe.searchspace import SearchSpace
from baybe.settings import Settings
from baybe.targets import NumericalTarget

from benchmarks.peers.task import Matrix, Task


class BaybeBox:
    """BayBE's campaign with a Pareto objective."""

    def __init__(self, task: Task) -> None:
        self.task = task
        Settings(random_seed=task.seed).activate()
        space = SearchSpace.from_product([NumericalContinuousParameter(name, (0.0, 1.0)) for name in task.names])
        self.campaign = Campaign(space, ParetoObjective([NumericalTarget(name) for name in task.objectives]))

    def propose(self, n: int) -> Matrix:
        """BayBE's next n points."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(self.campaign.recommend(batch_size=n)[self.task.names].to_numpy(), dtype=float)

    def tell(self, X: Matrix, Y: Matrix) -> None:
        """Results, those beyond the limit as the reference point."""
        worthless = np.array(list(self.task.objectives.values()), dtype=float)
        values = np.where((Y[:, -1] > self.task.limit[1])[:, None], worthless, Y[:, :-1])
        found = pd.DataFrame(X, columns=self.task.names)
        found[list(self.task.objectives)] = values
        self.campaign.add_measurements(found)
