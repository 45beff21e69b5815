"""How wide a trajectory's error is: spread over members and lives, scaled until it holds for cells that were not learned from.

    raw^2(c) = mean over members and over equally likely lives of (curve - mean curve)^2(c) + floor^2
    std = raw * k / 1.645,   k: the smallest with  (1 + sum over n cells of share of cycles with |error| > k raw) / (n + 1) <= 0.1

so that mean +- 1.645 std misses at most a tenth of a new cell's cycles, in expectation over cells that are exchangeable with
those learned from: conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster, ICLR 2024). A cell is one case however
many cycles it has. Every cell is judged by the members that did not learn from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.prognostics.trajectory_curves import Given, capacity_of
from orchestrator.prognostics.trajectory_ensemble import Beliefs, lives

Array = NDArray[np.float64]
COVERAGE = 0.9
NORMAL_90 = 1.6448536269514722
# Standard normal quantiles at 0.1, 0.3, 0.5, 0.7, 0.9: equally likely lives.
_DEVIATIONS = np.array([-1.2815515655446004, -0.5244005127080407, 0.0, 0.5244005127080407, 1.2815515655446004])
_FLOOR_SHARE = 0.002


@dataclass(frozen=True)
class Curve:
    """One cell's future before calibration.

    Attributes:
        mean_Ah: capacity of the cycles asked for, shape (n,).
        raw_Ah: its spread, > 0, shape (n,).
        life: cycles until the mean curve is at the end of life.
        log_sd: standard deviation of the logarithm of that.
    """

    mean_Ah: Array
    raw_Ah: Array
    life: float
    log_sd: float


def curve_of(beliefs: Beliefs, given: Given, cycles: Array) -> Curve:
    """What members say of one cell, as one curve with its spread.

    Args:
        beliefs: of one cell, shape (members, 1, ...).
        given: what is known of it.
        cycles: later ones, shape (n,).
    """
    log_life, spread, shape = beliefs.log_life[:, 0], beliefs.spread[:, 0], beliefs.shape[:, 0]
    life = float(lives(log_life.mean(), given.cycles))
    mean = _capacity(shape.mean(axis=0), life, given, cycles)
    square = np.zeros(len(cycles))
    for own_log, own_spread, own_shape in zip(log_life, spread, shape, strict=True):
        for possible in lives(own_log + own_spread * _DEVIATIONS, given.cycles):
            square += (_capacity(own_shape, float(possible), given, cycles) - mean) ** 2
    variance = square / (len(log_life) * len(_DEVIATIONS)) + (_FLOOR_SHARE * given.level_Ah) ** 2
    log_sd = float(np.sqrt((spread**2).mean() + log_life.var()))
    return Curve(mean, np.sqrt(variance), life, log_sd)


def _capacity(shape: Array, life: float, given: Given, cycles: Array) -> Array:
    return capacity_of(shape, (cycles - given.cycles) / (life - given.cycles), given.level_Ah, given.end_Ah)


def missed_share_scale(ratios: list[Array], coverage: float = COVERAGE) -> float:
    """The multiple of the raw spread that misses a share 1 - `coverage` of a new cell's cycles, in expectation over cells.

    Args:
        ratios: |error| / raw of each cell's cycles, cells without any left out.
        coverage: wanted share of cycles inside.

    Returns:
        The smallest such multiple; the largest ratio seen where cells are too few to promise that much (n < c / (1 - c)).
    """
    counted = [np.sort(each) for each in ratios if len(each)]
    tried = np.unique(np.concatenate(counted))
    inside = np.array([np.searchsorted(each, tried, side="right") / len(each) for each in counted])
    missed = (1 - inside).sum(axis=0) + 1
    enough = np.flatnonzero(missed <= (1 - coverage) * (len(counted) + 1) + 1e-12)
    return float(tried[enough[0]] if len(enough) else tried[-1])
