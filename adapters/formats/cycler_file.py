"""A cycler's file, opened: what it says of itself, how its columns were understood, and its rows in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import FormatError

Batch = dict[str, NDArray[Any]]
ROWS_IN_A_BATCH = 262_144

# What `open_cycler_file` can return as `format`, and what each is.
FORMATS: dict[str, str] = {
    "neware_nda": "Neware .nda (read by fastnda)",
    "neware_ndax": "Neware .ndax (read by fastnda)",
    "biologic_mpr": "BioLogic EC-Lab or BT-Lab .mpr (read by galvani, optional)",
    "arbin": "Arbin text export",
    "maccor": "Maccor text export",
    "novonix": "Novonix UHPC text file",
    "landt": "Landt text export",
    "bdf_csv": "Battery Data Format as CSV",
    "bdf_parquet": "Battery Data Format as Parquet",
    "csv": "CSV whose columns say what they are, or were told with `columns`",
}


@dataclass(frozen=True)
class ColumnMapping:
    """How one column was made from one of the file's.

    Attributes:
        vendor: the name in the file.
        bdf: the name in the Battery Data Format.
        factor: what the file's values were multiplied by, to seven digits (the conversion itself is exact).
        note: what else was done or assumed; empty where nothing was.
    """

    vendor: str
    bdf: str
    factor: float = 1.0
    note: str = ""


@dataclass(frozen=True)
class CyclerFile:
    """One file that a cycler, or its software, wrote.

    Attributes:
        path: where it lies.
        format: one of `FORMATS`, found from the content.
        metadata: what the file says of itself, JSON-ready.
        mapping: how its columns became those of `batches`.
        unmapped: its columns that have no place in the vocabulary, or that could not be read.
        notes: what was assumed on the way: units, signs, time zone, what capacities are counted from.
        columns: the names of the columns that every batch has, in order.
    """

    path: Path
    format: str
    metadata: dict[str, Any]
    mapping: tuple[ColumnMapping, ...]
    unmapped: tuple[str, ...]
    notes: tuple[str, ...]
    columns: tuple[str, ...]
    read: Callable[[int], Iterator[Batch]] = field(repr=False, compare=False)

    def batches(self, rows: int = ROWS_IN_A_BATCH) -> Iterator[Batch]:
        """The rows in the file's order, nothing dropped, repaired or renumbered.

        Args:
            rows: how many rows a batch has; the last one has fewer. Memory grows with this, not with a text or Parquet file.

        Yields:
            arrays of shape (n,) by Battery Data Format name, float64 or int64, the same columns in every batch. Current is
            positive when charging; what the file leaves empty is NaN.

        Raises:
            FormatError: where the file cannot be read on; what came before was sound. A file without rows raises it too.
        """
        if rows < 1:
            raise ValueError(f"a batch needs at least one row, not {rows}.")
        return self.read(rows)


def unreadable(path: Path, problem: str, remedy: str = "") -> FormatError:
    """The error of a file: its name, the place and what is wrong there, and what to do."""
    return FormatError(f"'{path}': {problem}" + (f" {remedy}" if remedy else ""))


def slices(columns: Batch, rows: int) -> Iterator[Batch]:
    """Whole columns of shape (n,) in batches of `rows`."""
    length = len(next(iter(columns.values())))
    for start in range(0, length, rows):
        yield {name: column[start : start + rows] for name, column in columns.items()}


def rebatched(pieces: Iterator[Batch], rows: int) -> Iterator[Batch]:
    """Pieces of any length as batches of `rows` and a shorter last one."""
    held: list[Batch] = []
    waiting = 0
    for piece in pieces:
        held.append(piece)
        waiting += len(next(iter(piece.values())))
        if waiting >= rows:
            *full, rest = slices(_joined(held), rows)
            yield from full
            held, waiting = [rest], len(next(iter(rest.values())))
            if waiting == rows:
                yield rest
                held, waiting = [], 0
    if waiting:
        yield _joined(held)


def _joined(pieces: list[Batch]) -> Batch:
    return pieces[0] if len(pieces) == 1 else {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
