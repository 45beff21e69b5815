"""Resistance from what the current did within cycles: its largest step, and its first pulse from rest."""

from __future__ import annotations

import numpy as np

from orchestrator.features.blocks import Array, Blocks, Integers, largest, sums

LONGEST_PULSE_S = 120.0
# Of a block's largest current: below it a sample counts as rest. Likewise of the nominal current, where it is known.
_REST_SHARE, _REST_RATE_C = 1e-2, 1e-3
_CONSTANT = 0.02  # of a pulse's current: what it may vary by
_REST_SAMPLES = 3  # whose mean is the voltage before the pulse


def largest_steps(volts: Array, amps: Array, blocks: Blocks) -> tuple[Array, Array]:
    """The largest change of current from a row to the next: its size in A, and the change of voltage over it in ohm, each (k,).

    The first of several that are equally large counts.
    """
    jump = np.zeros(len(amps))
    jump[:-1] = amps[1:] - amps[:-1]
    jump[blocks.stop - 1] = 0.0
    size = np.abs(jump)
    highest = largest(size, blocks)
    rows = np.flatnonzero(size == blocks.spread(highest))
    rows = rows[np.searchsorted(rows, blocks.start)]
    ohm = np.full(len(highest), np.nan)
    some = highest > 0
    ohm[some] = (volts[rows[some] + 1] - volts[rows[some]]) / jump[rows[some]]
    return highest, ohm


def first_pulses_ohm(time_s: Array, volts: Array, amps: Array, blocks: Blocks, nominal_Ah: float | None) -> Array:
    """Resistance of the first current pulse of each block, ohm, (k,); NaN where there is none.

    A pulse is a constant current of at most two minutes between two rests, told from the current alone. Its resistance is
    (V_end - V_rest)/(I - I_rest) at the pulse's last row: ohmic drop, charge transfer and as much diffusion as the pulse's
    length lets in (Battery Test Manual for Electric Vehicles, INL/EXT-15-34184, section 3.5).
    """
    found = np.full(len(blocks.cycle), np.nan)
    rest_A = np.maximum(_REST_SHARE * largest(np.abs(amps), blocks), _REST_RATE_C * (nominal_Ah or 0.0))
    segments, resting = _segments(amps, np.abs(amps) < blocks.spread(rest_A), blocks)
    start, stop, block = segments.start, segments.stop, segments.cycle
    if len(start) < 3:
        return found
    here = np.flatnonzero(~resting[1:-1] & resting[:-2] & resting[2:] & (block[:-2] == block[2:])) + 1
    here = here[(stop[here] - start[here] > 1) & (time_s[stop[here] - 1] - time_s[start[here]] <= LONGEST_PULSE_S)]
    here = here[np.append(True, np.diff(block[here]) > 0)[: len(here)]]
    if not len(here):
        return found
    pulse_A = (sums(amps, segments) / (stop - start))[here]
    rest_V, before_A = (_mean_before(values, start[here], start[here - 1]) for values in (volts, amps))
    ohm = (volts[stop[here] - 1] - rest_V) / (pulse_A - before_A)
    found[block[here]] = np.where(ohm > 0, ohm, np.nan)
    return found


def _segments(amps: Array, resting: np.ndarray, blocks: Blocks) -> tuple[Blocks, np.ndarray]:
    """Rests and constant currents, as blocks whose `cycle` is the block they lie in, and which of them are rests."""
    edge = np.ones(len(amps), dtype=np.bool_)
    varies = np.abs(amps[1:] - amps[:-1]) > _CONSTANT * np.maximum(np.abs(amps[1:]), np.abs(amps[:-1]))
    edge[1:] = (resting[1:] != resting[:-1]) | (varies & ~resting[1:])
    edge[blocks.start] = True
    start = np.flatnonzero(edge)
    return Blocks(blocks.of_rows(start), start, np.append(start[1:], len(amps))), resting[start]


def _mean_before(values: Array, row: Integers, earliest: Integers) -> Array:
    """Mean of up to three values before each row, none from before `earliest`, (m,)."""
    rows = row[:, None] - np.arange(1, _REST_SAMPLES + 1)
    inside = rows >= earliest[:, None]
    mean: Array = np.where(inside, values[np.maximum(rows, 0)], 0.0).sum(axis=1) / inside.sum(axis=1)
    return mean
