"""The front of measured, feasible trials, and the hypervolume it dominates.

A trial dominates another when it is at least as good in every objective and better in one. The hypervolume is the volume
between the front and a fixed reference point, in the product of the objectives' units (Zitzler and Thiele, 1999): it
grows only when the front does.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain import Estimate, Fault, Objective, OutcomeConstraint, SpecError
from orchestrator.domain.objectives import Outcome

Matrix = NDArray[np.float64]

# Share of the measured range by which an inferred reference point stands off the nadir (Ishibuchi et al. 2011, as BoTorch).
STAND_OFF = 0.1


@dataclass(frozen=True)
class ParetoFront:
    """The non-dominated feasible trials, by measured values.

    Attributes:
        trials: their numbers, ascending.
        hypervolume: what they dominate beyond the reference point; 0 while there is no reference point.
        reference_point: by objective metric; empty while it cannot be inferred.
    """

    trials: list[int]
    hypervolume: float
    reference_point: dict[str, float]


def non_dominated_mask(Y: ArrayLike, maximize: Sequence[bool]) -> NDArray[np.bool_]:
    """Which rows no other row dominates.

    Args:
        Y: outcomes, shape (n, m), one row a point; any unit.
        maximize: for each of the m columns, whether more is better.

    Returns:
        A mask of shape (n,). Equal rows stay together; a row with a NaN is never on the front.

    Raises:
        SpecError: if `Y` is not a table with one column per entry of `maximize`.
    """
    ascending = _ascending(Y, maximize)
    mask = np.zeros(len(ascending), dtype=np.bool_)
    whole = np.flatnonzero(~np.isnan(ascending).any(axis=1))
    if whole.size:
        order = whole[np.lexsort(-ascending[whole].T[::-1])]
        ranked = ascending[order]
        first = np.r_[True, (ranked[1:] != ranked[:-1]).any(axis=1)]
        mask[order] = _undominated(ranked[first])[np.cumsum(first) - 1]
    return mask


def _ascending(Y: ArrayLike, maximize: Sequence[bool]) -> Matrix:
    """The table with signs turned so that more is better everywhere, shape (n, m)."""
    table = np.asarray(Y, dtype=np.float64)
    if table.ndim == 1 and table.size == 0:
        table = table.reshape(0, len(maximize))
    if table.ndim != 2 or not len(maximize) or table.shape[1] != len(maximize):
        problem = f"must be a table of shape (n, {len(maximize)}), one column per entry of maximize (got shape {table.shape})."
        raise SpecError(Fault("Y", problem))
    return np.where(np.asarray(maximize, dtype=bool), table, -table)


def _undominated(ranked: Matrix) -> NDArray[np.bool_]:
    """Mask over distinct rows in falling lexicographic order: only an earlier row can dominate a later one (Kung 1975)."""
    m = ranked.shape[1]
    if m <= 2:
        mask = np.zeros(len(ranked), dtype=np.bool_)
        mask[0] = True
        if m == 2:
            mask[1:] = ranked[1:, 1] > np.maximum.accumulate(ranked[:-1, 1])
        return mask
    return _staircase(ranked) if m == 3 else _against_front(ranked)


def _staircase(ranked: Matrix) -> NDArray[np.bool_]:
    """Three objectives: keep the front of the last two as a staircase, rising in one and falling in the other."""
    mask = np.zeros(len(ranked), dtype=np.bool_)
    rising: list[float] = []
    falling: list[float] = []
    for row, (_, second, third) in enumerate(ranked.tolist()):
        at = bisect_left(rising, second)
        if at < len(rising) and falling[at] >= third:
            continue
        mask[row] = True
        end = bisect_right(rising, second)
        start = end
        while start > 0 and falling[start - 1] <= third:
            start -= 1
        rising[start:end] = [second]
        falling[start:end] = [third]
    return mask


def _against_front(ranked: Matrix) -> NDArray[np.bool_]:
    mask = np.zeros(len(ranked), dtype=np.bool_)
    front = np.empty_like(ranked)
    size = 0
    for row, point in enumerate(ranked):
        if not (front[:size] >= point).all(axis=1).any():
            mask[row] = True
            front[size] = point
            size += 1
    return mask


def hypervolume(Y: ArrayLike, reference_point: Sequence[float], maximize: Sequence[bool]) -> float:
    """The volume dominated by points beyond a reference point, exactly.

    One objective: the best improvement over the reference. Two: one sweep. More: sliced along the last objective
    (Knowles 2002), which for the tens of points of a front takes milliseconds.

    Args:
        Y: outcomes, shape (n, m); rows with a NaN or not better than the reference everywhere add nothing.
        reference_point: m coordinates, in the units of Y.
        maximize: for each of the m columns, whether more is better.

    Returns:
        The volume, in the product of the columns' units.

    Raises:
        SpecError: if the shapes do not agree.
    """
    ascending = _ascending(Y, maximize)
    if len(reference_point) != len(maximize):
        raise SpecError(Fault("reference_point", f"needs {len(maximize)} coordinates (got {len(reference_point)})."))
    gains = ascending - _ascending([list(reference_point)], maximize)
    return _volume(gains[(gains > 0).all(axis=1)])


def _volume(gains: Matrix) -> float:
    """Volume of the union of boxes from the origin to each row, shape (n, m), all positive."""
    if not len(gains):
        return 0.0
    gains = gains[np.argsort(-gains[:, -1], kind="stable")]
    depth = gains[:, -1] - np.r_[gains[1:, -1], 0.0]
    if gains.shape[1] == 1:
        return float(gains[0, 0])
    if gains.shape[1] == 2:
        return float(depth @ np.maximum.accumulate(gains[:, 0]))
    maximize = [True] * (gains.shape[1] - 1)
    total, slab = 0.0, gains[:0, :-1]
    for row, thickness in zip(gains, depth, strict=True):
        slab = np.vstack([slab, row[:-1]])
        slab = slab[non_dominated_mask(slab, maximize)]
        if thickness > 0:
            total += float(thickness) * _volume(slab)
    return total


def infer_reference_point(
    objectives: Sequence[Objective], outcomes: Mapping[int, Mapping[str, Estimate]]
) -> dict[str, float] | None:
    """The reference point: thresholds where given, otherwise read off what has been measured.

    Where there is no threshold, several objectives take their nadir less 10 % of the range, as BoTorch's
    `infer_reference_point`, but over every measured trial: the point is fixed early, when the front may still be one
    trial. A single objective takes the worst measured value.

    Args:
        objectives: what is wanted.
        outcomes: estimates by trial number and metric; predicted ones are not looked at.

    Returns:
        Coordinates by metric, or None while one cannot be inferred (nothing measured, or all values equal).
    """
    table = _measured_table([o.metric for o in objectives], outcomes.values())
    table = table[~np.isnan(table).any(axis=1)]
    point: dict[str, float] = {}
    for objective, column in zip(objectives, table.T, strict=True):
        coordinate = objective.threshold
        if coordinate is None:
            coordinate = _inferred(column * objective.sign, alone=len(objectives) == 1)
            if coordinate is None:
                return None
            coordinate *= objective.sign
        point[objective.metric] = float(coordinate)
    return point


def _inferred(gains: Matrix, alone: bool) -> float | None:
    if not gains.size or (not alone and gains.min() == gains.max()):
        return None
    return float(gains.min() if alone else gains.min() - STAND_OFF * (gains.max() - gains.min()))


def pareto_front(
    objectives: Sequence[Objective],
    constraints: Sequence[OutcomeConstraint],
    outcomes: Mapping[int, Mapping[str, Estimate]],
    reference_point: Mapping[str, float] | None = None,
) -> ParetoFront:
    """The front of the measured, feasible trials.

    Args:
        objectives: what is wanted.
        constraints: what must hold; a trial whose constraint metric was not measured is not feasible.
        outcomes: estimates by trial number and metric; predicted ones do not count.
        reference_point: by metric; inferred from the outcomes when None.

    Returns:
        The front; empty when nothing feasible has been measured.
    """
    fixed = infer_reference_point(objectives, outcomes) if reference_point is None else dict(reference_point)
    numbers = np.array(list(outcomes), dtype=int)
    table = _feasible_table(objectives, constraints, outcomes.values())
    mask = non_dominated_mask(table, [o.maximize for o in objectives])
    return ParetoFront(sorted(numbers[mask].tolist()), _beyond(fixed, table, objectives), fixed or {})


def hypervolume_trace(
    objectives: Sequence[Objective],
    constraints: Sequence[OutcomeConstraint],
    outcomes_in_order: Iterable[Mapping[str, Estimate]],
    reference_point: Mapping[str, float] | None,
) -> list[float]:
    """The hypervolume after each outcome, in order of arrival.

    Args:
        objectives: what is wanted.
        constraints: what must hold.
        outcomes_in_order: one entry per trial that ended with an outcome; predicted estimates do not count.
        reference_point: by metric; None gives zeros.

    Returns:
        One value per outcome, never falling.
    """
    table = _feasible_table(objectives, constraints, outcomes_in_order)
    maximize = [o.maximize for o in objectives]
    front = table[:0]
    trace: list[float] = []
    for row in table:
        if np.isnan(row).any():
            trace.append(trace[-1] if trace else 0.0)
            continue
        front = np.vstack([front, row])
        front = front[non_dominated_mask(front, maximize)]
        trace.append(_beyond(reference_point, front, objectives))
    return trace


def feasible(constraints: Sequence[OutcomeConstraint], outcome: Outcome) -> bool:
    """Whether every constraint metric was measured and its mean keeps the bounds."""
    return all(c.metric in outcome and is_measured(outcome[c.metric]) and c.holds(outcome[c.metric].mean) for c in constraints)


def is_measured(estimate: Estimate) -> bool:
    """Whether an estimate was measured, not predicted."""
    return estimate.source == "measured"


def _feasible_table(
    objectives: Sequence[Objective], constraints: Sequence[OutcomeConstraint], outcomes: Iterable[Outcome]
) -> Matrix:
    """Measured objective values, shape (n, m); rows that are not feasible are NaN."""
    outcomes = list(outcomes)
    table = _measured_table([o.metric for o in objectives], outcomes)
    table[[not feasible(constraints, outcome) for outcome in outcomes]] = np.nan
    return table


def _measured_table(metrics: Sequence[str], outcomes: Iterable[Outcome]) -> Matrix:
    """Measured means, shape (n, m); NaN where a metric was not measured."""
    rows = [[o[m].mean if m in o and is_measured(o[m]) else np.nan for m in metrics] for o in outcomes]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(metrics))


def _beyond(reference_point: Mapping[str, float] | None, table: Matrix, objectives: Sequence[Objective]) -> float:
    if reference_point is None or any(o.metric not in reference_point for o in objectives):
        return 0.0
    return hypervolume(table, [reference_point[o.metric] for o in objectives], [o.maximize for o in objectives])
