"""Computing a run some check-ups at a time, wherever it stands: the unit of work of a worker process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.peers.injected_faults import InjectedFault
from adapters.simulated.cell_presets import preset_for
from adapters.simulated.cell_steps import Cause, CyclingCell
from adapters.simulated.instrument import GOOD_CYCLER, InstrumentSettings
from adapters.simulated.life_test import CheckUp, LifeEnd, LifeTest
from adapters.simulated.run_faults import RunFaults
from adapters.simulated.run_files import RunFiles
from orchestrator.domain import RunRequest, RunState
from orchestrator.domain.value import from_plain, to_plain


@dataclass(frozen=True)
class Slice:
    """Some check-ups of one run, to be computed from where its files end.

    Attributes:
        folder: holds the run's files.
        seed: makes its cell.
        checkups: how many to compute.
        started_h: lab time of its start.
        faults: that strike it.
        instrument: what measures it.
    """

    folder: Path
    request: RunRequest
    seed: int
    checkups: int
    started_h: float = 0.0
    faults: tuple[InjectedFault, ...] = ()
    instrument: InstrumentSettings = GOOD_CYCLER

    def to_plain(self) -> dict[str, Any]:
        """As JSON-ready Python, for a worker's pipe."""
        faults = [to_plain(fault) for fault in self.faults]
        values = {"request": to_plain(self.request), "faults": faults, "instrument": to_plain(self.instrument)}
        return {**vars(self), "folder": str(self.folder), **values}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Slice:
        """From what `to_plain` gave."""
        request, faults = from_plain(RunRequest, plain["request"]), (from_plain(InjectedFault, f) for f in plain["faults"])
        instrument = from_plain(InstrumentSettings, plain["instrument"])
        values = {"request": request, "faults": tuple(faults), "instrument": instrument}
        return cls(**{**plain, "folder": Path(plain["folder"]), **values})

    def life_test(self, cell: CyclingCell) -> LifeTest:
        """The test that it is a slice of."""
        faults = RunFaults(self.request.channel, self.started_h, self.faults)
        return LifeTest(self.request, self.seed, cell, faults, self.instrument)


# Gives the cell to compute with, by the name of its preset.
CellSource = Callable[[str], CyclingCell]


def compute(job: Slice, cell: CellSource, heard: Callable[[], None]) -> bool:
    """Compute a slice, calling `heard` after each file written; False if another process is at this run.

    Whatever the model raises becomes the run's fate: a test whose simulation fails has failed, the cycler has not.
    """
    files = RunFiles(job.folder)
    with files.claimed() as mine:
        if not mine:
            return False
        if files.read_end() is not None:
            return True
        last = files.last()
        items = _items(job, cell, last)
        for _ in range(job.checkups):
            try:
                item = next(items)
            except Exception as error:  # noqa: BLE001 - a model may raise anything
                item = _unexpected(error, last.cycle if last else 0, last.end_s if last else 0.0)
            if isinstance(item, LifeEnd):
                files.write_end(item)
                break
            files.write_checkup(item)
            last = item
            heard()
    heard()
    return True


def _items(job: Slice, cell: CellSource, last: CheckUp | None) -> Iterator[CheckUp | LifeEnd]:
    yield from job.life_test(cell(preset_for(job.request.cell.name).name)).run(last)


def _unexpected(error: Exception, cycle: int, end_s: float) -> LifeEnd:
    why = f"the simulation of the cycles after cycle {cycle} failed: {type(error).__name__}: {error}"
    return LifeEnd(RunState.FAILED, why[:300], end_s, cycle, cause=Cause.SOLVER)
