"""Rows of many cycles at once: contiguous blocks of one cycle's rows, and sums and extremes over them without a loop.

A sum over a block depends on the rows of that block alone, to the last bit: it is the same wherever the block lies in the
arrays. That is what lets a running test be summed up piece by piece.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.quality import QualityFlag

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
# A row with one of these says nothing that could be integrated over: it is left out, and counted.
UNUSABLE = int(
    QualityFlag.TIME_BACKWARDS | QualityFlag.MISSING_VALUE | QualityFlag.IMPOSSIBLE_VOLTAGE | QualityFlag.IMPOSSIBLE_CURRENT
)


@dataclass(frozen=True)
class Blocks:
    """Where cycles begin and end in arrays of rows.

    Attributes:
        cycle: number of the cycle of each block, (k,); a number comes twice where a cycle was left and taken up again.
        start, stop: the block's rows are `start[i]:stop[i]`, each (k,); they cover all rows in order.
    """

    cycle: Integers
    start: Integers
    stop: Integers

    def spread(self, values: Array) -> Array:
        """One value a block, (k,), to one a row, (n,)."""
        return np.repeat(values, self.stop - self.start)

    def of_rows(self, rows: Integers) -> Integers:
        """The block of each of these rows, (m,) to (m,)."""
        found: Integers = np.searchsorted(self.start, rows, side="right") - 1
        return found


def find_blocks(cycles: ArrayLike) -> Blocks:
    """The contiguous blocks of one cycle number each.

    Args:
        cycles: the cycle of each row, (n,).

    Raises:
        SpecError: if a cycle number is no number, or `cycles` is no vector.
    """
    numbers = cycle_numbers(cycles)
    start = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
    start = np.concatenate([np.zeros(min(len(numbers), 1), dtype=np.int64), start])
    return Blocks(numbers[start], start, np.append(start, len(numbers))[1:])


def cycle_numbers(cycles: ArrayLike) -> Integers:
    """Cycle numbers as integers, (n,); SpecError where one is no number."""
    given = vector("cycle_count", cycles)
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        row = int(np.flatnonzero(~np.isfinite(given))[0])
        raise SpecError(Fault("cycle_count", f"is no number in row {row}.", "Give each row the cycle that it belongs to."))
    return given.astype(np.int64, copy=False)


def vector(name: str, values: ArrayLike, length: int | None = None) -> NDArray[np.generic]:
    """Values as an array (n,); SpecError where they have another shape or length."""
    given = np.asarray(values)
    if given.ndim != 1 or (length is not None and len(given) != length):
        wanted = "a vector" if length is None else f"a vector of {length}"
        raise SpecError(Fault(name, f"must be {wanted} (got shape {given.shape})."))
    if given.dtype.kind not in "fiub":
        raise SpecError(Fault(name, f"must be numbers (got {given.dtype})."))
    return given


def durations_s(time_s: NDArray[np.generic], blocks: Blocks, out: Array | None = None) -> Array:
    """Time from each row to the next of its block, s, (n,); 0 for the last row of a block.

    Raises:
        SpecError: if time runs backwards within a block.
    """
    passed = np.empty(len(time_s)) if out is None else out
    np.subtract(time_s[1:], time_s[:-1], out=passed[:-1], dtype=np.float64)
    passed[blocks.stop - 1] = 0.0
    if len(passed) and passed.min() < 0:
        raise backwards(int(blocks.cycle[blocks.of_rows(np.flatnonzero(passed < 0)[:1])[0]]))
    return passed


def backwards(cycle: int) -> SpecError:
    """The error of time that runs backwards."""
    return SpecError(f"time runs backwards within cycle {cycle}. Ingest the file with quality checks before it is summarised.")


def trapezoid_weights_h(passed_s: Array, out: Array | None = None) -> Array:
    """What each row counts in an integral over time by trapezoid, h, (n,): half the time to either neighbour of its block."""
    weights = np.empty_like(passed_s) if out is None else out
    weights[:1] = passed_s[:1]
    np.add(passed_s[1:], passed_s[:-1], out=weights[1:])
    weights *= 0.5 / 3600
    return weights


def sums(values: Array, blocks: Blocks) -> Array:
    """Sum over each block, (n,) to (k,)."""
    if not len(blocks.start):
        return np.zeros(0)
    total: Array = np.add.reduceat(values, blocks.start)
    return total


def largest(values: Array, blocks: Blocks) -> Array:
    """Maximum over each block, (n,) to (k,)."""
    if not len(blocks.start):
        return np.zeros(0)
    found: Array = np.maximum.reduceat(values, blocks.start)
    return found


def first_rows(which: Mask, blocks: Blocks) -> Integers:
    """The first row of each block for which `which` holds, (k,); -1 where there is none."""
    rows = np.flatnonzero(which)
    place = np.searchsorted(rows, blocks.start)
    inside = place < np.searchsorted(rows, blocks.stop)
    found: Integers = np.where(inside, np.append(rows, -1)[np.minimum(place, len(rows))], -1)
    return found


def last_rows(which: Mask, blocks: Blocks) -> Integers:
    """The last row of each block for which `which` holds, (k,); -1 where there is none."""
    rows = np.flatnonzero(which)
    end = np.searchsorted(rows, blocks.stop)
    inside = end > np.searchsorted(rows, blocks.start)
    found: Integers = np.where(inside, np.append(rows, -1)[end - 1], -1)
    return found


def range_sums(values: Array, start: Integers, stop: Integers) -> Array:
    """Sum over `values[start[i]:stop[i]]`, (m,); the ranges are disjoint and in order, 0 where one is empty."""
    total = np.zeros(len(start))
    some = np.flatnonzero(stop > start)
    if len(some):
        edges = np.stack([start[some], stop[some]], axis=1).ravel()
        total[some] = np.add.reduceat(np.append(values, 0.0), edges)[::2]
    return total


def runs(which: Mask, blocks: Blocks) -> tuple[Integers, Integers]:
    """Stretches of rows for which `which` holds, none across two blocks: first row and the row after the last, each (m,)."""
    before, after = np.zeros_like(which), np.zeros_like(which)
    before[1:], after[:-1] = which[:-1], which[1:]
    before[blocks.start], after[blocks.stop - 1] = False, False
    return np.flatnonzero(which & ~before), np.flatnonzero(which & ~after) + 1


def ranges(start: Integers, stop: Integers) -> Integers:
    """The rows of all `start[i]:stop[i]`, one after another, (sum of lengths,)."""
    length = stop - start
    begin = np.cumsum(length) - length
    rows: Integers = np.arange(int(length.sum())) + np.repeat(start - begin, length)
    return rows
