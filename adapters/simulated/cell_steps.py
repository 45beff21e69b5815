"""What a cell is asked to do, step by step, and what it did: the language between protocols and the cell's model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adapters.simulated.cell_parameters import CellState
from orchestrator.domain.recording import CHECKUP_STEP_ID

Array = NDArray[np.float64]


class Ending(StrEnum):
    """Why a step ended."""

    DURATION = "duration"
    VOLTAGE = "voltage"
    CURRENT = "current"
    OUT_OF_RANGE = "out of range"


class Cause(StrEnum):
    """What kind of thing broke a simulated cycle off.

    `SOLVER`: the equations could not be solved, which says nothing about the cell. `INFEASIBLE`: the cell cannot do the step,
    or only where the model was never looked at. `SAFETY`: a safety limit. `TIMEOUT`: it took too long to compute.
    """

    SOLVER = "solver"
    INFEASIBLE = "infeasible"
    SAFETY = "safety"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class CellStep:
    """One step in the cell's own terms.

    Attributes:
        number: step number within the cycle, from 1; within a check-up, from `CHECKUP_STEP_ID` + 1.
        what: the step in words, for messages.
        current_A: held current, positive when charging; 0 rests; not used while a voltage is held.
        voltage_V: held voltage, or None.
        until_above_V, until_below_V, until_current_A: what ends the step before its duration.
        max_duration_s: it ends then at the latest.
        must_end_early: reaching `max_duration_s` is a failure: the step has no end of its own there.
        sample_times_s: when to sample, from 0 to `max_duration_s`; the end is sampled in any case.
        frequency_Hz: of an impedance spectrum measured at this rest, one for each sample after the first; else None.
    """

    number: int
    what: str
    current_A: float
    voltage_V: float | None
    max_duration_s: float
    sample_times_s: Array = field(repr=False, compare=False)
    until_above_V: float | None = None
    until_below_V: float | None = None
    until_current_A: float | None = None
    must_end_early: bool = False
    frequency_Hz: Array | None = field(default=None, repr=False, compare=False)

    @property
    def label(self) -> str:
        """The step for messages, by number and in words."""
        return f"{step_name(self.number)} ({self.what})"


def step_name(number: int) -> str:
    """A step by its number, for messages."""
    return f"step {number}" if number <= CHECKUP_STEP_ID else f"step {number - CHECKUP_STEP_ID} of the check-up"


@dataclass(frozen=True)
class StepTrace:
    """What one step did: times since the cycle's start (n,), and columns (n,) by name.

    Columns: `voltage_V`, `current_A` (positive when charging), `temperature_K`, `anode_potential_V` (graphite against
    lithium at the separator), `discharged_Ah` (net, from the cycle's start).
    """

    step: CellStep
    began_s: float
    time_s: Array
    columns: dict[str, Array]
    ending: Ending

    @classmethod
    def empty(cls, step: CellStep, began_s: float, ending: Ending) -> StepTrace:
        """A step whose end condition held before it began: no time passed in it."""
        return cls(step, began_s, np.empty(0), {}, ending)

    @property
    def duration_s(self) -> float:
        """How long the step took."""
        return float(self.time_s[-1]) - self.began_s if len(self.time_s) else 0.0


class CellFailureError(Exception):
    """The simulated cell could not do a step; `done` holds what it did before, the failing step's beginning included."""

    def __init__(self, why: str, partial: StepTrace | None = None, kind: Cause = Cause.SOLVER) -> None:
        super().__init__(why)
        self.why, self.kind, self.done = why, kind, [] if partial is None else [partial]

    def after(self, traces: list[StepTrace]) -> CellFailureError:
        """The same failure, with the steps done before it in front."""
        self.done = [*traces, *self.done]
        return self


class CyclingCell(Protocol):
    """Something that runs steps as a cell would: the PyBaMM model, or a cheap stand-in for tests."""

    def run(self, steps: Iterable[CellStep], state: CellState, voltage_V: float, ambient_K: float) -> list[StepTrace]:
        """Run steps from the equilibrium at a voltage; may raise `CellFailureError`."""
        ...

    def impedance(
        self, frequency_Hz: Array, state: CellState, voltage_V: float, ambient_K: float, discharged_Ah: float
    ) -> NDArray[np.complex128]:
        """The impedance (ohm) of the cell rested after a charge was taken out of the equilibrium at a voltage; (n,) to (n,)."""
        ...
