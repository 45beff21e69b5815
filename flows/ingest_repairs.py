"""Repairs that a person asks for by name when a file is taken in: each says what it did, and the rows are checked again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import Fault, FormatError, SpecError
from orchestrator.domain.quality import QualityFlag
from orchestrator.features.quality import QualityCheck, QualityReport

Batch = dict[str, NDArray[Any]]
Flags = NDArray[np.int16]
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
_SCALED = {"current-sign": "current_ampere", "current-unit": "current_ampere", "voltage-unit": "voltage_volt"}
# Flags that a file brought along and that say nothing of its rows any more after a repair.
_ANSWERED = {
    "time-order": QualityFlag.TIME_BACKWARDS | QualityFlag.AFTER_GAP | QualityFlag.DUPLICATE | QualityFlag.ENDLESS_CYCLE,
    "drop-duplicates": QualityFlag.DUPLICATE,
    "current-sign": QualityFlag.CURRENT_SIGN,
    "current-unit": QualityFlag.UNIT_SUSPECT
    | QualityFlag.IMPOSSIBLE_CURRENT
    | QualityFlag.IMPOSSIBLE_CAPACITY
    | QualityFlag.AFTER_GAP,
    "voltage-unit": QualityFlag.UNIT_SUSPECT | QualityFlag.IMPOSSIBLE_VOLTAGE,
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


@dataclass(frozen=True)
class Checked:
    """Rows, and what quality checks say of them.

    Attributes:
        rows: gives them in batches, as often as they are wanted.
        flags: two bytes a row, (n,): what the checks found, without what the rows bring along.
        report: the same in words.
    """

    rows: Callable[[], Iterator[Batch]]
    flags: Flags
    report: QualityReport

    def flagged(self) -> Iterator[tuple[Batch, Flags]]:
        """Each batch with the flags of its rows.

        Raises:
            FormatError: if there are not as many rows as were checked.
        """
        done = 0
        for batch in self.rows():
            length = len(batch["test_time_second"])
            done += length
            if done > len(self.flags):
                raise FormatError("changed while it was read. Ingest it once nothing writes to it any more.")
            yield batch, self.flags[done - length : done]
        if done != len(self.flags):
            raise FormatError("changed while it was read. Ingest it once nothing writes to it any more.")

    def to_write(self) -> Iterator[Batch]:
        """Batches with the column `quality_flags`; flags that rows bring along are kept."""
        for batch, flags in self.flagged():
            if len(flags):
                yield {**batch, "quality_flags": flags.astype(np.int64) | batch.get("quality_flags", 0)}


def checked(rows: Callable[[], Iterator[Batch]], nominal_capacity_Ah: float | None) -> Checked:
    """Check rows.

    Args:
        rows: gives them in batches, the same each time.
        nominal_capacity_Ah: of the cell; None where it is not known.
    """
    check = QualityCheck(nominal_capacity_Ah)
    flags = [check.add(batch).astype(np.int16) for batch in rows()]
    flags.append(check.finish().astype(np.int16))
    report = check.report()
    return Checked(rows, np.concatenate(flags) | np.int16(report.every_row), report)


def mended(found: Checked, asked: Iterable[str], nominal_capacity_Ah: float | None) -> tuple[Checked, tuple[Repair, ...]]:
    """Carry out those repairs asked for whose fault is found, one after the other; rows are checked again after each.

    Returns:
        The rows after the last repair and what the checks say of them, and what was done; the rows as given where nothing was.

    Raises:
        SpecError: if a recording is too long to be sorted in memory.
    """
    done = []
    for name in known_repairs(asked):
        touched = 0
        if found.report.found(_MENDS[name]):
            counts: list[int] = []
            once = checked(partial(_counted, name, found, counts), nominal_capacity_Ah)
            touched = sum(counts)
            found = Checked(partial(_repaired, name, found), once.flags, once.report)
        done.append(Repair(name, touched))
    return found, tuple(done)


def _repaired(name: str, found: Checked) -> Iterator[Batch]:
    return _counted(name, found, [])


def _counted(name: str, found: Checked, counts: list[int]) -> Iterator[Batch]:
    """Rows after one repair; `counts` is added to by how many it touches."""
    if name == "time-order":
        yield from _sorted((_answered(name, batch, flags) for batch, flags in found.flagged()), counts)
        return
    for batch, flags in found.flagged():
        batch = _answered(name, batch, flags)
        if name == "drop-duplicates":
            keep = (flags & int(QualityFlag.DUPLICATE)) == 0
            counts.append(int((~keep).sum()))
            yield {column: values[keep] for column, values in batch.items()}
        else:
            column = _SCALED[name]
            counts.append(len(flags))
            yield {**batch, column: -batch[column] if name == "current-sign" else batch[column] / 1000.0}


def _answered(name: str, batch: Batch, flags: Flags) -> Batch:
    """A batch without the flags that it brought along and that the checks found themselves, or that the repair answers."""
    if "quality_flags" not in batch:
        return batch
    gone = flags.astype(np.int64) | int(_ANSWERED[name])
    return {**batch, "quality_flags": batch["quality_flags"] & ~gone}


def _sorted(batches: Iterable[Batch], counts: list[int]) -> list[Batch]:
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
    counts.append(int((order != np.arange(len(order))).sum()))
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
