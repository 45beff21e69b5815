"""What quality checks found in a recording: each finding with its place, its number and what to do, as values and as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.domain.quality import QualityFlag


@dataclass(frozen=True)
class Place:
    """One row of a recording.

    Attributes:
        row: from 1, in the recording's order.
        test_time_s: its test time; NaN where it has none.
        cycle: its cycle's number; None where the recording does not number cycles.
    """

    row: int
    test_time_s: float
    cycle: int | None = None

    def __str__(self) -> str:
        time = f"{self.test_time_s:.10g} s" if math.isfinite(self.test_time_s) else "no time"
        cycle = f", cycle {self.cycle}" if self.cycle is not None else ""
        return f"row {self.row} ({time}{cycle})"


@dataclass(frozen=True)
class Finding:
    """One kind of fault in a recording.

    Attributes:
        check: which check found it, such as `time_backwards`.
        flag: what its rows are flagged with; `NONE` where no row can be named.
        count: how many times, in what `text` says (backward steps, rows, cycles).
        rows: how many rows carry the flag because of it.
        first: the first places.
        text: what was found, in words.
        remedy: what to do.
    """

    check: str
    flag: QualityFlag
    count: int
    rows: int
    first: tuple[Place, ...]
    text: str
    remedy: str

    def __str__(self) -> str:
        where = f"; first at {self.first[0]}" if self.first else ""
        return f"{self.text}{where}. {self.remedy}"

    def to_json(self) -> dict[str, Any]:
        """The same, JSON-ready."""
        return {
            "check": self.check,
            "flag": self.flag.name,
            "count": self.count,
            "rows": self.rows,
            "first": [
                {"row": p.row, "test_time_s": p.test_time_s if math.isfinite(p.test_time_s) else None, "cycle": p.cycle}
                for p in self.first
            ],
            "text": self.text,
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class QualityReport:
    """What was found in one recording.

    Attributes:
        rows: how many rows were checked.
        findings: what is wrong, in the order of `QualityFlag`; empty where nothing is.
        not_checked: what could not be checked, since the recording lacks what the check needs.
        every_row: flags that belong to every row, such as a unit that is wrong throughout.
        cycles: how many cycles are numbered, 0 where none are.
        step_time: how often the time within steps falls back (`falls`), by more than a second (`falls_over_1_s`), and while the
            step goes on (`within_a_step`): only the last is a fault. Empty without `step_time_second`.
        charged_Ah, discharged_Ah: sums integrated from current and time as they stand, faults and all.
        vendor_charged_Ah, vendor_discharged_Ah: sums of the rises of the cycler's own counters; None where it has none.
    """

    rows: int
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = ()
    every_row: QualityFlag = QualityFlag.NONE
    cycles: int = 0
    step_time: Mapping[str, int] = field(default_factory=dict)
    charged_Ah: float = 0.0
    discharged_Ah: float = 0.0
    vendor_charged_Ah: float | None = None
    vendor_discharged_Ah: float | None = None

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def found(self, check: str) -> Finding | None:
        """What one check found; None if nothing."""
        return next((finding for finding in self.findings if finding.check == check), None)

    def to_json(self) -> dict[str, Any]:
        """The same, JSON-ready; what is not finite becomes None."""
        return {
            "rows": self.rows,
            "cycles": self.cycles,
            "step_time": dict(self.step_time),
            "charged_Ah": _finite(self.charged_Ah),
            "discharged_Ah": _finite(self.discharged_Ah),
            "vendor_charged_Ah": _finite(self.vendor_charged_Ah),
            "vendor_discharged_Ah": _finite(self.vendor_discharged_Ah),
            "findings": [finding.to_json() for finding in self.findings],
            "not_checked": list(self.not_checked),
        }


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
