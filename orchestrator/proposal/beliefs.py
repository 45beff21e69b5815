"""What is believed of every metric of a campaign: a surrogate each, fitted to one history."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import CampaignSpec, Candidate, Estimate
from orchestrator.domain.surrogate_spec import OTHER
from orchestrator.proposal.history import History, Point
from orchestrator.proposal.marginal_likelihood import FeatureGroup, Prior
from orchestrator.proposal.surrogate import Readings, Share, Surrogate, fit_surrogate

Matrix = NDArray[np.float64]


class Encoding(Protocol):
    """Candidates as a kernel reads them."""

    @property
    def dimension(self) -> int:
        """The number d of columns."""
        ...

    def encode(self, candidates: Sequence[Candidate]) -> Matrix:
        """Points of shape (n, d)."""
        ...

    def columns_of(self, name: str) -> tuple[int, ...]:
        """The columns that a parameter or feature is read by; none where it does not vary."""
        ...


@dataclass(frozen=True)
class Beliefs:
    """A surrogate by metric, for the metrics that have at least one estimate.

    Attributes:
        encoding: how candidates were read.
        surrogates: by metric.
        units: by metric, as the estimates stated them.
    """

    encoding: Encoding
    surrogates: Mapping[str, Surrogate]
    units: Mapping[str, str | None]

    def predict(self, X: Matrix) -> list[dict[str, Estimate]]:
        """The belief at points of shape (n, d): the response of the candidate, not of one cell; `sem` is its sd."""
        columns = {m: s.posterior(X) for m, s in self.surrogates.items()}
        return [
            {m: Estimate(float(mean[i]), float(sd[i]), "predicted", self.units[m]) for m, (mean, sd) in columns.items()}
            for i in range(len(X))
        ]

    def describe(self) -> dict[str, Any]:
        """The fitted values as JSON-ready data."""
        return {
            metric: {
                "readings": len(surrogate.readings.mean),
                "kernel": "squared exponential" if surrogate.hyperparameters.smooth else "Matern-5/2",
                "lengthscales": [round(float(x), 4) for x in surrogate.hyperparameters.lengthscales],
                "spread_between_cells": float(f"{surrogate.spread:.4g}"),
                **_described(surrogate.shares),
            }
            for metric, surrogate in self.surrogates.items()
        }


def _described(shares: Mapping[str, Share]) -> dict[str, Any]:
    rounded = {name: {"share": round(share.mean, 3), "sd": round(share.sd, 3)} for name, share in shares.items()}
    return {"shares": rounded} if rounded else {}


# Of a space: how smooth a response is, and how far cells differ, is left to the data.
SPACE_PRIOR = Prior(smooth=None, spread=math.exp(-6.0), spread_log_sd=2.0)


def fit_beliefs(history: History, encoding: Encoding, prior: Prior | None = None) -> Beliefs:
    """Fit every metric of the campaign that has an estimate, with a kernel for each of the spec's groups of features."""
    prior = replace(prior or SPACE_PRIOR, groups=feature_groups(history.spec, encoding))
    metrics = [m for m in history.spec.metrics if history.observed(m)]
    surrogates = {m: fit_surrogate(readings(history, encoding, m), prior, history.settled(m)) for m in metrics}
    return Beliefs(encoding, surrogates, {m: _unit(history, m) for m in metrics})


def feature_groups(spec: CampaignSpec, encoding: Encoding) -> tuple[FeatureGroup, ...]:
    """The spec's groups as columns, what is in none as the group `other`; none where one kernel reads all."""
    named = {
        name: [c for feature in features for c in encoding.columns_of(feature)]
        for name, features in spec.surrogate.groups.items()
    }
    taken = {column for columns in named.values() for column in columns}
    named[OTHER] = [c for c in range(encoding.dimension) if c not in taken]
    groups = tuple(FeatureGroup(name, tuple(columns)) for name, columns in named.items() if columns)
    return groups if len(groups) > 1 else ()


def readings(history: History, encoding: Encoding, metric: str) -> Readings:
    """A metric's estimates at the points that have one; replicates are rows of their own."""
    points = history.observed(metric)
    return Readings.of(encoding.encode([p.candidate for p in points]), [p.outcome[metric] for p in points])


def tested_points(history: History) -> list[Point]:
    """The points that count as tried, each in the present context: they have an estimate, or are about to.

    What is to be improved on is what a candidate would give now, not what it gave in another context.
    """
    tried = [p for p in history.points if p.outcome or p.pending]
    return [replace(p, candidate=history.spec.space.at_present(p.candidate)) for p in tried]


def _unit(history: History, metric: str) -> str | None:
    return next((p.outcome[metric].unit for p in history.observed(metric) if p.outcome[metric].unit), None)
