"""Repairs that a person asks for by name when a file is taken in; each says what it did, and flags stay as they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.quality import QualityFlag
from orchestrator.features.quality import QualityReport

Batch = dict[str, NDArray[Any]]
REPAIRS: dict[str, str] = {
    "time-order": "rows sorted by test time, those of equal time as they stood",
    "drop-duplicates": "rows that repeat the one before them left out",
    "current-sign": "current multiplied by -1: positive when charging",
    "current-unit": "current divided by 1000: mA had been taken for A",
    "voltage-unit": "voltage divided by 1000: mV had been taken for V",
}
# What a repair mends, by the check that finds it.
_MENDS = {
    "time-order": "time_backwards",
    "drop-duplicates": "duplicates",
    "current-sign": "current_sign",
    "current-unit": "current_unit",
    "voltage-unit": "voltage_unit",
}
_FACTORS = {
    "current-sign": ("current_ampere", -1.0),
    "current-unit": ("current_ampere", 1e-3),
    "voltage-unit": ("voltage_volt", 1e-3),
}
# Sorting holds a recording in memory: this many numbers take 0.4 GB.
MOST_NUMBERS_TO_SORT = 50_000_000


@dataclass(frozen=True)
class Repair:
    """One repair as it was carried out.

    Attributes:
        name: one of `REPAIRS`.
        rows: how many rows it changed, moved or left out; 0 where its check found nothing, and nothing was done.
    """

    name: str
    rows: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "repair": self.name,
            "rows": self.rows,
            "what": REPAIRS[self.name] if self.rows else "not needed: nothing was done",
        }


def known_repairs(names: Iterable[str]) -> tuple[str, ...]:
    """The repairs asked for, each once, in the order in which they are carried out.

    Raises:
        SpecError: if one is not known.
    """
    asked = set(names)
    if unknown := sorted(asked - set(REPAIRS)):
        raise SpecError(Fault("--repair", f"'{unknown[0]}' is no repair.", f"Known: {', '.join(REPAIRS)}."))
    return tuple(name for name in REPAIRS if name in asked)


def repairs_to_do(asked: Iterable[str], report: QualityReport) -> tuple[str, ...]:
    """Those asked for whose fault was found."""
    return tuple(name for name in asked if report.found(_MENDS[name]))


def repaired(batches: Iterable[Batch], todo: Iterable[str], done: dict[str, int]) -> Iterator[Batch]:
    """Flagged batches after their repairs.

    Args:
        batches: with the column `quality_flags`.
        todo: which repairs, from `repairs_to_do`.
        done: filled while batches are read: by repair, how many rows it touched.

    Raises:
        SpecError: if a recording is too long to be sorted in memory.
    """
    todo = tuple(todo)
    batches = (_scaled(batch, todo, done) for batch in batches)
    if "time-order" in todo:
        batches = iter(_sorted(batches, done))
    for batch in batches:
        if "drop-duplicates" in todo:
            keep = (batch["quality_flags"] & int(QualityFlag.DUPLICATE)) == 0
            done["drop-duplicates"] = done.get("drop-duplicates", 0) + int((~keep).sum())
            batch = {name: values[keep] for name, values in batch.items()}
        yield batch


def _scaled(batch: Batch, todo: tuple[str, ...], done: dict[str, int]) -> Batch:
    for name in todo:
        if name in _FACTORS:
            column, factor = _FACTORS[name]
            changed = batch[column] * factor if factor == -1.0 else batch[column] / 1000.0
            batch = {**batch, column: changed}
            done[name] = done.get(name, 0) + len(changed)
    return batch


def _sorted(batches: Iterable[Batch], done: dict[str, int]) -> list[Batch]:
    held: list[Batch] = []
    numbers = 0
    for batch in batches:
        held.append(batch)
        numbers += sum(len(values) for values in batch.values())
        if numbers > MOST_NUMBERS_TO_SORT:
            raise SpecError(
                f"--repair time-order sorts in memory, and this recording has more than {MOST_NUMBERS_TO_SORT:,} numbers. "
                "Split the file, or ingest it without that repair."
            )
    whole = {name: np.concatenate([batch[name] for batch in held]) for name in held[0]}
    order = np.argsort(_filled(whole["test_time_second"]), kind="stable")
    done["time-order"] = int((order != np.arange(len(order))).sum())
    length = len(held[0]["test_time_second"])
    moved = {name: values[order] for name, values in whole.items()}
    return [{name: values[at : at + length] for name, values in moved.items()} for at in range(0, len(order), length)]


def _filled(time: NDArray[Any]) -> NDArray[np.float64]:
    """Times with those that are no number put where the row before them stands."""
    known = np.flatnonzero(np.isfinite(time))
    if not len(known):
        return np.zeros(len(time))
    last = np.maximum.accumulate(np.where(np.isfinite(time), np.arange(len(time)), known[0]))
    return np.asarray(time, dtype=np.float64)[last]
