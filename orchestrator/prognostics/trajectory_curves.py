"""Capacity series made ready for a sequence model: where they end, what was shown of them, and their shape to the end of life.

A life is stretched to one axis, u = (cycle - given) / (life - given), 0 at the last cycle that is given and 1 at the end of life;
capacity to z = (q - end) / (level - end), 1 at the level that the given cycles end with and 0 at the end of life. On these axes
cells of very different lives have nearly one shape. Nothing behind the end of life is ever read: a series is cut there first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain.errors import Fault, SpecError

Array = NDArray[np.float64]

BIN_CYCLES = 10
CHANNELS = 3
# A drop below the end of life by one odd cycle is no end: its neighbours before it must be near.
_NEAR_END = 1.05
# Cyclers stop at the limit and files often leave out the last cycle: so few cycles are added by the final slope.
_MISSING_CYCLES = 10
_LEAST_READINGS = 5


class Life(NamedTuple):
    """How long a cell lasted: cycles to its end of life, or, if not `ended`, the cycles after which nobody looked any more."""

    cycles: float
    ended: bool


@dataclass(frozen=True)
class Given:
    """What is known of a cell when its future is asked for.

    Attributes:
        cycles: how many cycles were given.
        level_Ah: capacity at the last of them, a median of five.
        end_Ah: the end of life.
        sequence: what the encoder reads, one row per `BIN_CYCLES` cycles, shape (bins, CHANNELS).
        summary: the same in a few numbers, shape (7,).
    """

    cycles: int
    level_Ah: float
    end_Ah: float
    sequence: Array
    summary: Array


def checked_series(series: Sequence[ArrayLike], what: str) -> list[Array]:
    """Capacities as vectors; infinite values count as not read.

    Raises:
        SpecError: naming every series that is no vector or has fewer than 5 readings.
    """
    made, faults = [], []
    for number, values in enumerate(series):
        vector = np.array(values, dtype=np.float64)
        if vector.ndim != 1 or np.isfinite(vector).sum() < _LEAST_READINGS:
            problem = f"must be a vector of at least {_LEAST_READINGS} capacities in Ah (got shape {vector.shape})."
            faults.append(Fault(f"{what}[{number}]", problem))
            continue
        vector[~np.isfinite(vector)] = np.nan
        made.append(vector)
    if faults:
        raise SpecError(faults)
    return made


def cut_at_end(q: Array, end_Ah: float) -> tuple[Array, Life]:
    """A series up to and with the first cycle below the end of life, and that cycle.

    A single cycle far below its neighbours is no end. A series that stops within ten cycles of the end, at its final
    slope, ended there; any other that stays above is right-censored.

    Args:
        q: capacity of cycles 1, 2, ..., Ah, shape (n,); NaN where there is no reading.
        end_Ah: the end of life.
    """
    for place in np.flatnonzero(q < end_Ah):
        if np.nanmedian(q[max(0, place - 4) : place + 1]) <= _NEAR_END * end_Ah:
            return q[: place + 1], Life(float(place + 1), True)
    read = np.flatnonzero(np.isfinite(q))
    last, before = read[-1], read[max(0, len(read) - 11)]
    slope = (q[before] - q[last]) / max(last - before, 1)
    gap = q[last] - end_Ah
    if slope > 0 and 0 <= gap <= slope * _MISSING_CYCLES:
        return q, Life(float(last + 1 + max(1, np.ceil(gap / slope))), True)
    return q, Life(float(last + 1), False)


def given_part(q: Array, cycles: int, end_Ah: float) -> Given:
    """The first cycles of a cell as the encoder and the life's prior read them; later ones are not looked at.

    Args:
        q: capacity of cycles 1, 2, ..., Ah; NaN where there is no reading.
        cycles: how many of them are known.
        end_Ah: the end of life, which is the unit here.
    """
    at, level = smoothed(q[:cycles])
    bins = (at - 1) // BIN_CYCLES
    places = np.unique(bins)
    means = np.array([level[bins == place].mean() for place in places]) / end_Ah
    steps = np.diff(means, prepend=means[0]) / np.maximum(np.diff(places, prepend=places[0] - 1), 1)
    sequence = np.column_stack([means - means[0], steps, (places + 1) * BIN_CYCLES / 100])
    late = at > at[-1] - max(5, 0.4 * (at[-1] - at[0]))
    start, last = level[:3].mean() / end_Ah, float(np.median(level[-5:]))
    slopes = [_slope(at, level) / end_Ah, _slope(at[late], level[late]) / end_Ah]
    top = level.max() / end_Ah
    summary = np.array([start, top - start, top - last / end_Ah, last / end_Ah, *slopes, np.log(cycles)])
    return Given(cycles, last, end_Ah, sequence, summary)


def _slope(at: Array, level: Array) -> float:
    off = at - at.mean()
    return float(off @ level / max(off @ off, 1e-12))


def smoothed(q: Array) -> tuple[Array, Array]:
    """Cycle numbers with a reading, and its median over five of them: single odd cycles are gone."""
    at = np.flatnonzero(np.isfinite(q))
    padded = np.pad(q[at], 2, mode="edge")
    level: Array = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    return (at + 1).astype(np.float64), level


def shape_targets(q: Array, life: Life, expected: float, given: Given, nodes: int) -> Array:
    """What the decoder should say at u = 1/nodes, 2/nodes, ..., 1.

    Args:
        q: a series as `cut_at_end` leaves it.
        life: from there too.
        expected: the life by which a censored cell's axis is stretched, cycles.
        given: what was shown of it.
        nodes: how many values.

    Returns:
        z, shape (nodes,); NaN where nobody looked.
    """
    at, level = smoothed(q)
    total = life.cycles if life.ended else max(expected, life.cycles)
    wanted = given.cycles + np.arange(1, nodes + 1) / nodes * (total - given.cycles)
    if life.ended:
        before = at < life.cycles
        at, level = np.append(at[before], life.cycles), np.append(level[before], given.end_Ah)
    found = np.interp(wanted, at, level)
    found[wanted > at[-1]] = np.nan
    return (found - given.end_Ah) / (given.level_Ah - given.end_Ah)


def capacity_of(z: Array, u: Array, level_Ah: float | Array, end_Ah: float) -> Array:
    """Capacity at points of the stretched axis, Ah: linear between nodes, never below 0.

    Behind the end of life, where nothing was learned, it goes on at the mean slope of the shape: below the end of life, and
    without a claim to the collapse that often follows.

    Args:
        z: at u = 0, 1/nodes, ..., 1, falling, shape (nodes + 1,).
        u: where to read, >= 0, any shape.
        level_Ah: capacity at u = 0.
        end_Ah: capacity at z = 0.
    """
    nodes = len(z) - 1
    place = np.clip(np.floor(u * nodes).astype(np.int64), 0, nodes - 1)
    within = z[place] + (np.minimum(u, 1.0) * nodes - place) * (z[place + 1] - z[place])
    value = within - np.maximum(u - 1.0, 0.0) * (z[0] - z[-1])
    made: Array = np.maximum(end_Ah + value * (level_Ah - end_Ah), 0.0)
    return made
