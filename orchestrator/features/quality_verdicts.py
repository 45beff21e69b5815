"""From what was summed up over a whole recording to findings: units, the current's sign, cycles with rows missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from orchestrator.domain.quality import QualityFlag
from orchestrator.domain.recording import Columns
from orchestrator.features.quality_evidence import LEAST_PAIRS, THOUSAND, Evidence
from orchestrator.features.quality_report import Finding, Place
from orchestrator.features.quality_rows import STEPS, borders, number

# Rows of a cycle, and rows an hour, below this share of those of the five cycles before it.
SPARSE_SHARE = 0.7
NEIGHBOURS = 5
LEAST_ROWS = 10
_MOST = 0.9
_FEW = 3
# Falls under a current that is said to charge: all of them in volt, and their share of all that the voltage moved.
_LEAST_SWING_V, _FALLING = 0.2, 0.25
_SIGNED_EXPORT = "Export it with a sign, or with the column of states that says which rows discharge"


def unit_findings(evidence: Evidence, rows: int) -> Iterator[Finding]:
    """Columns that are a thousand times what the others imply, or that are in another unit."""
    counted, integrated = evidence["counted_Ah"], evidence["integrated_Ah"]
    ratio = integrated / counted if counted > 0 else 0.0
    enough = evidence["compared_rows"] >= LEAST_PAIRS
    if enough and THOUSAND[0] <= ratio <= THOUSAND[1]:
        yield _unit(
            rows,
            "current_ampere",
            f"integrated over time is {ratio:.4g} times the cycler's own capacities: mA taken for A",
            "Ingest again with the column's unit stated, or with --repair current-unit",
        )
    elif enough and ratio > 0 and 1 / THOUSAND[1] <= ratio <= 1 / THOUSAND[0]:
        yield _unit(
            rows,
            "current_ampere",
            f"integrated over time is {ratio:.4g} of the cycler's own capacities: the current is a "
            "thousand times too small, or mAh were taken for Ah",
            "Ingest again with the columns' units stated",
            "capacity_unit",
        )
    elif _share(evidence["high_rate_rows"], evidence["flowing_rows"]) >= 0.5 and evidence["flowing_rows"] >= LEAST_PAIRS:
        yield _unit(
            rows,
            "current_ampere",
            f"is above 50 C of the stated {evidence.nominal_capacity_Ah:g} Ah in most rows: mA taken for A, or another capacity",
            "Check the capacity; ingest again with the unit stated, or with --repair current-unit",
        )
    if _share(evidence["millivolts"], evidence["voltages"]) >= 0.5:
        yield _unit(
            rows,
            "voltage_volt",
            "is in the hundreds and above in most rows: mV taken for V",
            "Ingest again with the column's unit stated, or with --repair voltage-unit",
            "voltage_unit",
        )
    for name in _temperatures(evidence):
        if _share(evidence[f"kelvin {name}"], evidence[f"read {name}"]) >= 0.5:
            yield _unit(
                rows,
                name,
                "is between 220 and 400 in most rows: kelvin taken for degC",
                "Ingest again with the column's unit stated",
                "temperature_unit",
            )


def sensor_findings(evidence: Evidence, rows: int) -> Iterator[Finding]:
    """Temperatures that no sensor gave."""
    for name in _temperatures(evidence):
        if rows and not evidence[f"read {name}"]:
            yield _absent(rows, f"{name} is no number in any of {rows} rows, as of an open thermocouple")
        elif rows >= 100 and evidence[f"zero {name}"] == rows:
            yield _absent(rows, f"{name} is exactly 0 in every row, as where no sensor is connected")


def _absent(rows: int, text: str) -> Finding:
    remedy = "Leave the column out where a temperature is wanted"
    return Finding("temperature_absent", QualityFlag.NONE, rows, 0, (Place(1, np.nan),), text, remedy)


def sign_findings(evidence: Evidence, rows: int) -> Iterator[Finding]:
    """The current's sign against the cycler's own capacities and against the voltage."""
    along, against = evidence["counted_along_Ah"], evidence["counted_against_Ah"]
    enough = evidence["compared_rows"] >= LEAST_PAIRS
    steps, contrary = evidence["steps_along"], evidence["steps_against"]
    drift, back = evidence["drift_along_V"], evidence["drift_against_V"]
    swings = evidence.swings
    unsigned = evidence["negative_rows"] == 0 and evidence["flowing_rows"] > 0
    said = []
    if enough and against >= _MOST * (along + against) > 0:
        said.append(f"{_share(against, along + against):.0%} of what the cycler's own capacities moved is against it")
    if steps + contrary >= _FEW and contrary >= _MOST * (steps + contrary) and back >= drift:
        said.append(f"the voltage moves against it at {contrary:.0f} of {steps + contrary:.0f} steps of the current")
    falling = _share(swings.down_V, swings.up_V + swings.down_V) if unsigned and swings.down_V >= _LEAST_SWING_V else 0.0
    if falling >= _MOST:
        said.append(f"the voltage under steady current only falls, by {swings.down_V:.3g} V in all")
    if said:
        yield _sign(
            rows, "current_ampere is positive when discharging: " + ", and ".join(said), "Ingest again with --repair current-sign"
        )
    elif unsigned and enough and against >= (1 - _MOST) * (along + against) > 0:
        yield _sign(
            rows,
            f"current_ampere is never negative, while the cycler counted {against:.4g} Ah of discharge: it has no sign",
            _SIGNED_EXPORT,
            "current_unsigned",
        )
    elif falling >= _FALLING:
        yield _sign(
            rows,
            f"current_ampere is never negative, while the voltage under steady current fell by {swings.down_V:.3g} V in all "
            f"and climbed by {swings.up_V:.3g} V: it has no sign",
            _SIGNED_EXPORT,
            "current_unsigned",
        )


class StepTime:
    """How often the time within steps falls back, as it must where a step begins and must not within one."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, columns: Columns, rows: slice) -> None:
        """Take in rows; the columns begin with at least the row before them."""
        if "step_time_second" not in columns:
            return
        change = np.diff(number(columns, "step_time_second"), prepend=np.nan)
        known = any(name in columns for name in STEPS)
        within = (change < 0) & ~borders(columns) if known else np.zeros(len(change), dtype=bool)
        for name, which in (("falls", change < 0), ("falls_over_1_s", change < -1), ("within_a_step", within)):
            self._counts[name] = self._counts.get(name, 0) + int(which[rows].sum())

    def to_json(self) -> dict[str, int]:
        """The counts, JSON-ready."""
        return dict(self._counts)

    def findings(self) -> Iterator[Finding]:
        """Steps whose own time runs backwards."""
        if count := self._counts.get("within_a_step"):
            text = f"the time within a step (step_time_second) runs backwards {count} times while the step goes on"
            yield Finding(
                "step_time_backwards", QualityFlag.NONE, count, 0, (), text, "Use the test time; look at the cycler's clock"
            )


class RowsPerCycle:
    """How many rows each cycle has, and in which time; rows come in any pieces."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, int, float, float]] = {}

    def add(self, cycles: np.ndarray, times: np.ndarray, first_row: int) -> None:
        """Take in rows of cycling: cycle and time of each, and the number of the first."""
        if not len(cycles):
            return
        for start, stop in _pieces(cycles):
            piece = times[start:stop][np.isfinite(times[start:stop])]
            low, high = (float(piece.min()), float(piece.max())) if len(piece) else (np.inf, -np.inf)
            cycle = int(cycles[start])
            row, count, least, most = self._seen.get(cycle, (first_row + start, 0, np.inf, -np.inf))
            self._seen[cycle] = (row, count + stop - start, min(least, low), max(most, high))

    def __len__(self) -> int:
        return len(self._seen)

    def findings(self) -> Iterator[Finding]:
        """Cycles with far fewer rows, and rows an hour, than those before them; the last one may not be over yet."""
        usual: list[tuple[int, float]] = []
        sparse: list[Place] = []
        for cycle, (row, count, least, most) in list(self._seen.items())[:-1]:
            rate = count / (most - least) if most > least else np.inf
            if len(usual) == NEIGHBOURS and _is_sparse(count, rate, usual):
                sparse.append(Place(row, least, cycle))
            else:
                usual = [*usual, (count, rate)][-NEIGHBOURS:]
        if sparse:
            text = (
                f"{len(sparse)} cycles have less than {SPARSE_SHARE:.0%} of the rows, and rows an hour, of those before them: "
                "rows were lost"
            )
            yield Finding(
                "sparse_cycles",
                QualityFlag.NONE,
                len(sparse),
                0,
                tuple(sparse[:5]),
                text,
                "Do not trust capacities of these cycles; look for a sensor or a line that dropped out",
            )


def _is_sparse(count: int, rate: float, usual: list[tuple[int, float]]) -> bool:
    counts, rates = [c for c, _ in usual], [r for _, r in usual]
    middle = float(np.median(counts))
    steady = min(counts) >= 0.8 * max(counts)
    return steady and middle >= LEAST_ROWS and count < SPARSE_SHARE * middle and rate < SPARSE_SHARE * float(np.median(rates))


def _pieces(cycles: np.ndarray) -> Iterator[tuple[int, int]]:
    cuts = np.flatnonzero(cycles[1:] != cycles[:-1]) + 1
    edges = [0, *cuts.tolist(), len(cycles)]
    yield from pairwise(edges)


def _temperatures(evidence: Evidence) -> list[str]:
    return [name.removeprefix("read ") for name in evidence.sums if name.startswith("read ")]


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _unit(rows: int, column: str, problem: str, remedy: str, check: str = "current_unit") -> Finding:
    return Finding(check, QualityFlag.UNIT_SUSPECT, 1, rows, (Place(1, np.nan),), f"{column} {problem}", remedy)


def _sign(rows: int, text: str, remedy: str, check: str = "current_sign") -> Finding:
    return Finding(check, QualityFlag.CURRENT_SIGN, 1, rows, (Place(1, np.nan),), text, remedy)


def counters_missing(names: Mapping[str, object], evidence: Evidence) -> list[str]:
    """What could not be checked for want of columns."""
    out = []
    if evidence.counters is None or not evidence.counters.there:
        out.append("unit and sign of the current against the cycler's own capacities: it gives none")
    if "cycle_count" not in names:
        out.append("cycles that never end: no cycle numbers")
    if not evidence.nominal_capacity_Ah:
        out.append("currents and capacities against the cell's nominal capacity: it was not stated")
    return out
