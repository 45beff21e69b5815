"""An ensemble of trajectory models, each fitted to some of the cells: the life's prior, and a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.learning.seeding import derive_seed, reproducible
from orchestrator.prognostics.trajectory_curves import CHANNELS, Given, Life, shape_targets
from orchestrator.prognostics.trajectory_life import CensoredRidge, Standardiser
from orchestrator.prognostics.trajectory_network import Inputs, Targets, Training, TrajectoryNetworks, train

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
NODES = 24
_SOON = 1.01


@dataclass(frozen=True)
class Row:
    """A cell as it stood after some cycles, and what became of it.

    Attributes:
        cell: its number.
        group: the number of what may not be parted in folds.
        given: what was known then.
        features: other numbers known then, shape (p,), NaN where unknown.
        capacity_Ah: its whole series as `cut_at_end` leaves it.
        life: from there too.
    """

    cell: int
    group: int
    given: Given
    features: Array
    capacity_Ah: Array
    life: Life


@dataclass(frozen=True)
class Beliefs:
    """What each member says of each cell.

    Attributes:
        log_life: mean of the logarithm of the life in cycles, shape (members, rows).
        spread: standard deviation of that, before calibration, shape (members, rows).
        shape: z at u = 0, 1/nodes, ..., 1; 1 at first, falling, 0 at last; shape (members, rows, nodes + 1).
    """

    log_life: Array
    spread: Array
    shape: Array

    def of(self, members: Rows | slice, row: int) -> Beliefs:
        """What some members say of one cell."""
        return Beliefs(self.log_life[members, row, None], self.spread[members, row, None], self.shape[members, row, None])


class _Scaling:
    """What one member knows of its training cells' scale, and its prior of the life."""

    def __init__(self, rows: Sequence[Row]) -> None:
        summary = summaries([r.given for r in rows], np.array([r.features for r in rows]))
        self.summary, self.sequence = Standardiser(summary), Standardiser(np.vstack([r.given.sequence for r in rows]))
        ended, bound = np.array([row.life.ended for row in rows]), np.log([row.life.cycles for row in rows])
        self.prior = CensoredRidge().fit(self.summary(summary), bound, ended, np.array([row.group for row in rows]))
        self.centre, self.unit = float(self.prior.completed_.mean()), float(self.prior.completed_.std()) + 1e-3

    def scaled(self, log_life: Array) -> Array:
        return (log_life - self.centre) / self.unit


class TrajectoryEnsemble:
    """Prior and network, once for each set of rows.

    Args:
        training: how the networks are trained.
        hidden: their units.
        seed: of their weights and of scheduled sampling.
    """

    def __init__(self, training: Training, hidden: int, seed: int) -> None:
        self._training, self._hidden, self._seed = training, hidden, seed

    def fit(self, rows: Sequence[Row], learned: Sequence[Rows]) -> TrajectoryEnsemble:
        """Fit one member to each set of rows.

        Args:
            rows: all there are.
            learned: which of them each member learns from.
        """
        self._scalings = [_Scaling([rows[i] for i in chosen]) for chosen in learned]
        shape = np.stack([self._shapes(rows, *each) for each in zip(self._scalings, learned, strict=True)])
        targets = self._targets(rows, shape, learned)
        steps = np.stack([_mean_steps(s[chosen]) for s, chosen in zip(shape, learned, strict=True)])
        inputs = self._inputs([row.given for row in rows], np.array([row.features for row in rows]))
        for prior, scaling, chosen in zip(inputs.prior, self._scalings, learned, strict=True):
            prior[chosen] = torch.from_numpy(scaling.scaled(scaling.prior.left_out_))
        with reproducible(self._seed):
            seeds = [derive_seed("trajectory", self._seed, member) for member in range(len(learned))]
            self._networks = TrajectoryNetworks(seeds, CHANNELS, inputs.summary.shape[2], steps, self._hidden)
            train(self._networks, inputs, targets, self._training, self._seed)
        return self

    def _shapes(self, rows: Sequence[Row], scaling: _Scaling, chosen: Rows) -> Array:
        made = np.full((len(rows), NODES), np.nan)
        for i, expected in zip(chosen, np.exp(scaling.prior.completed_), strict=True):
            made[i] = shape_targets(rows[i].capacity_Ah, rows[i].life, float(expected), rows[i].given, NODES)
        return made

    def _targets(self, rows: Sequence[Row], shape: Array, learned: Sequence[Rows]) -> Targets:
        chosen = np.zeros(shape.shape[:2], dtype=np.bool_)
        for member, each in enumerate(learned):
            chosen[member, each] = True
        ended, bound = np.array([row.life.ended for row in rows]), np.log([row.life.cycles for row in rows])
        return Targets(
            torch.from_numpy(shape),
            torch.from_numpy(np.isfinite(shape).sum(axis=2)),
            torch.from_numpy(np.stack([each.scaled(bound) for each in self._scalings])),
            torch.from_numpy(chosen & ended),
            torch.from_numpy(chosen & ~ended),
            torch.tensor([[each.prior.spread_ / each.unit] for each in self._scalings], dtype=torch.float64),
        )

    def _inputs(self, given: Sequence[Given], features: Array) -> Inputs:
        lengths = [len(each.sequence) for each in given]
        sequence = np.zeros((len(self._scalings), len(given), max(lengths), CHANNELS))
        for member, scaling in enumerate(self._scalings):
            for row, each in enumerate(given):
                sequence[member, row, : lengths[row]] = scaling.sequence(each.sequence)
        numbers = summaries(given, features)
        summary = np.stack([each.summary(numbers) for each in self._scalings])
        pairs = zip(self._scalings, summary, strict=True)
        prior = np.stack([scaling.scaled(scaling.prior.predict(X)[0]) for scaling, X in pairs])
        return Inputs(*(torch.from_numpy(each) for each in (sequence, np.array(lengths), summary, prior)))

    def predict(self, given: Sequence[Given], features: Array) -> Beliefs:
        """What the members say of cells.

        Args:
            given: what is known of each.
            features: other numbers, shape (rows, p).
        """
        inputs = self._inputs(given, features)
        with reproducible(self._seed), torch.no_grad():
            life, z = (each.numpy() for each in self._networks(inputs))
        pairs = list(zip(self._scalings, inputs.summary.numpy(), strict=True))
        spread = np.stack([scaling.prior.predict(X)[1] for scaling, X in pairs])
        log_life = np.stack([each.centre + each.unit * own for each, own in zip(self._scalings, life, strict=True)])
        return Beliefs(log_life, spread, 1 - (1 - z) / (1 - z[..., -1:]))


def summaries(given: Sequence[Given], features: Array) -> Array:
    """Features and the given cycles in a few numbers, side by side, shape (rows, p + 7)."""
    return np.column_stack([features, np.array([each.summary for each in given])])


def _mean_steps(shape: Array) -> Array:
    """Decrements of the mean shape; where nobody looked any more, the last one goes on."""
    seen = np.flatnonzero(np.isfinite(shape).any(axis=0))
    usual = np.nanmean(shape[:, seen], axis=0)
    steps = np.maximum(-np.diff(usual, prepend=1.0), 1e-4)
    return np.append(steps, np.full(shape.shape[1] - len(seen), steps[-1]))


def lives(log_life: Array, given_cycles: int) -> Array:
    """Lives in cycles, never shorter than what is known to have been survived."""
    made: Array = np.maximum(np.exp(log_life), _SOON * given_cycles + 1)
    return made
