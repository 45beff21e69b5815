"""A text file's table found, and each of its columns understood or given up: everything that is decided before rows are read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from adapters.formats.cycler_file import ColumnMapping, unreadable
from adapters.formats.dialects import BDF, PLAIN, RESETS, Dialect, Target, dialect_of
from adapters.formats.override import Override
from adapters.formats.text_head import DELIMITERS, TextHead, fields
from adapters.formats.text_table import TextTable
from adapters.formats.timestamps import is_ambiguous, is_duration, stamp_format
from adapters.formats.units import Conversion, conversion, dimension, is_shouted, known_units, quieted
from adapters.formats.vocabulary import Header, as_bdf, parse_header
from orchestrator.domain.recording import REQUIRED

_LINES_SEARCHED = 500
_SAMPLE_ROWS = 200
_MOST_CELLS = 10_000  # no cycler's table is as wide
_LARGEST_V = 100.0
_LONGEST_NUMBER = 400  # the longest decimal of a float64 has fewer signs
_DECIMAL_COMMA = re.compile(r"^\s*[-+]?\d*,\d+(?:[eE][-+]?\d+)?\s*$")
_DECIMAL_POINT = re.compile(r"^\s*[-+]?\d*\.\d+(?:[eE][-+]?\d+)?\s*$")
_NUMBER = re.compile(r"^\s*[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?\s*$|^\s*[-+]?(?:nan|inf|infinity)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class PlannedColumn:
    """One column as it will be read.

    Attributes:
        index: its place in a row, from 0.
        header: its name in the file.
        bdf: its name in the vocabulary.
        how: the conversion of its numbers.
        notation: of dates (see `timestamps`), `duration` for times as text, empty for numbers.
        note: what is to be known of it.
    """

    index: int
    header: str
    bdf: str
    how: Conversion
    notation: str = ""
    note: str = ""

    @property
    def mapping(self) -> ColumnMapping:
        """The same for a person."""
        return ColumnMapping(self.header, self.bdf, float(f"{float(self.how.scale):.7g}"), self.note)


@dataclass(frozen=True)
class Plan:
    """How a text file will be read; `states` is the place of the column that says charge or discharge."""

    dialect: Dialect
    table: TextTable
    header_line: int
    columns: tuple[PlannedColumn, ...]
    unmapped: tuple[str, ...]
    notes: tuple[str, ...]
    samples: tuple[tuple[str, ...], ...]
    states: int | None = None


def plan(head: TextHead, overrides: Mapping[str, Override]) -> Plan:
    """Find the table of a text file and decide how its columns are read.

    Args:
        head: the file's beginning.
        overrides: what the user said of columns, by header.

    Raises:
        FormatError: if no line is a known header, or a required column is missing, doubled or without a unit.
    """
    line, delimiter, headers, dialect = _header(head, overrides)
    samples = _samples(head, line + 1, delimiter)
    if not samples:
        raise unreadable(head.path, "has a header and no rows.", "Export the test again, with its data.")
    headers = _fitted(headers, len(samples[0]))
    decimal = _decimal(samples, delimiter)
    table = TextTable(head, line + 1, delimiter, decimal, tuple(header.raw for header in headers))
    columns, unmapped, notes = _Columns(head, dialect, headers, samples, overrides).planned()
    if decimal == ",":
        notes.append("numbers have a decimal comma.")
    if head.encoding != "utf-8":
        notes.append(f"the text was read as {head.encoding}.")
    states = _states(dialect, headers, overrides)
    unmapped = [name for name in unmapped if states is None or name != headers[states].raw]
    return Plan(dialect, table, line, tuple(columns), tuple(unmapped), tuple(notes), samples, states)


def _states(dialect: Dialect, headers: list[Header], overrides: Mapping[str, Override]) -> int | None:
    """The column of states; none where the user left it out, or said that the sign of the current is turned."""
    if any(one.bdf == "current_ampere" and one.negative for one in overrides.values()):
        return None
    places = (i for name in dialect.states for i, header in enumerate(headers) if header.base == name)
    return next((i for i in places if headers[i].raw not in overrides), None)


def _header(head: TextHead, overrides: Mapping[str, Override]) -> tuple[int, str, list[Header], Dialect]:
    for number, text in enumerate(head.lines[:_LINES_SEARCHED]):
        for delimiter in DELIMITERS:
            if not len(REQUIRED) - 1 <= text.count(delimiter) < _MOST_CELLS:
                continue
            cells = fields(text, delimiter)
            headers = [parse_header(cell) for cell in cells]
            found = dialect_of(headers)
            if overrides and set(overrides) <= {header.raw for header in headers}:
                return number, delimiter, headers, found or PLAIN
            if found and not overrides:
                return number, delimiter, headers, found
    raise _no_header(head, overrides)


def _no_header(head: TextHead, overrides: Mapping[str, Override]) -> Exception:
    cells = _likely_header(head)
    shown = ", ".join(f"'{cell.strip()[:40]}'" for cell in cells[:14]) + (", ..." if len(cells) > 14 else "")
    if overrides:
        missing = ", ".join(f"'{name}'" for name in overrides if name not in {cell.strip() for cell in cells})
        found = f"The likeliest has {shown}." if cells else ""
        return unreadable(head.path, f"no line has all the headers that `columns` names (missing: {missing}).", found)
    problem = f"its columns are of no format known here: {shown}." if cells else "no line of it is the header of a table."
    return unreadable(
        head.path,
        problem,
        "Expected were those of Arbin, Maccor, Novonix or Landt, or time, voltage and current under names such as "
        "`test_time_second` or 'Test Time / s', 'Voltage (mV)', 'Current [A]'. Say what its columns are with `columns`, such as "
        "{'t': 'test_time_second [min]', 'U': 'voltage_volt [mV]', 'I': '-current_ampere [mA]'} (minus: discharge is positive).",
    )


def _likely_header(head: TextHead) -> list[str]:
    lines = head.lines[:_LINES_SEARCHED]
    rows = [fields(text, d) for text in lines for d in DELIMITERS if 0 < text.count(d) < _MOST_CELLS]
    named = [row for row in rows if sum(not _is_number(cell) for cell in row) > len(row) / 2]
    return max(named, key=len, default=[])


def _is_number(cell: str) -> bool:
    return len(cell) < _LONGEST_NUMBER and bool(_NUMBER.match(cell))


def _samples(head: TextHead, first: int, delimiter: str) -> tuple[tuple[str, ...], ...]:
    whole = head.lines if head.lines and not _cut(head) else head.lines[:-1]
    return tuple(tuple(fields(text, delimiter)) for text in whole[first : first + _SAMPLE_ROWS] if text.strip("\r\n"))


def _cut(head: TextHead) -> bool:
    """Whether the last line of the head goes on in the file."""
    long = sum(len(line) for line in head.lines) * (2 if head.encoding.startswith("utf-16") else 1) + head.mark >= (1 << 20) - 4
    return long and not head.lines[-1].endswith(("\n", "\r"))


def _fitted(headers: list[Header], cells: int) -> list[Header]:
    """Headers of rows that end with one delimiter more or less than the header does."""
    if cells == len(headers) + 1:
        return [*headers, parse_header("")]
    return headers[:-1] if cells == len(headers) - 1 and not headers[-1].raw else headers


def _decimal(samples: tuple[tuple[str, ...], ...], delimiter: str) -> str:
    cells = [cell for row in samples for cell in row if len(cell) < _LONGEST_NUMBER]
    comma = delimiter != "," and any(map(_DECIMAL_COMMA.match, cells)) and not any(map(_DECIMAL_POINT.match, cells))
    return "," if comma else "."


class _Columns:
    """Which of a table's columns become which, one header at a time."""

    def __init__(
        self,
        head: TextHead,
        dialect: Dialect,
        headers: list[Header],
        samples: tuple[tuple[str, ...], ...],
        overrides: Mapping[str, Override],
    ) -> None:
        self.head, self.dialect, self.headers, self.samples, self.overrides = head, dialect, headers, samples, overrides
        self.notes: list[str] = []
        self.assumed: list[str] = []

    def planned(self) -> tuple[list[PlannedColumn], list[str], list[str]]:
        """The columns to read, the headers of the others, and what is to be known."""
        candidates = [(i, header, self._target(header)) for i, header in enumerate(self.headers)]
        chosen: dict[str, PlannedColumn] = {}
        for index, header, target in sorted(candidates, key=lambda item: self._rank(item[1])):
            if target is None:
                continue
            if target.bdf in chosen:
                self._doubled(header, chosen[target.bdf])
            elif column := self._column(index, header, target):
                chosen[target.bdf] = column
        self._complete(chosen)
        used = {column.index for column in chosen.values()}
        unmapped = [header.raw for i, header in enumerate(self.headers) if i not in used and header.raw]
        if self.assumed:
            self.notes.append(f"the file names no units: {', '.join(self.assumed)} were taken.")
        if counted := [f"'{column.header}'" for column in chosen.values() if column.note == RESETS]:
            self.notes.append(f"{', '.join(counted)}: {RESETS}.")
        return sorted(chosen.values(), key=lambda column: column.index), unmapped, self.notes

    def _target(self, header: Header) -> Target | None:
        if override := self.overrides.get(header.raw):
            return Target(override.bdf, override.unit or header.unit) if override.bdf else None
        if self.dialect.takes_bdf and (found := as_bdf(header)):
            return Target(found[0])
        return self.dialect.target(header)

    def _rank(self, header: Header) -> int:
        if header.raw in self.overrides:
            return -1
        order = list(self.dialect.columns)
        return min((order.index(name) for name in (header.whole, header.base) if name in order), default=-1)

    def _doubled(self, header: Header, taken: PlannedColumn) -> None:
        if header.raw == taken.header:
            raise unreadable(
                self.head.path,
                f"two columns are called '{header.raw}', and both would be `{taken.bdf}`.",
                "Rename or remove one of them.",
            )
        self.notes.append(f"'{header.raw}' was left out: '{taken.header}' gives `{taken.bdf}` already.")

    def _column(self, index: int, header: Header, target: Target) -> PlannedColumn | None:
        cells = [row[index] for row in self.samples if index < len(row) and row[index].strip()]
        text = bool(cells) and not _is_number(cells[0])
        if text and target.bdf == "unix_time_second":
            return self._dated(index, header, target, cells)
        if text and dimension(target.bdf) == "time" and is_duration(cells[0]):
            return PlannedColumn(index, header.raw, target.bdf, Conversion(), "duration", target.note)
        how = self._conversion(header, target)
        if how is None:
            return None
        override = self.overrides.get(header.raw)
        return PlannedColumn(
            index, header.raw, target.bdf, how.negated if override and override.negative else how, "", target.note
        )

    def _dated(self, index: int, header: Header, target: Target, cells: list[str]) -> PlannedColumn | None:
        notation = stamp_format(cells) or stamp_format(cells[:1])
        if notation is None:
            self.notes.append(f"'{header.raw}' was left out: '{cells[0].strip()[:40]}' is no date in a known notation.")
            return None
        if is_ambiguous(cells, notation):
            self.notes.append(f"dates of '{header.raw}' such as '{cells[0].strip()[:10]}' were taken for month/day/year.")
        return PlannedColumn(index, header.raw, target.bdf, Conversion(), notation, target.note)

    def _conversion(self, header: Header, target: Target) -> Conversion | None:
        if header.raw not in self.overrides and self.dialect.takes_bdf and (found := as_bdf(header)):
            return found[1]
        stated = target.unit if header.raw in self.overrides else header.unit
        unit = stated if stated is not None else target.unit
        if unit is not None and stated is None and self.dialect is PLAIN and unit != "1":
            self._assume(unit, header, target)
        if unit is not None and header.raw not in self.overrides and is_shouted(unit, target.bdf):
            unit = self._quieted(unit, header, target)
        how = conversion(unit, target.bdf) if unit is not None else Conversion() if header.raw in self.overrides else None
        if how is None and target.bdf in REQUIRED:
            given = f"the unit '{unit}', which is not known" if unit else "no unit"
            raise unreadable(
                self.head.path,
                f"the column '{header.raw}' has {given}.",
                f"Say it with `columns`, such as {{'{header.raw}': '{target.bdf} [{known_units(target.bdf)[0]}]'}}.",
            )
        if how is None:
            self.notes.append(f"'{header.raw}' was left out: {f'its unit {unit!r} is not known' if unit else 'it has no unit'}.")
        return how

    def _quieted(self, unit: str, header: Header, target: Target) -> str:
        """Milli for a unit in a header all in capitals; elsewhere `M` may be meant or mistyped."""
        if header.raw != header.raw.upper():
            raise unreadable(
                self.head.path,
                f"the column '{header.raw}' has the unit '{unit}', which may be mega or milli.",
                f"Say it with `columns`, such as {{'{header.raw}': '{target.bdf} [{quieted(unit)}]'}}.",
            )
        self.notes.append(f"'{header.raw}' was read in {quieted(unit)}: its header is all in capitals.")
        return quieted(unit)

    def _assume(self, unit: str, header: Header, target: Target) -> None:
        """Take SI for a header without unit, unless the voltage says that it is something else."""
        index = self.headers.index(header)
        cells = [row[index] for row in self.samples if index < len(row) and _is_number(row[index])]
        largest = max((abs(float(cell.replace(",", "."))) for cell in cells), default=0.0)
        if target.bdf == "voltage_volt" and largest > _LARGEST_V:
            raise unreadable(
                self.head.path,
                f"the column '{header.raw}' has no unit, and {largest:g} is no cell's voltage in V.",
                f"Say its unit with `columns`, such as {{'{header.raw}': 'voltage_volt [mV]'}}.",
            )
        self.assumed.append(f"{unit} for '{header.raw}'")

    def _complete(self, chosen: Mapping[str, PlannedColumn]) -> None:
        missing = [name for name in REQUIRED if name not in chosen]
        if missing:
            raise unreadable(
                self.head.path,
                f"has no column for {' and '.join(f'`{name}`' for name in missing)}.",
                f"It has: {', '.join(header.raw for header in self.headers if header.raw)}. Say which it is with `columns`.",
            )
        twice = [name for name, n in Counter(h.raw for h in self.headers if h.raw in self.overrides).items() if n > 1]
        if twice:
            raise unreadable(self.head.path, f"two columns are called '{twice[0]}'.", "Rename one of them.")


def is_own_format(dialect: Dialect) -> bool:
    """Whether the table is one of the Battery Data Format itself."""
    return dialect is BDF
