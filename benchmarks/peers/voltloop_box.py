"""Voltloop in a box: the public campaign with strategy `auto`, nothing set."""

from __future__ import annotations

import numpy as np

from benchmarks.peers.task import Matrix, Task
from orchestrator.campaign import Campaign
from orchestrator.domain import (
    Budget,
    CampaignSpec,
    Candidate,
    Estimate,
    Objective,
    OutcomeConstraint,
    RangeParameter,
    SearchSpace,
    Trial,
    TrialStatus,
)
from orchestrator.domain.errors import NoSafeCandidateError


def spec_of(task: Task) -> CampaignSpec:
    """The task as a scientist would write it."""
    metric, upper = task.limit
    seeds = () if task.safe_seeds is None else tuple(dict(zip(task.names, map(float, x), strict=True)) for x in task.safe_seeds)
    return CampaignSpec(
        name="race",
        space=SearchSpace(parameters=[RangeParameter(name, 0.0, 1.0) for name in task.names]),
        objectives=tuple(Objective(name, "maximize", threshold=at) for name, at in task.objectives.items()),
        constraints=(OutcomeConstraint(metric, upper=upper, safe=task.safe_seeds is not None),),
        safe_seed=seeds,
        budget=Budget(trials=task.trials),
        seed=task.seed,
    )


class VoltloopBox:
    """A campaign over the cube; where nothing is safe with confidence it stops and asks, and so proposes nothing."""

    def __init__(self, task: Task) -> None:
        self.task, self.spec = task, spec_of(task)
        self.trials: list[Trial] = []
        self.believed: list[tuple[float, float]] = []

    def propose(self, n: int) -> Matrix:
        """The campaign's next n points; `believed` then holds the limited metric's mean and sd for each, of a safe campaign."""
        try:
            found = Campaign(self.spec, tuple(self.trials)).with_reference_point().proposals(n)
        except NoSafeCandidateError:
            found = []
        self.believed = [(b["mean"], b["sd"]) for p in found for b in p.decision.get("safety", ())]
        points = [[p.candidate.parameters[name] for name in self.task.names] for p in found]
        return np.array(points, dtype=float).reshape(len(found), -1)

    def tell(self, X: Matrix, Y: Matrix) -> None:
        """Trials as the store would give them."""
        for x, y in zip(X, Y, strict=True):
            outcome = {m: Estimate(float(v), sem=self.task.noise_sd) for m, v in zip(self.task.metrics, y, strict=True)}
            candidate = Candidate(dict(zip(self.task.names, map(float, x), strict=True)))
            self.trials.append(Trial(len(self.trials) + 1, candidate, TrialStatus.COMPLETED, outcome=outcome))
