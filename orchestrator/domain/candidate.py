"""A point that could be tested, and finite lists of such points."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.value import value

ParameterValue = int | float | str


@value
class Candidate:
    """Parameter values by name, and the row's id when it comes from a table."""

    parameters: dict[str, ParameterValue]
    id: str | None = None

    def __post_init__(self) -> None:
        for name, given in self.parameters.items():
            if isinstance(given, float) and not math.isfinite(given):
                raise SpecError(Fault(f"parameters.{name}", f"must be a finite number (got {given})."))

    def __hash__(self) -> int:
        return hash((self.id, tuple(sorted(self.parameters.items()))))

    def describe(self, units: Mapping[str, str | None] | None = None) -> str:
        """The candidate in one line, with units."""
        parts = []
        for name, given in self.parameters.items():
            unit = (units or {}).get(name)
            shown = f"{given:.4g}" if isinstance(given, float) else str(given)
            parts.append(f"{name} = {shown}{f' {unit}' if unit else ''}")
        return (f"{self.id}: " if self.id else "") + ", ".join(parts)


@value
class CandidateTable:
    """A finite list of candidates, one a row.

    Attributes:
        rows: one mapping per row; `id` names it (rows without one get `row<n>`).
        features: the columns a proposer may learn from: numbers, or text that the representation can read
            (a chemical formula). A candidate shows its features and the row's other text, never other numbers:
            a result column in the same file stays out of sight.
        structures: optional CIF text by row id.
    """

    rows: tuple[dict[str, ParameterValue | None], ...]
    features: tuple[str, ...]
    structures: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults: list[Fault] = []
        if len(self.rows) < 2:
            faults.append(Fault("rows", f"a table needs at least two rows (got {len(self.rows)})."))
        if not self.features:
            faults.append(Fault("features", "is empty.", "Name the columns to learn from."))
        known = sorted(set().union(*(row.keys() for row in self.rows))) if self.rows else []
        for name in self.features:
            faults += self._feature_faults(name, known)
        if len(set(self.ids)) != len(self.ids):
            twice = next(i for i in self.ids if self.ids.count(i) > 1)
            faults.append(Fault("rows", f"the id '{twice}' is given twice.", "Ids must differ."))
        faults += [Fault(f"structures.{i}", "has no row with this id.") for i in sorted(set(self.structures) - set(self.ids))]
        if faults:
            raise SpecError(faults)

    def _feature_faults(self, name: str, known: list[str]) -> list[Fault]:
        if name not in known:
            return [Fault("features", f"'{name}' is not a column.", f"Columns: {', '.join(known)}.")]
        cells = [row.get(name) for row in self.rows]
        empty = [i for i, c in enumerate(cells) if c is None or c == "" or (isinstance(c, float) and not math.isfinite(c))]
        if empty:
            return [Fault(f"rows[{empty[0]}].{name}", "is empty or not finite.", "Every row needs every feature.")]
        if len({isinstance(c, str) for c in cells}) > 1:
            odd = next(i for i, c in enumerate(cells) if isinstance(c, str))
            return [Fault(f"rows[{odd}].{name}", f"is text among numbers (got {cells[odd]!r}).")]
        return []

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The rows' ids, in order."""
        return tuple(str(row["id"]) if row.get("id") not in (None, "") else f"row{i}" for i, row in enumerate(self.rows))

    @cached_property
    def index(self) -> dict[str, int]:
        """Row number by id."""
        return {row_id: i for i, row_id in enumerate(self.ids)}

    @cached_property
    def _by_features(self) -> dict[tuple[ParameterValue | None, ...], int]:
        """The first row by its features."""
        found: dict[tuple[ParameterValue | None, ...], int] = {}
        for i, row in enumerate(self.rows):
            found.setdefault(tuple(row[n] for n in self.features), i)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The feature names."""
        return self.features

    @property
    def units(self) -> dict[str, str | None]:
        """Tables state no units."""
        return dict.fromkeys(self.features)

    def candidate(self, row: int) -> Candidate:
        """The candidate in a row."""
        cells = self.rows[row]
        shown = {n: c for n, c in cells.items() if n != "id" and c is not None and (n in self.features or isinstance(c, str))}
        return Candidate(shown, self.ids[row])

    def row_of(self, candidate: Candidate) -> int | None:
        """The row a candidate stands for: by id, else by equal features; None if there is none."""
        if candidate.id is not None:
            return self.index.get(candidate.id)
        if any(n not in candidate.parameters for n in self.features):
            return None
        exactly = self._by_features.get(tuple(candidate.parameters[n] for n in self.features))
        if exactly is not None:
            return exactly
        return next(
            (i for i, row in enumerate(self.rows) if all(_same(row[n], candidate.parameters[n]) for n in self.features)), None
        )

    def violations(self, candidate: Candidate) -> list[str]:
        """Why a candidate is not in the table; empty when it is."""
        row = self.row_of(candidate)
        if row is None:
            return [f"no row of the table is {candidate.describe() or candidate.id!r}"]
        wrong = [n for n, given in candidate.parameters.items() if n in self.features and not _same(self.rows[row][n], given)]
        return [f"{n} = {candidate.parameters[n]!r} differs from row '{self.ids[row]}' ({self.rows[row][n]!r})" for n in wrong]

    def at_present(self, candidate: Candidate) -> Candidate:
        """The same candidate: rows have no context."""
        return candidate

    def complete(self, candidate: Candidate) -> Candidate:
        """The candidate as its row states it."""
        row = self.row_of(candidate)
        return candidate if row is None else self.candidate(row)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return bool(a == b)
    return bool(abs(a - b) <= 1e-12 + 1e-9 * abs(b))


def read_rows(path: Path) -> tuple[dict[str, ParameterValue | None], ...]:
    """Read a CSV of candidates or results; cells that are numbers become numbers, empty cells None.

    Raises:
        SpecError: if the file is missing, empty or ragged.
    """
    if not path.is_file():
        raise SpecError(f"there is no file '{path}'. Paths are relative to the spec; $VOLTLOOP_DATA_DIR names the data folder.")
    try:
        rows = _read_csv(path)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise SpecError(f"'{path}' cannot be read as CSV in UTF-8: {error}. Save it as UTF-8.") from None
    if not rows:
        raise SpecError(f"'{path}' holds no rows. The first line names the columns, each further line is a row.")
    return tuple(rows)


def _read_csv(path: Path) -> list[dict[str, ParameterValue | None]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if len(reader.fieldnames or ()) == 1 and ";" in (reader.fieldnames or ("",))[0]:
            raise SpecError(f"'{path}' separates its columns by semicolons. Save it with commas (and points in numbers).")
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise SpecError(f"'{path}' line {reader.line_num} has a different number of cells than its header.")
            rows.append({name: _cell(text) for name, text in row.items()})
        return rows


def _cell(text: str) -> ParameterValue | None:
    text = text.strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() and text.lstrip("+-").isdigit() else number
