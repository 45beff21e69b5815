"""Rows for the benchmark of recordings: simulated check-ups, measured anew as often as rows are wanted.

A check-up of the simulated cell takes a tenth of a second and has some 350 rows; five million rows would take half an hour. So
a few dozen check-ups are simulated, over the life of a cell under two protocols, and drawn at random. Each time one is drawn its
steps end a little later, its voltage and temperature lie a little higher or lower, and a channel of its own measures
it: sampling, noise, converter steps and calibration are those of `adapters.simulated.instrument`. No two cycles
have the same digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from adapters.simulated.cell_model import pybamm_cell
from adapters.simulated.instrument import GOOD_CYCLER, Instrument, as_columns
from adapters.simulated.life_test import CheckUp, LifeTest
from orchestrator.domain import Candidate, RunRequest
from orchestrator.domain.cell_design import cell_design
from orchestrator.domain.recording import Columns, concatenate
from orchestrator.representation.charging import cc_cv

Array = NDArray[np.float64]
Samples = dict[str, Array]
DESIGN = cell_design("lfp_a123")
RATES_C = (1.0, 4.0)
_STEP_END_SD_S, _VOLTAGE_SD_V, _TEMPERATURE_SD_K = 0.5, 1e-3, 0.3
_CHARGING_SHARE = 0.35  # of the points of a cycle for features
_UNEVEN = 0.3  # of the time between two points
_FADE = 0.1  # of the capacity, from the first to the last cycle


@cache
def checkups(each: int) -> tuple[Samples, ...]:
    """What the cell truly did in `each` check-ups over its life, under each of two charging rates."""
    return tuple(samples for rate_C in RATES_C for samples in _life(rate_C, each))


def _life(rate_C: float, count: int) -> list[Samples]:
    candidate = Candidate({"charge_rate_C": rate_C})
    asked = RunRequest(
        "recordings", str(rate_C), candidate, DESIGN, cc_cv(candidate, DESIGN), max_cycles=5000, end_of_life=0.5,
        checkup_every_cycles=50,
    )  # fmt: skip
    test = LifeTest(asked, 0, pybamm_cell(DESIGN.name))
    return [found.samples for found in islice(test.run(), count) if isinstance(found, CheckUp)]


def recorded(rows: int, seed: int, pool: tuple[Samples, ...]) -> Columns:
    """At least so many rows of one long recording, as the simulated cycler records them."""
    return concatenate(list(_cycles(rows, seed, pool)))


def _cycles(rows: int, seed: int, pool: tuple[Samples, ...]) -> Iterator[Columns]:
    rng = np.random.default_rng(seed)
    made, start_s, cycle = 0, 0.0, 0
    while made < rows:
        cycle += 1
        truth = _another(pool[int(rng.integers(len(pool)))], rng)
        part = as_columns(Instrument(seed, "recordings", cycle).measure(truth), start_s, cycle, 30.0)
        made += len(part["test_time_second"])
        start_s += float(truth["time_s"][-1])
        yield part


def _another(samples: Samples, rng: np.random.Generator) -> Samples:
    """A cycle like this one that no other is equal to."""
    ends = np.concatenate([[0], np.diff(samples["step"]) != 0])
    delays_s = np.cumsum(ends * np.abs(_STEP_END_SD_S * rng.standard_normal(len(ends))))
    return {
        **samples,
        "time_s": samples["time_s"] + delays_s,
        "voltage_V": samples["voltage_V"] + _VOLTAGE_SD_V * rng.standard_normal(),
        "temperature_degC": samples["temperature_degC"] + _TEMPERATURE_SD_K * rng.standard_normal(),
    }


def ageing_cell(seed: int, cycles: int, points: int, pool: tuple[Samples, ...]) -> Columns:
    """A recording of `cycles` x `points` rows of a cell that fades: a charge, then a discharge, sampled at nearly even times.

    Times are whole milliseconds, voltages and currents in steps of the converter, with its noise.
    """
    rng = np.random.default_rng(seed)
    young, old = pool[0], pool[len(pool) // len(RATES_C) - 1]
    charging = round(_CHARGING_SHARE * points)
    aged = np.linspace(0.0, 1.0, cycles)[:, None] * rng.uniform(0.5, 1.5)
    parts = [(_even(young, sign, n), _even(old, sign, n)) for sign, n in ((1, charging), (-1, points - charging))]
    shorter = 1 - _FADE * aged
    charge_s, charge_V, charge_A = _between(*parts[0], aged, shorter)
    out_s, out_V, out_A = _between(*parts[1], aged, shorter)
    inside_s = np.concatenate([charge_s, charge_s[:, -1:] + 60 + out_s], axis=1)
    start_s = np.concatenate([[0.0], np.cumsum(inside_s[:-1, -1] + 60)])
    inside_s[:, 1:-1] += _UNEVEN * np.diff(inside_s)[:, 1:] * rng.random((cycles, points - 2))
    noise = rng.standard_normal((2, cycles, points))
    volts = np.concatenate([charge_V, out_V], axis=1) + GOOD_CYCLER.voltage_noise_V * noise[0]
    amps = np.concatenate([charge_A, out_A], axis=1) + GOOD_CYCLER.current_noise_A * noise[1]
    return {
        "test_time_second": np.round((inside_s + start_s[:, None]).ravel(), 3),
        "voltage_volt": np.round(volts.ravel(), 4),
        "current_ampere": np.round(amps.ravel(), 4),
        "cycle_count": np.repeat(np.arange(1, cycles + 1), points),
        "surface_temperature_celsius": np.round(30 + rng.standard_normal(cycles * points) / 10, 1),
    }


def _even(samples: Samples, sign: int, points: int) -> Array:
    """Time (s), voltage and current of the charge (sign 1) or discharge (-1) at even times, (3, points)."""
    rows = sign * samples["current_A"] > 0.01
    time_s = samples["time_s"][rows] - samples["time_s"][rows][0]
    even_s = np.linspace(0.0, time_s[-1], points)
    return np.stack([even_s, *(np.interp(even_s, time_s, samples[name][rows]) for name in ("voltage_V", "current_A"))])


def _between(young: Array, old: Array, aged: Array, shorter: Array) -> tuple[Array, Array, Array]:
    """Time, voltage and current between two ages, each (cycles, points)."""
    return young[0] * shorter, young[1] + aged * (old[1] - young[1]), young[2] + aged * (old[2] - young[2])
