"""Charge and discharge capacity of every cycle of a long recording, in a few passes over its rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.features.blocks import Array, Blocks, Integers, durations_s, find_blocks, sums, trapezoid_weights_h, vector

Numbers = NDArray[np.generic]
_PORTION = 65_536  # rows worked on at a time: they stay in the cache


class _Memory(threading.local):
    """Working memory kept from call to call: fresh pages for every recording cost more than the sums."""

    def __init__(self) -> None:
        self.rows = np.empty((2, _PORTION))


_MEMORY = _Memory()


class CycleCapacities(NamedTuple):
    """Capacities by cycle.

    Attributes:
        cycles: cycle numbers in the order of their first rows, (k,).
        charge_Ah, discharge_Ah: what went in and what came out, Ah, each (k,), neither negative.
    """

    cycles: Integers
    charge_Ah: Array
    discharge_Ah: Array


def cycle_capacities(time_s: ArrayLike, current_A: ArrayLike, cycles: ArrayLike) -> CycleCapacities:
    """Charge and discharge capacity of each cycle, by trapezoid over time: the same numbers as `cycle_summary`'s.

    Rows whose time or current is no number are left out. Cycles of a single row are left out; the pieces of a cycle that was
    left and taken up again are added. The time between two cycles belongs to neither.

    Args:
        time_s: test time, s, (n,), not decreasing within a cycle.
        current_A: current, A, (n,), positive when charging.
        cycles: the cycle of each row, (n,), in any numbering.

    Returns:
        `CycleCapacities(cycles, charge_Ah, discharge_Ah)`, each (k,).

    Raises:
        SpecError: unequal lengths, or time that runs backwards within a cycle.
    """
    rows = len(vector("time_s", time_s))
    given_A, numbers = vector("current_A", current_A, rows), vector("cycles", cycles, rows)
    clock_s = np.asarray(time_s)
    found = _capacities(clock_s, given_A, numbers)
    if not (np.isfinite(found.charge_Ah).all() and np.isfinite(found.discharge_Ah).all()):
        kept = np.isfinite(clock_s) & np.isfinite(given_A)
        found = _capacities(clock_s[kept], given_A[kept], numbers[kept])
    return found


def _capacities(time_s: Numbers, amps: Numbers, cycles: Numbers) -> CycleCapacities:
    blocks = find_blocks(cycles)
    charge_Ah, discharge_Ah = np.empty(len(blocks.cycle)), np.empty(len(blocks.cycle))
    with np.errstate(invalid="ignore"):
        for first, last in _portions(blocks):
            rows = slice(blocks.start[first], blocks.stop[last - 1])
            part = Blocks(blocks.cycle[first:last], blocks.start[first:last] - rows.start, blocks.stop[first:last] - rows.start)
            charge_Ah[first:last], discharge_Ah[first:last] = _portion(time_s[rows], amps[rows], part)
    return _merged(blocks, charge_Ah, discharge_Ah)


def _portions(blocks: Blocks) -> Iterator[tuple[int, int]]:
    """Consecutive blocks whose rows fit the working memory together, as (first, after the last); a longer one comes alone."""
    first = 0
    while first < len(blocks.cycle):
        fit = int(np.searchsorted(blocks.stop, blocks.start[first] + _PORTION, side="right"))
        yield first, max(fit, first + 1)
        first = max(fit, first + 1)


def _portion(time_s: Numbers, amps: Numbers, blocks: Blocks) -> tuple[Array, Array]:
    rows = len(time_s)
    work, weights = _MEMORY.rows[:, :rows] if rows <= _PORTION else np.empty((2, rows))
    trapezoid_weights_h(durations_s(time_s, blocks, out=work), out=weights)
    np.maximum(amps, 0.0, out=work, dtype=np.float64)
    work *= weights
    charge = sums(work, blocks)
    np.minimum(amps, 0.0, out=work, dtype=np.float64)
    work *= weights
    return charge, np.abs(sums(work, blocks))


def _merged(blocks: Blocks, charge_Ah: Array, discharge_Ah: Array) -> CycleCapacities:
    """One entry a cycle, of the blocks that hold more than a row."""
    long = blocks.stop - blocks.start > 1
    numbers, charge_Ah, discharge_Ah = blocks.cycle[long], charge_Ah[long], discharge_Ah[long]
    if (np.diff(numbers) > 0).all():
        return CycleCapacities(numbers, charge_Ah, discharge_Ah)
    place, first = places(numbers)
    return CycleCapacities(numbers[first], sums_by_place(place, charge_Ah), sums_by_place(place, discharge_Ah))


def places(numbers: Integers) -> tuple[Integers, Integers]:
    """Where each of the numbers comes in the order of first appearances, (k,), and the first appearances themselves, (m,)."""
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[inverse], first[order]


def sums_by_place(place: Integers, values: Array) -> Array:
    """Sum of the values at each place, (k,) to (m,)."""
    total = np.zeros(int(place.max(initial=-1)) + 1)
    np.add.at(total, place, values)
    return total
