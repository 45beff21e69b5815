"""Text exports as cycler files: the plan carried out row by row, and what the lines above the table say kept as metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.formats.cycler_file import Batch, CyclerFile, rebatched, unreadable
from adapters.formats.override import Override
from adapters.formats.planning import Plan, PlannedColumn, is_own_format, plan
from adapters.formats.sidecar import read_sidecar
from adapters.formats.states import discharging, sign_note
from adapters.formats.text_head import TextHead
from adapters.formats.timestamps import duration_seconds, stamp_seconds
from adapters.formats.units import convert
from orchestrator.domain.recording import BDF_COLUMNS


def open_text(head: TextHead, overrides: Mapping[str, Override], time_zone: str) -> CyclerFile:
    """A text export, opened: planned from its first lines.

    Raises:
        FormatError: if it is no table that is known, or told of by `overrides`.
    """
    made = plan(head, overrides)
    metadata = _preamble(head, made)
    if is_own_format(made.dialect):
        metadata |= read_sidecar(head.path)
    return CyclerFile(
        path=head.path,
        format=made.dialect.name,
        metadata=metadata,
        mapping=tuple(column.mapping for column in made.columns),
        unmapped=made.unmapped,
        notes=(*made.notes, *_sign_notes(made), *_time_notes(made, time_zone), *_cycle_notes(made)),
        columns=tuple(column.bdf for column in made.columns),
        read=lambda rows: rebatched(_Reading(made, time_zone).batches(), rows),
    )


class _Reading:
    """One pass over a text file's rows."""

    def __init__(self, made: Plan, time_zone: str) -> None:
        self.plan, self.time_zone = made, time_zone

    def batches(self) -> Iterator[Batch]:
        """Every piece of the table as columns of the vocabulary."""
        texts = [column.index for column in self.plan.columns if column.notation]
        numbers = [column.index for column in self.plan.columns if not column.notation]
        extra = [] if self.plan.states is None else [self.plan.states]
        empty = True
        for first, piece in self.plan.table.pieces(numbers, texts + extra):
            empty = False
            batch = {column.bdf: self._values(column, piece[column.index], first) for column in self.plan.columns}
            if self.plan.states is not None:
                batch["current_ampere"] = _signed(batch["current_ampere"], piece[self.plan.states])
            yield batch
        if empty:
            raise unreadable(self.plan.table.head.path, "has a header and no rows.", "Export the test again, with its data.")

    def _values(self, column: PlannedColumn, found: Any, first: int) -> NDArray[Any]:
        if column.notation:
            return self._from_text(column, found, first)
        values = found.to_numpy(zero_copy_only=False)
        if BDF_COLUMNS.get(column.bdf, "i") == "i":
            return self._whole(column, values, first)
        return convert(values, column.how)

    def _whole(self, column: PlannedColumn, values: NDArray[np.float64], first: int) -> NDArray[np.int64]:
        sound = np.isfinite(values) & (np.rint(values) == values) & (np.abs(values) < 2.0**53)
        if not sound.all():
            row = int(np.argmin(sound))
            empty = "is empty." if np.isnan(values[row]) else f"has {values[row]:.17g} where a whole number belongs."
            raise self.plan.table.bad_cell(first + row, column.header, empty)
        return values.astype(np.int64)

    def _from_text(self, column: PlannedColumn, found: Any, first: int) -> NDArray[np.float64]:
        import polars as pl

        texts = pl.Series(pl.from_arrow(found))
        if column.notation == "duration":
            values = duration_seconds(texts)
        else:
            values = stamp_seconds(texts, column.notation, self.time_zone)
        wrong = np.isnan(values) & texts.str.strip_chars().fill_null("").ne("").to_numpy()
        if wrong.any():
            row = int(np.argmax(wrong))
            kind = "time such as 12:03:04.5" if column.notation == "duration" else "date in the notation of the first rows"
            raise self.plan.table.bad_cell(first + row, column.header, f"has '{str(texts[row])[:40]}', no {kind}.")
        return values


def _signed(current: NDArray[np.float64], states: Any) -> NDArray[np.float64]:
    """Current with the sign of its state: negative in discharge, whatever the file's sign."""
    return np.where(discharging(states) & (current > 0), -current, current)


def _sign_notes(made: Plan) -> list[str]:
    name = made.dialect.name
    if made.states is not None:
        current = next(column for column in made.columns if column.bdf == "current_ampere")
        return [sign_note(made.table, made.states, current.index)]
    if name == "maccor":
        return ["no column of states was read: the current's sign is as in the file, which Maccor may write without one."]
    if name == "csv" and not any(column.bdf == "current_ampere" and column.how.scale < 0 for column in made.columns):
        return ["the current's sign was taken as it is: positive when charging."]
    return []


def _time_notes(made: Plan, time_zone: str) -> list[str]:
    dated = next((column for column in made.columns if column.notation not in ("", "duration")), None)
    if dated is None or dated.notation.endswith("%:z"):
        return []
    return [f"dates of '{dated.header}' name no time zone: {time_zone} was taken."]


def _cycle_notes(made: Plan) -> list[str]:
    cycles = next((column for column in made.columns if column.bdf == "cycle_count"), None)
    if cycles is None:
        return []
    first = made.samples[0][cycles.index].strip() if cycles.index < len(made.samples[0]) else ""
    return ["cycles are counted from 0 in the file, and kept so."] if first in ("0", "0.0") else []


def _preamble(head: TextHead, made: Plan) -> dict[str, Any]:
    """What the lines above the table say, as text by name; Novonix's protocol as the JSON that it is."""
    found: dict[str, Any] = {}
    loose: list[str] = []
    for line in head.lines[: made.header_line]:
        text = line.strip().strip(made.table.delimiter)
        if text.startswith("{"):
            found["protocol"] = _json(text)
        elif text and not (text.startswith("[") and text.endswith("]")):
            name, value = _named(text, made.table.delimiter)
            if value is None:
                loose.append(name)
            else:
                found[name] = value
    return found | ({"lines": loose} if loose else {})


def _named(text: str, delimiter: str) -> tuple[str, str | None]:
    for mark in (delimiter, ":", "="):
        name, found, value = text.partition(mark)
        if found and name.strip():
            return name.strip().rstrip(":"), value.strip().strip('"')
    return text, None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
