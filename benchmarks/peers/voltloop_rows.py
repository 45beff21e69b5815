"""Voltloop on a list: the public campaign, nothing set."""

from __future__ import annotations

from benchmarks.landscape import Landscape
from orchestrator.campaign import Campaign
from orchestrator.domain import CampaignSpec, Estimate, Objective, Trial, TrialStatus


class VoltloopRows:
    """A campaign over the landscape's table, with its own recommendation: the best posterior mean, tested or not."""

    def __init__(self, landscape: Landscape, noise_sd: float, seed: int) -> None:
        self.table, self.noise_sd = landscape.table, noise_sd
        self.spec = CampaignSpec(name="race", space=self.table, objectives=(Objective("life", "maximize"),), seed=seed)
        self.trials: list[Trial] = []

    def propose(self, n: int) -> list[int]:
        """The campaign's next n rows."""
        rows = [self.table.row_of(candidate) for candidate in Campaign(self.spec, tuple(self.trials)).propose(n)]
        return [row for row in rows if row is not None]

    def tell(self, rows: list[int], means: list[float]) -> None:
        """Trials as the store would give them."""
        for row, mean in zip(rows, means, strict=True):
            outcome = {"life": Estimate(mean, sem=self.noise_sd)}
            number = len(self.trials) + 1
            self.trials.append(Trial(number, self.table.candidate(row), TrialStatus.COMPLETED, outcome=outcome))

    def recommend(self) -> dict[str, int]:
        """The row with the best posterior mean."""
        chosen = Campaign(self.spec, tuple(self.trials)).recommend(None, measured_only=False).candidate
        row = self.table.row_of(chosen)
        assert row is not None
        return {"voltloop": row}
