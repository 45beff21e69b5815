"""Check-ups as rows of the recording: what the channel measured, and what a perfect one would have measured then."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from adapters.simulated.cell_steps import Array
from adapters.simulated.instrument import Instrument, as_columns
from adapters.simulated.journal import Start
from adapters.simulated.life_test import CheckUp

Rows = dict[str, NDArray[Any]]


def measured(start: Start, checkup: CheckUp) -> Rows:
    """The rows of a check-up, noise and all."""
    return _columns(start, checkup, _instrument(start, checkup).measure(checkup.samples))


def true(start: Start, checkup: CheckUp) -> Rows:
    """The rows of `measured`, free of noise."""
    return _columns(start, checkup, _instrument(start, checkup).sampled(checkup.samples))


def _instrument(start: Start, checkup: CheckUp) -> Instrument:
    return Instrument(start.seed, start.key, checkup.cycle, start.instrument)


def _columns(start: Start, checkup: CheckUp, samples: dict[str, Array]) -> Rows:
    ambient, own = start.request.ambient_temperature_degC, start.request.checkup is not None
    return as_columns(samples, checkup.start_s, checkup.cycle, ambient, checkups=own)
