"""What functions over recordings answer to input that they cannot take: what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.recording import Recording

_READ_IT = "`adapters.formats.open_recording(path)` reads one from a file, `Recording(columns=...)` makes one of arrays."
_FLAG_IT = "Where rows are known to be wrong, give the column `quality_flags` (`orchestrator.features.check_columns` makes it)"
_REORDER = "or put them in order with `voltloop ingest FILE --repair time-order`."


def require_recording(given: Any, function: str) -> None:
    """Refuse what is no `Recording`.

    Raises:
        SpecError: naming the function, what it got, and how a recording is made.
    """
    if not isinstance(given, Recording):
        raise SpecError(Fault(function, f"needs a Recording (got {type(given).__name__}).", _READ_IT))


def require_columns(given: Any, function: str) -> None:
    """Refuse what holds no columns by name; a table with columns (a polars frame) does.

    Raises:
        SpecError: naming the function, what it got, and what to give instead.
    """
    if isinstance(given, Recording):
        raise SpecError(Fault(function, "needs columns by name (got a Recording).", "Give it `recording.columns`."))
    if not isinstance(given, Mapping) and not (hasattr(given, "columns") and hasattr(given, "__getitem__")):
        raise SpecError(Fault(function, f"needs columns by name (got {type(given).__name__}).", _READ_IT))


def without_cycle_numbers() -> Fault:
    """The fault of rows that no cycle number tells apart."""
    remedy = (
        "The file counted no cycles. Count them by charge and discharge with `orchestrator.features.number_cycles(columns)` "
        'and give its numbers as `"cycle_count"`, or ingest a file that has them.'
    )
    return Fault("cycle_count", "is missing from the time series.", remedy)


def runs_backwards(cycle: int | None) -> SpecError:
    """The error of time that runs backwards where no flag says so, within a cycle or in a recording without cycle numbers."""
    where = "in the recording" if cycle is None else f"within cycle {cycle}"
    return SpecError(f"time runs backwards {where}. {_FLAG_IT}, {_REORDER}")
