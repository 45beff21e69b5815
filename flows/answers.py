"""What a cycler answers when it is asked for rows, checked where it enters: a bad answer is its own test's trouble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.cycler import Cycler, RunRef, join_columns
from orchestrator.domain.errors import VoltloopError
from orchestrator.domain.recording import REQUIRED

Rows = dict[str, NDArray[Any]]
# A cycler that gives the same rows under the same cursor so many times in a row has no others.
REPEATED_ANSWERS = 5


class BadAnswerError(VoltloopError):
    """Rows of a cycler that are none: its driver is to be mended."""


def read_answer(cycler: Cycler, ref: RunRef, cursor: str | None) -> tuple[Rows, str | None]:
    """One answer of a cycler, its columns checked: one-dimensional, of equal length, real numbers.

    Raises:
        BadAnswerError: if they are not; it names cycler and column.
        CyclerUnreachableError: no answer.
    """
    columns, following = cycler.read(ref, cursor)
    if not columns:
        return {}, following
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    if problem := _problem(arrays):
        name = cycler.capabilities.name
        raise BadAnswerError(
            f"'{name}' answers with rows of test '{ref.key}' behind cursor {cursor!r} that cannot be used: {problem}. "
            f"Mend the driver of '{name}'; the test's rows are then read again."
        )
    return arrays, following


def all_rows(cycler: Cycler, ref: RunRef, cursor: str | None = None) -> list[Rows]:
    """Every row of a run behind a cursor, once: an answer that leaves the cursor where it was has been given before.

    Raises:
        BadAnswerError, CyclerUnreachableError: as `read_answer`.
    """
    parts: list[Rows] = []
    first, repeated = cursor, 0
    while repeated < REPEATED_ANSWERS:
        columns, following = read_answer(cycler, ref, cursor)
        moved = following != cursor
        if not columns and (not moved or following is None):
            break
        if columns and (moved or (first is None and not parts)):
            parts.append(columns)
        cursor, repeated = following, 0 if moved else repeated + 1
    return parts


def joined(parts: Sequence[Rows], cycler: Cycler, ref: RunRef) -> Rows:
    """All parts of a test's rows as one.

    Raises:
        BadAnswerError: if a column that every recording has is in none of them.
    """
    whole = join_columns(list(parts))
    if whole and (absent := [name for name in REQUIRED if name not in whole]):
        name = cycler.capabilities.name
        raise BadAnswerError(
            f"'{name}' gave no column '{absent[0]}' with any row of test '{ref.key}'. Mend the driver of '{name}'; "
            "the test's rows are then read again."
        )
    return whole


def row_count(parts: Sequence[Mapping[str, NDArray[Any]]]) -> int:
    """How many rows are in all parts."""
    return sum(len(next(iter(part.values()), ())) for part in parts)


def columns_missing(parts: Sequence[Mapping[str, NDArray[Any]]]) -> str | None:
    """Which columns some rows do not have, in words."""
    names = dict.fromkeys(name for part in parts for name in part)
    said = []
    for name in names:
        if lacking := row_count([part for part in parts if name not in part]):
            filled = " (the last known number stands there)" if name == "cycle_count" else ""
            said.append(f"{lacking} of {row_count(parts)} rows came without the column '{name}'{filled}")
    return "; ".join(said) or None


def _problem(arrays: Mapping[str, NDArray[Any]]) -> str | None:
    for name, array in arrays.items():
        if array.ndim != 1:
            return f"the column '{name}' has {array.ndim} dimensions, not one"
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            return f"the column '{name}' holds {array.dtype.name}, not numbers of at most 64 bits"
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        usual = max(lengths.values(), key=list(lengths.values()).count)
        odd = next(name for name, length in lengths.items() if length != usual)
        return f"the column '{odd}' has {lengths[odd]} rows, the others {usual}"
    return None
