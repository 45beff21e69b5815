"""Computing a run some check-ups at a time, wherever it stands: the unit of work of a worker process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from adapters.simulated.cell_presets import preset_for
from adapters.simulated.cell_steps import Cause, CyclingCell
from adapters.simulated.life_test import CheckUp, LifeEnd, LifeTest
from adapters.simulated.run_files import RunFiles
from orchestrator.domain import RunRequest, RunState


@dataclass(frozen=True)
class Slice:
    """Some check-ups of one run, to be computed from where its files end."""

    folder: Path
    request: RunRequest
    seed: int
    checkups: int


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
    yield from LifeTest(job.request, job.seed, cell(preset_for(job.request.cell.name).name)).run(last)


def _unexpected(error: Exception, cycle: int, end_s: float) -> LifeEnd:
    why = f"the simulation of the cycles after cycle {cycle} failed: {type(error).__name__}: {error}"
    return LifeEnd(RunState.FAILED, why[:300], end_s, cycle, cause=Cause.SOLVER)
