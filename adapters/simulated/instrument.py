"""What a cycler's channel makes of the truth: the moments it records, noise, converter steps, and a drifting calibration.

The current's calibration drifts from check-up to check-up, not within one. The defaults are those of a good multichannel
cycler with a thermocouple on the can; chosen, not taken from a data sheet.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adapters.simulated.cell_steps import Array
from adapters.simulated.checkup_cycle import CLOCK_TICK_S, SPECTRUM
from adapters.simulated.seeding import generator
from orchestrator.domain import Fault, SpecError
from orchestrator.domain.recording import CHECKUP_STEP_ID
from orchestrator.domain.value import from_plain, value

SHORTEST_PERIOD_S = 1e-3


@value
class InstrumentSettings:
    """A channel.

    A row is recorded where a step begins and ends, every `period_s` in it, and whenever voltage or current has moved into
    another interval of `delta_voltage_V` or `delta_current_A` (as finely as the model was sampled).

    Attributes:
        period_s: longest time between two rows of a step.
        delta_voltage_V, delta_current_A: intervals that call for a row of their own; None: none.
        voltage_resolution_V, current_resolution_A, temperature_resolution_K: steps of the converters; 0 is continuous.
        capacity_resolution_Ah: step of the counters of charge; 0 is continuous.
        voltage_noise_V, current_noise_A, temperature_noise_K: standard deviations, from row to row.
        current_gain_sd: standard deviation of the current's calibration from check-up to check-up, relative: an error that
            averages out in no cycle (0.45 mAh on a discharge of 1.1 Ah).
        impedance_noise: standard deviation of real and imaginary part, relative to the modulus.
    """

    period_s: float = 30.0
    delta_voltage_V: float | None = 5e-3
    delta_current_A: float | None = 0.05
    voltage_resolution_V: float = 1e-4
    current_resolution_A: float = 1e-4
    temperature_resolution_K: float = 0.1
    capacity_resolution_Ah: float = 1e-7
    voltage_noise_V: float = 2e-4
    current_noise_A: float = 2e-4
    temperature_noise_K: float = 0.05
    current_gain_sd: float = 4e-4
    impedance_noise: float = 2e-3

    def __post_init__(self) -> None:
        positive = ("period_s", "delta_voltage_V", "delta_current_A")
        faults = [
            Fault(name, f"must be {'positive' if name in positive else '>= 0'} (got {given:g}).")
            for name, given in vars(self).items()
            if given is not None and (given < 0 or (given == 0 and name in positive))
        ]
        if 0 < self.period_s < SHORTEST_PERIOD_S:
            faults.append(Fault("period_s", f"must be at least {SHORTEST_PERIOD_S:g} s (got {self.period_s:g})."))
        if faults:
            raise SpecError(faults)


GOOD_CYCLER = InstrumentSettings()


def settings_of(given: InstrumentSettings | Mapping[str, float | None] | None) -> InstrumentSettings:
    """Settings as a spec gives them: a table of some of the fields, or nothing.

    Raises:
        SpecError: if a field is unknown or out of range.
    """
    return given if isinstance(given, InstrumentSettings) else from_plain(InstrumentSettings, dict(given or {}))


class Instrument:
    """One channel's view of one check-up; seeded by cycler, key and cycle, so that reading twice reads the same."""

    def __init__(self, seed: int, key: str, cycle: int, settings: InstrumentSettings | None = None) -> None:
        self._settings = settings = settings or GOOD_CYCLER
        self._rng = generator(seed, key, f"instrument/{cycle}")
        self.gain = 1 + settings.current_gain_sd * float(self._rng.standard_normal())

    def sampled(self, samples: dict[str, Array]) -> dict[str, Array]:
        """The rows that are recorded, free of noise."""
        steps = samples["step"]
        edges = np.flatnonzero(np.diff(steps, prepend=np.nan, append=np.nan) != 0)
        parts = [self._step({n: c[a:b] for n, c in samples.items()}) for a, b in pairwise(edges)]
        return {name: np.concatenate([part[name] for part in parts]) for name in samples} if parts else samples

    def measure(self, samples: dict[str, Array]) -> dict[str, Array]:
        """The samples of a check-up as the channel records them; call once per instrument."""
        rows, chosen = self.sampled(samples), self._settings
        n, draw = len(rows["time_s"]), self._rng.standard_normal
        volts = rows["voltage_V"] + chosen.voltage_noise_V * draw(n)
        amps = self.gain * rows["current_A"] + chosen.current_noise_A * draw(n)
        kelvin = rows["temperature_degC"] + chosen.temperature_noise_K * draw(n)
        measured = {
            **rows,
            "voltage_V": _in_steps(volts, chosen.voltage_resolution_V),
            "current_A": _in_steps(amps, chosen.current_resolution_A),
            "temperature_degC": _in_steps(kelvin, chosen.temperature_resolution_K),
            "charged_Ah": _in_steps(self.gain * rows["charged_Ah"], chosen.capacity_resolution_Ah),
            "discharged_Ah": _in_steps(self.gain * rows["discharged_Ah"], chosen.capacity_resolution_Ah),
        }
        if SPECTRUM[0] in rows:
            modulus = np.hypot(rows["Z_real_ohm"], rows["Z_imag_ohm"])
            for part in SPECTRUM[1:]:
                measured[part] = rows[part] + chosen.impedance_noise * modulus * draw(n)
        return measured

    def _step(self, step: dict[str, Array]) -> dict[str, Array]:
        """The rows of one step; a spectrum's are its frequencies."""
        time_s, chosen = step["time_s"], self._settings
        if len(time_s) < 3 or np.isfinite(step.get("frequency_Hz", np.array(np.nan))).any():
            return step
        ticks = np.arange(time_s[0] + chosen.period_s, time_s[-1], chosen.period_s)
        all_s = np.union1d(time_s, ticks)
        dense = {name: np.interp(all_s, time_s, column) for name, column in step.items()}
        kept = np.isin(all_s, ticks)
        kept[[0, -1]] = True
        for name, interval in (("voltage_V", chosen.delta_voltage_V), ("current_A", chosen.delta_current_A)):
            if interval is not None:
                kept[1:] |= np.diff(np.floor(dense[name] / interval)) != 0
        return {name: column[kept] for name, column in dense.items()}


def _in_steps(values: Array, step: float) -> Array:
    return np.round(values * (1 / step)) / (1 / step) if step > 0 else values


def _clock(time_s: Array) -> Array:
    """What a clock shows: whole ticks that have passed; a ten-thousandth of one is arithmetic, not time."""
    per_s = round(1 / CLOCK_TICK_S)
    return np.asarray(np.floor(time_s * per_s + 1e-4) / per_s)


def as_columns(
    samples: dict[str, Array], start_s: float, cycle: int, ambient_degC: float, *, checkups: bool = False
) -> dict[str, NDArray[np.generic]]:
    """One check-up under Battery Data Format names; `test_time_second` counts from the test's start, in ticks of the clock.

    Args:
        samples: columns as in `SimulatedCycle`, after the channel.
        start_s: test time at which the cycle began.
        cycle: its number.
        ambient_degC: the chamber's temperature.
        checkups: whether the test makes check-ups of their own: then steps have identifiers and spectra their columns, in every
            part of the recording alike.
    """
    n, step = len(samples["time_s"]), samples["step"].astype(np.int64)
    ageing_steps = int(step[step <= CHECKUP_STEP_ID].max(initial=0))
    columns: dict[str, NDArray[np.generic]] = {
        "test_time_second": _clock(start_s + samples["time_s"]),
        "voltage_volt": samples["voltage_V"],
        "current_ampere": samples["current_A"],
        "cycle_count": np.full(n, cycle, dtype=np.int64),
        "step_count": np.where(step > CHECKUP_STEP_ID, step - CHECKUP_STEP_ID + ageing_steps, step),
        "ambient_temperature_celsius": np.full(n, ambient_degC),
        "surface_temperature_celsius": samples["temperature_degC"],
        "charging_capacity_ah": samples["charged_Ah"],
        "discharging_capacity_ah": samples["discharged_Ah"],
    }
    if checkups:
        names = ("frequency_hertz", "real_impedance_ohm", "imaginary_impedance_ohm")
        spectra = {name: samples.get(own, np.full(n, np.nan)) for name, own in zip(names, SPECTRUM, strict=True)}
        columns.update({"step_id": step, **spectra})
    return columns
