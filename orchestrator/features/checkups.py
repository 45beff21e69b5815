"""Recording -> what its check-ups measured: slow capacity, resistance of a pulse, impedance spectra. Nothing is fitted.

A check-up's rows carry the number of the cycle after which it was made (see `Recording.checkups`); so do the answers here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.recording import Recording
from orchestrator.features.impedance import Spectrum
from orchestrator.features.refusals import require_recording

Array = NDArray[np.float64]
LONGEST_PULSE_S = 120.0
_REST_SHARE = 1e-2  # of the largest current of the check-up: below it a sample counts as rest
_REST_RATE_C = 1e-3  # likewise, where the nominal capacity is known: a check-up may be all rest, and its current all noise
_REST_SAMPLES = 3  # whose mean is the voltage before the pulse


def checkup_capacity_Ah(recording: Recording) -> dict[int, float]:
    """Charge of the largest discharge step of each check-up, Ah, by cycle; check-ups without a discharge are left out."""
    require_recording(recording, "checkup_capacity_Ah")
    found = {}
    for cycle, steps in _checkups(recording):
        rest_A = _rest_A(steps, recording.nominal_capacity_Ah)
        charges = [float(np.trapezoid(-amps, time_s)) / 3600 for time_s, _, amps in steps if float(amps.mean()) < -rest_A]
        if charges:
            found[cycle] = max(charges)
    return found


def pulse_resistance_ohm(recording: Recording) -> dict[int, float]:
    """Resistance of the first current pulse from rest of each check-up, ohm, by cycle; check-ups without a pulse are left out.

    A pulse is a step of at most two minutes under constant current after a rest. Its resistance is (V_end - V_rest)/(I - I_rest),
    at the pulse's last sample: ohmic drop, charge transfer and as much diffusion as the pulse's length lets in (Battery Test
    Manual for Electric Vehicles, INL/EXT-15-34184, section 3.5).
    """
    require_recording(recording, "pulse_resistance_ohm")
    found = {}
    for cycle, steps in _checkups(recording):
        resistance = _first_pulse_ohm(steps, _rest_A(steps, recording.nominal_capacity_Ah))
        if resistance is not None:
            found[cycle] = resistance
    return found


def impedance_spectra(recording: Recording) -> dict[int, Spectrum]:
    """The impedance spectrum of each check-up that measured one, by cycle, from high to low frequency.

    Spectra of a vendor's file are found as well, under the cycle numbers of the file (1 where it counted none); several spectra
    under one number would become one.

    Raises:
        SpecError: if it is no recording.
    """
    require_recording(recording, "impedance_spectra")
    if "frequency_hertz" not in recording.columns:
        return {}
    frequency_Hz, cycles = recording.column("frequency_hertz"), _cycles(recording)
    impedance = recording.column("real_impedance_ohm") + 1j * recording.column("imaginary_impedance_ohm")
    measured = np.isfinite(frequency_Hz) & np.isfinite(impedance)
    found = {}
    for cycle in np.unique(cycles[measured]):
        rows = np.flatnonzero(measured & (cycles == cycle))
        rows = rows[np.argsort(-frequency_Hz[rows], kind="stable")]
        found[int(cycle)] = Spectrum(frequency_Hz[rows], impedance[rows])
    return found


def _checkups(recording: Recording) -> Iterator[tuple[int, list[tuple[Array, Array, Array]]]]:
    """The steps of each check-up as (time in s, voltage, current), by cycle."""
    rows = recording.checkups()
    if not len(rows):
        return
    time_s, volts, amps = (rows.column(name) for name in ("test_time_second", "voltage_volt", "current_ampere"))
    cycles, steps = _cycles(rows), rows.column("step_id")
    for cycle in np.unique(cycles):
        here = np.flatnonzero(cycles == cycle)
        parts = np.split(here, np.flatnonzero(np.diff(steps[here]) != 0) + 1)
        yield int(cycle), [(time_s[part], volts[part], amps[part]) for part in parts]


def _cycles(recording: Recording) -> NDArray[np.int64]:
    counts = recording.columns.get("cycle_count")
    return np.ones(len(recording), dtype=np.int64) if counts is None else np.asarray(counts, dtype=np.int64)


def _rest_A(steps: list[tuple[Array, Array, Array]], nominal_Ah: float | None) -> float:
    """Below this current a sample counts as rest, ampere."""
    largest_A = max(float(np.abs(amps).max()) for _, _, amps in steps)
    return max(_REST_SHARE * largest_A, _REST_RATE_C * (nominal_Ah or 0.0))


def _first_pulse_ohm(steps: list[tuple[Array, Array, Array]], rest_A: float) -> float | None:
    for (_, rest_V, before_A), (time_s, volts, amps) in pairwise(steps):
        rested = np.abs(before_A[-_REST_SAMPLES:]).max() < rest_A
        constant = np.abs(amps).min() > rest_A and np.ptp(amps) < 0.02 * np.abs(amps).max()
        if rested and constant and time_s[-1] - time_s[0] <= LONGEST_PULSE_S:
            change_A = float(amps.mean() - before_A[-_REST_SAMPLES:].mean())
            return float(volts[-1] - rest_V[-_REST_SAMPLES:].mean()) / change_A
    return None
