"""What ended the discharge of each cycle, as far as rows can tell; the protocol is not asked.

A limit shows as a figure that repeats: discharges that stop at one voltage while their charges differ were stopped by the
voltage; discharges that stop after one charge while their voltages differ were stopped by charge or time (which of the two,
a constant current does not tell). Where both repeat, as in cells that do not age, rows cannot tell and nothing is said.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.features.blocks import Array, Blocks, last_rows, range_sums, ranges, runs

END_FIGURES = ("end_V", "end_Ah", "held", "last_A", "least_A")
END_REASONS = ("voltage_hold", "voltage_limit", "charge_or_time", "cut_short", "unfinished")

_REST_SHARE = 1e-3
_FULL, _TAPERED = 0.9, 0.5  # of a discharge's largest current: a hold begins after the one and ends below the other
_SAME_V, _OTHER_V = 0.01, 0.05
_SAME_SHARE, _OTHER_SHARE = 1e-3, 0.01
_LEAST_CYCLES = 3


def discharge_ends(volts: Array, amps: Array, passed_s: Array, blocks: Blocks, nominal_Ah: float | None) -> dict[str, Array]:
    """How the last discharge of each block ended.

    Returns:
        Each (k,), NaN without a discharge: `end_V`, voltage in its last row; `end_Ah`, what it took out; `held`, 1 where its
        current fell to less than half while the voltage stood still within 10 mV. And of each block `last_A`, the current in
        its last row, and `least_A`, the size below which a current counts as rest.
    """
    count = len(blocks.cycle)
    found = {name: np.full(count, np.nan) for name in END_FIGURES}
    size = np.abs(amps)
    largest_A = np.maximum.reduceat(size, blocks.start)
    found["least_A"] = np.full(count, _REST_SHARE * nominal_Ah) if nominal_Ah else _REST_SHARE * largest_A
    found["last_A"] = amps[blocks.stop - 1]
    start, stop = runs(amps < -blocks.spread(found["least_A"]), blocks)
    start, stop = start[stop - start > 1], stop[stop - start > 1]
    if not len(start):
        return found
    block = blocks.of_rows(start)
    last = np.append(np.diff(block) > 0, True)
    start, stop, block = start[last], stop[last], block[last]
    spans = Blocks(block, start, stop)
    peak = np.maximum.reduceat(np.append(size, 0.0), np.stack([start, stop], axis=1).ravel())[::2]
    full = np.zeros(len(amps), dtype=np.bool_)
    inside = np.repeat(peak, stop - start)
    rows = ranges(start, stop)
    full[rows] = size[rows] >= _FULL * inside
    begun = last_rows(full, spans)
    out_Ah = np.zeros(len(amps))
    out_Ah[:-1] = passed_s[:-1] * (amps[1:] + amps[:-1]) / -7200
    end = stop - 1
    still = np.abs(volts[end] - volts[begun]) <= _SAME_V
    found["end_V"][block], found["end_Ah"][block] = volts[end], range_sums(out_Ah, start, stop - 1)
    found["held"][block] = (size[end] < _TAPERED * peak) & still
    return found


def end_reasons(figures: NDArray[np.void], complete: bool) -> list[str | None]:
    """What ended each cycle's last discharge, one of `END_REASONS` or None, (k,).

    Args:
        figures: `END_FIGURES` of each cycle in the order of the test, (k,).
        complete: whether the recording is; if not, and current flows in its last row, its last cycle is `unfinished`.

    Returns:
        `voltage_hold`: the current tapered at a constant voltage. `voltage_limit`, `charge_or_time`: see above; at least three
        cycles must show it. `cut_short`: stopped more than 50 mV above the limit at which others stop, with less charge.
    """
    volts, charge, held = figures["end_V"], figures["end_Ah"], figures["held"] == 1
    plain = np.isfinite(volts) & (charge > 0) & ~held
    reasons: list[str | None] = ["voltage_hold" if h else None for h in held]
    if plain.sum() >= _LEAST_CYCLES:
        limit_V, usual_Ah = float(np.median(volts[plain])), float(np.median(charge[plain]))
        same_V = plain & (np.abs(volts - limit_V) <= _SAME_V)
        same_Ah = plain & (np.abs(charge - usual_Ah) <= _SAME_SHARE * usual_Ah)
        by_voltage = _repeats(same_V, charge, _OTHER_SHARE * usual_Ah)
        by_charge = _repeats(same_Ah, volts, _OTHER_V)
        short = plain & by_voltage & (volts > limit_V + _OTHER_V) & (charge < charge[same_V].min(initial=np.inf))
        if by_voltage != by_charge:
            _name(reasons, same_V if by_voltage else same_Ah, "voltage_limit" if by_voltage else "charge_or_time")
            _name(reasons, short, "cut_short")
    if len(figures) and not complete and abs(figures["last_A"][-1]) > figures["least_A"][-1]:
        reasons[-1] = "unfinished"
    return reasons


def _repeats(same: NDArray[np.bool_], other: Array, least: float) -> bool:
    """Whether a figure is the same in enough cycles while the other one differs."""
    return bool(same.sum() >= _LEAST_CYCLES and np.ptp(other[same]) > least)


def _name(reasons: list[str | None], which: NDArray[np.bool_], reason: str) -> None:
    for row in np.flatnonzero(which):
        reasons[row] = reason
