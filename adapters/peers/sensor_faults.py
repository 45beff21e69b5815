"""What faults of sensors, contacts and a cycler's clock make of a healthy cell's recording: pure functions of its columns.

Chosen sizes, from no data sheet: a bad contact adds I R to the voltage, jumps to three times R for a tenth of the rows, and is
5 mV noisy; it adds R to an impedance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.peers.injected_faults import SENSOR_FAULTS, FaultKind, InjectedFault

Columns = Mapping[str, NDArray[Any]]
Array = NDArray[np.float64]
RECORDING_FAULTS = SENSOR_FAULTS | {FaultKind.CLOCK_JUMP}
TEMPERATURE, VOLTAGE, CURRENT, TIME = "surface_temperature_celsius", "voltage_volt", "current_ampere", "test_time_second"
IMPEDANCE = "real_impedance_ohm"
JUMP_FACTOR, JUMPING_SHARE, JUMP_ENDS = 3.0, 0.1, 0.3
CONTACT_NOISE_V = 5e-3


def as_recorded(
    pieces: Sequence[Columns], faults: Iterable[InjectedFault], started_h: float, seed: Sequence[int]
) -> list[dict[str, NDArray[Any]]]:
    """The pieces of a recording as faulty sensors leave them.

    Args:
        pieces: a run's columns under Battery Data Format names, cut anywhere (a check-up each), from its start on: a stuck
            sensor repeats what was read before, maybe in an earlier piece. Arrays of equal length (n,) within a piece.
        faults: kinds of `RECORDING_FAULTS` count, others are passed over.
        started_h: lab time at which the run started.
        seed: of jumps, noise and lost rows; more pieces of the same run change nothing in those before.

    Returns:
        As many pieces, some perhaps shorter.
    """
    plan = [fault for fault in faults if fault.kind in RECORDING_FAULTS]
    held: dict[int, float] = {}
    return [_piece(dict(piece), plan, started_h, [*seed, n], held) for n, piece in enumerate(pieces)]


def _piece(
    columns: dict[str, NDArray[Any]], plan: list[InjectedFault], started_h: float, seed: list[int], held: dict[int, float]
) -> dict[str, NDArray[Any]]:
    lab_h = started_h + columns[TIME] / 3600
    kept = np.ones(len(lab_h), dtype=bool)
    for number, fault in enumerate(plan):
        now = (lab_h >= fault.at_h) & (lab_h < fault.until_h)
        rng = np.random.default_rng([*seed, number])
        if fault.kind is FaultKind.SENSOR_DROPOUT:
            kept &= ~(now & (rng.random(len(now)) < fault.magnitude))
        elif fault.kind is FaultKind.CLOCK_JUMP:
            columns[TIME] = columns[TIME] + np.where(now, fault.magnitude * 3600, 0.0)
        elif fault.kind is FaultKind.CONTACT_LOSS:
            columns[VOLTAGE] = columns[VOLTAGE] + np.where(now, _bad_contact_V(columns[CURRENT], fault.magnitude, rng), 0.0)
            if IMPEDANCE in columns:
                columns[IMPEDANCE] = columns[IMPEDANCE] + np.where(now, fault.magnitude, 0.0)
        elif TEMPERATURE in columns:
            columns[TEMPERATURE] = np.where(now, _read_as(fault, number, columns[TEMPERATURE], lab_h, held), columns[TEMPERATURE])
    return {name: column[kept] for name, column in columns.items()}


def _read_as(fault: InjectedFault, number: int, temperature: Array, lab_h: Array, held: dict[int, float]) -> float:
    """What a faulty thermocouple reads."""
    if fault.kind is FaultKind.THERMOCOUPLE_OPEN:
        return fault.magnitude
    before = temperature[lab_h < fault.at_h]
    if len(before):
        held[number] = float(before[-1])
    elif len(temperature):
        held.setdefault(number, float(temperature[0]))
    return held.get(number, np.nan)


def _bad_contact_V(current_A: Array, resistance_ohm: float, rng: np.random.Generator) -> Array:
    """The voltage that a bad contact adds, row by row: it opens and closes at random."""
    factor = np.where(_telegraph(len(current_A), rng), JUMP_FACTOR, 1.0)
    return current_A * resistance_ohm * factor + CONTACT_NOISE_V * rng.standard_normal(len(current_A))


def _telegraph(n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """True for `JUMPING_SHARE` of n rows on average, in spells of 1/`JUMP_ENDS` rows."""
    begins = JUMP_ENDS * JUMPING_SHARE / (1 - JUMPING_SHARE)
    draws, state = rng.random(n), False
    states = np.empty(n, dtype=bool)
    for i, draw in enumerate(draws):
        state = draw >= JUMP_ENDS if state else draw < begins
        states[i] = state
    return states
