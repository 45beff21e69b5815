"""BayBE on a list, as it comes; it cannot be told the noise and learns one of its own."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from baybe import Campaign
from baybe.searchspace import SearchSpace, SubspaceDiscrete
from baybe.settings import Settings
from baybe.targets import NumericalTarget

from benchmarks.landscape import Landscape


class BaybeRows:
    """BayBE's campaign over the rows; recommends the best posterior mean over all of them."""

    def __init__(self, landscape: Landscape, noise_sd: float, seed: int) -> None:
        self.rows = pd.DataFrame([dict(row) for row in landscape.rows])
        Settings(random_seed=seed).activate()
        self.campaign = Campaign(
            SearchSpace(discrete=SubspaceDiscrete.from_dataframe(self.rows)), NumericalTarget("life").to_objective()
        )
        self._index = {tuple(row): i for i, row in enumerate(self.rows.to_numpy())}

    def propose(self, n: int) -> list[int]:
        """BayBE's next n rows."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self.campaign.recommend(batch_size=n)
        return [self._index[tuple(row)] for row in found[list(self.rows.columns)].to_numpy()]

    def tell(self, rows: list[int], means: list[float]) -> None:
        """Results, without a standard error."""
        self.campaign.add_measurements(self.rows.iloc[rows].assign(life=means))

    def recommend(self) -> dict[str, int]:
        """The row with the best posterior mean."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stats = self.campaign.posterior_stats(self.rows, stats=["mean"])
        return {"baybe": int(np.argmax(stats["life_mean"].to_numpy()))}
