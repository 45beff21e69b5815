"""Recording -> what may be wrong with it: a flag for every row, and a report. Nothing is changed.

Rows come in any pieces, and the result is the same however they were split. What a row shows beside its neighbours is flagged on
that row; a unit or sign that is wrong throughout belongs to every row and is known only at the end (`QualityReport.every_row`).

A row is flagged
* `time_backwards`: if its test time is before that of any row before it; the finding's `count` is the number of steps back from
  one row to the next;
* `duplicates`: if all its values are those of the row before;
* `gaps`: if rows are missing before it, or stand too far apart to say what charge passed (see `quality_gaps.Gaps`);
* `impossible_*`: if a value is outside of what a cell shows; currents and capacities also by the nominal capacity;
* `missing_values`: if time, voltage or current is no number;
* `endless_cycles`: if its cycle has had more than three charges and three discharges.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.quality import QualityFlag
from orchestrator.domain.recording import CHECKUP_STEP_ID, REQUIRED, Columns
from orchestrator.features import quality_rows as rules
from orchestrator.features.quality_evidence import Evidence
from orchestrator.features.quality_gaps import Gaps
from orchestrator.features.quality_halves import Halves
from orchestrator.features.quality_report import Finding, Place, QualityReport
from orchestrator.features.quality_verdicts import (
    RowsPerCycle,
    StepTime,
    counters_missing,
    sensor_findings,
    sign_findings,
    unit_findings,
)

__all__ = ["Finding", "Place", "QualityCheck", "QualityReport", "check_batches", "check_columns"]

Flags = NDArray[np.int64]
_CONTEXT = 2  # rows before the one that is judged: a gap is told from the interval before it
_PLACES = 5
_WORDS = {
    "time_backwards": ("test time runs backwards {count} times; {rows} rows are before one already seen",
                       "Order matters to every integral: look at the cycler's clock, then ingest with --repair time-order"),
    "duplicates": ("{rows} rows repeat the one before them", "Ingest with --repair drop-duplicates to leave them out"),
    "gaps": ("rows are missing, or too far apart, before {rows} rows", "Integrals there are guesses: use the cycler's counters"),
    "impossible_voltage": ("{rows} rows have a voltage outside -2.5 to 6 V", "Check the contacts and the column's unit"),
    "impossible_current": ("{rows} rows have a current that no such cell is given", "Check the column's unit and the capacity"),
    "impossible_capacity": ("{rows} rows count a capacity that no such cell has", "Check the counter's unit and the capacity"),
    "impossible_temperature": ("{rows} rows have a temperature outside -60 to 200 degC", "Check the thermocouple"),
    "missing_values": ("{rows} rows lack a time, a voltage or a current", "Look at the file there; nothing was filled in"),
    "endless_cycles": ("{rows} rows lie in cycles of more than three charges and discharges: the number stands still",
                       "Per-cycle figures mix several cycles; have the program count cycles, or split the file"),
}  # fmt: skip


class QualityCheck:
    """Checks a recording whose rows come in pieces.

    A row is judged once the one after it is there, so `add` gives the flags of the rows that were still open and of all but the
    last of the new ones, and `finish` that of the last; put together they are one flag a row.

    Args:
        nominal_capacity_Ah: of the cell, in Ah; None where it is not known, then currents and capacities have wider bounds.

    Raises:
        SpecError: if the capacity is not a positive number.

    Example:
        >>> check = QualityCheck(nominal_capacity_Ah=1.1)
        >>> flags = np.concatenate([*(check.add(batch) for batch in batches), check.finish()]) | check.report().every_row
    """

    def __init__(self, nominal_capacity_Ah: float | None = None) -> None:
        if nominal_capacity_Ah is not None and not 0 < nominal_capacity_Ah < np.inf:
            raise SpecError(Fault("nominal_capacity_Ah", f"must be a positive number of Ah, not {nominal_capacity_Ah:g}."))
        self._nominal_Ah = nominal_capacity_Ah
        self._held: dict[str, NDArray[Any]] = {}
        self._open = 0
        self._judged = 0
        self._latest_s = -np.inf
        self._steps_back = 0
        self._clock_back = 0
        self._step_time = StepTime()
        self._rows: dict[str, int] = {}
        self._first: dict[str, list[Place]] = {}
        self._gaps = Gaps(nominal_capacity_Ah)
        self._halves = Halves(nominal_capacity_Ah)
        self._evidence = Evidence(nominal_capacity_Ah)
        self._cycles = RowsPerCycle()

    def add(self, columns: Columns) -> Flags:
        """Take in rows, in the recording's order.

        Args:
            columns: arrays of equal length (n,) by Battery Data Format name; the same columns every time.

        Returns:
            The flags of the rows decided now, int64: those left open before, and the new ones but the last.

        Raises:
            SpecError: if time, voltage or current is not there, or the columns are not those of before.
        """
        self._refuse(columns)
        if not len(columns[REQUIRED[0]]):
            return np.zeros(0, dtype=np.int64)
        joined = {name: np.concatenate([self._held[name], np.asarray(columns[name])]) if self._held else np.asarray(columns[name])
                  for name in columns}  # fmt: skip
        length = len(joined[REQUIRED[0]])
        seen_before = len(next(iter(self._held.values()))) - self._open if self._held else 0
        flags = self._judge(joined, slice(seen_before, length - 1))
        kept = min(length, _CONTEXT + 1)
        self._held, self._open = {name: values[length - kept :].copy() for name, values in joined.items()}, 1
        return flags

    def finish(self) -> Flags:
        """The flag of the last row, which had none after it; nothing if there were no rows."""
        if not self._open:
            return np.zeros(0, dtype=np.int64)
        length = len(next(iter(self._held.values())))
        flags = self._judge(self._held, slice(length - 1, length))
        self._open = 0
        return flags

    def report(self) -> QualityReport:
        """What was found in the rows judged so far."""
        findings = [self._finding(name) for name in rules.ROW_CHECKS if self._rows.get(name)]
        whole = [*unit_findings(self._evidence, self._judged), *sign_findings(self._evidence, self._judged)]
        every = QualityFlag.NONE
        for finding in whole:
            every |= finding.flag
        findings += [
            *self._clock_finding(),
            *self._step_time.findings(),
            *whole,
            *self._cycles.findings(),
            *sensor_findings(self._evidence, self._judged),
        ]
        counted = self._evidence.counters is not None and self._evidence.counters.there
        return QualityReport(
            rows=self._judged,
            findings=tuple(findings),
            not_checked=tuple(counters_missing(self._held, self._evidence)) if self._judged else (),
            every_row=every,
            cycles=len(self._cycles),
            step_time=self._step_time.to_json(),
            charged_Ah=self._evidence["charged_Ah"],
            discharged_Ah=self._evidence["discharged_Ah"],
            vendor_charged_Ah=self._evidence["vendor_charged_Ah"] if counted else None,
            vendor_discharged_Ah=self._evidence["vendor_discharged_Ah"] if counted else None,
        )

    def _refuse(self, columns: Columns) -> None:
        faults = [Fault(name, "is missing from the time series.") for name in REQUIRED if name not in columns]
        if self._held and list(columns) != list(self._held):
            faults.append(Fault("columns", f"changed from {', '.join(self._held)} to {', '.join(columns)}."))
        if faults:
            raise SpecError(faults)

    def _judge(self, columns: dict[str, NDArray[Any]], rows: slice) -> Flags:
        if rows.stop <= rows.start:
            return np.zeros(0, dtype=np.int64)
        with np.errstate(all="ignore"):
            found = self._found(columns, rows)
        flags = np.zeros(rows.stop - rows.start, dtype=np.int64)
        for name, wrong in found.items():
            flags[wrong] |= int(rules.ROW_CHECKS[name])
            self._note(name, wrong, columns, rows)
        self._judged += len(flags)
        return flags

    def _found(self, columns: dict[str, NDArray[Any]], rows: slice) -> dict[str, rules.Bools]:
        gap = self._gaps.find(columns, rows)
        too_much, endless = self._halves.add(columns, rows, gap)
        self._evidence.add(columns, rows, gap)
        self._count_cycles(columns, rows)
        return {
            "time_backwards": self._backwards(columns, rows),
            "duplicates": rules.duplicates(columns)[rows],
            "gaps": gap[rows],
            "impossible_voltage": rules.impossible_voltage(columns)[rows],
            "impossible_current": rules.impossible_current(columns, self._nominal_Ah)[rows],
            "impossible_capacity": rules.impossible_counters(columns, self._nominal_Ah)[rows] | too_much,
            "impossible_temperature": rules.impossible_temperature(columns)[rows],
            "missing_values": rules.missing(columns)[rows],
            "endless_cycles": endless,
        }

    def _backwards(self, columns: dict[str, NDArray[Any]], rows: slice) -> rules.Bools:
        time = rules.number(columns, rules.TIME)
        self._steps_back += int((rules.intervals(columns)[rows] < 0).sum())
        if "unix_time_second" in columns:
            back = np.diff(rules.number(columns, "unix_time_second"), prepend=np.nan)[rows] < 0
            self._clock_back += int(back.sum())
            self._place("clock", back, columns, rows)
        self._step_time.add(columns, rows)
        new = time[rows]
        latest = np.maximum.accumulate(np.concatenate([[self._latest_s], np.where(np.isnan(new), -np.inf, new)]))
        self._latest_s = float(latest[-1])
        return np.asarray(new < latest[:-1])

    def _clock_finding(self) -> list[Finding]:
        if not self._clock_back:
            return []
        first = tuple(self._first.get("clock", ()))
        text = f"the cycler's clock (unix_time_second) runs backwards {self._clock_back} times"
        remedy = "Use the test time for integrals and order; the clock was set, or summer time ended"
        return [Finding("clock_backwards", QualityFlag.NONE, self._clock_back, 0, first, text, remedy)]

    def _count_cycles(self, columns: dict[str, NDArray[Any]], rows: slice) -> None:
        if rules.CYCLE not in columns:
            return
        cycling = np.ones(rows.stop - rows.start, dtype=bool)
        if "step_id" in columns:
            cycling = ~(rules.number(columns, "step_id")[rows] > CHECKUP_STEP_ID)
        cycles = rules.number(columns, rules.CYCLE)[rows]
        cycling &= np.abs(cycles) < 2.0**53
        first = self._judged + 1 + int(np.argmax(cycling)) if cycling.any() else 0
        self._cycles.add(cycles[cycling], rules.number(columns, rules.TIME)[rows][cycling], first)

    def _note(self, name: str, wrong: rules.Bools, columns: dict[str, NDArray[Any]], rows: slice) -> None:
        self._rows[name] = self._rows.get(name, 0) + int(wrong.sum())
        self._place(name, wrong, columns, rows)

    def _place(self, name: str, wrong: rules.Bools, columns: dict[str, NDArray[Any]], rows: slice) -> None:
        places = self._first.setdefault(name, [])
        cycles = rules.number(columns, rules.CYCLE)[rows]
        times = rules.number(columns, rules.TIME)[rows]
        for at in np.flatnonzero(wrong)[: _PLACES - len(places)] if len(places) < _PLACES else ():
            cycle = int(cycles[at]) if np.isfinite(cycles[at]) else None
            places.append(Place(self._judged + int(at) + 1, float(times[at]), cycle))

    def _finding(self, name: str) -> Finding:
        rows = self._rows[name]
        count = self._steps_back if name == "time_backwards" else rows
        text, remedy = _WORDS[name]
        return Finding(
            name, rules.ROW_CHECKS[name], count, rows, tuple(self._first[name]), text.format(count=count, rows=rows), remedy
        )


def check_batches(batches: Iterable[Columns], nominal_capacity_Ah: float | None = None) -> tuple[Flags, QualityReport]:
    """Check a recording that comes in pieces, such as `CyclerFile.batches()`.

    Args:
        batches: arrays of equal length by Battery Data Format name, in order.
        nominal_capacity_Ah: of the cell; None where it is not known.

    Returns:
        One flag a row (n,), sums of `QualityFlag`s, and the report.

    Raises:
        SpecError: as `QualityCheck.add`.
    """
    check = QualityCheck(nominal_capacity_Ah)
    flags = [check.add(columns) for columns in batches]
    flags.append(check.finish())
    report = check.report()
    return np.concatenate(flags) | int(report.every_row), report


def check_columns(columns: Columns, nominal_capacity_Ah: float | None = None) -> tuple[Flags, QualityReport]:
    """Check one whole recording.

    Args:
        columns: arrays of equal length (n,) by Battery Data Format name; current positive when charging.
        nominal_capacity_Ah: of the cell; None where it is not known.

    Returns:
        One flag a row (n,), ready to be the column `quality_flags`, and the report.

    Raises:
        SpecError: if time, voltage or current is not there, or the capacity is not positive.
    """
    return check_batches([columns] if columns else [], nominal_capacity_Ah)
