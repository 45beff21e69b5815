"""Closed recordings as Parquet files: written in row groups with bounded memory, read whole, in part, or piece by piece.

The same rows make the same file, however they came in pieces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import StoreError
from orchestrator.store.column_encoding import EXACT, Coding, Survey, into, to_arrow
from orchestrator.store.plain import json_ready

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Columns = Mapping[str, NDArray[Any]]


class Sink(Protocol):
    """What Parquet writes to."""

    closed: bool

    def write(self, data: Any) -> int:
        """Take bytes."""
        ...

    def flush(self) -> None:
        """Pass on what was taken."""
        ...


SCHEMA_VERSION = 2
UNITS = {"second": "s", "volt": "V", "ampere": "A", "celsius": "degC", "ah": "Ah", "wh": "Wh", "ohm": "ohm", "hertz": "Hz"}
ROW_GROUP = 262_144
CYCLE = "cycle_count"
READ_SO = (
    "Decimal columns are exact: dividing the stored integer by 10^decimals in float64 gives the recorded value bit by bit. "
    f"Null is NaN. Where a column '<name>{EXACT}' is not null, it holds the value instead."
)
_METADATA = b"voltloop"
_LEVEL, _SAMPLE = 3, 32_768
_INTEGERS = ("DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT", "PLAIN")
_FLOATS = ("BYTE_STREAM_SPLIT", "PLAIN")


@dataclass(frozen=True)
class Surveyed:
    """Rows that were looked at once and are ready to be written.

    Attributes:
        codings: how each column is stored.
        rows: how many there are.
        chunks: gives them again, in row groups.
    """

    codings: dict[str, Coding]
    rows: int
    chunks: Callable[[], Iterable[Columns]]


def surveyed(key: str, batches: Iterable[Columns], resolution: Mapping[str, float], spool: IO[bytes]) -> Surveyed:
    """Look at batches; of an iterator, more rows than a row group has go through a file meanwhile.

    Args:
        key: whose they are, for messages.
        batches: arrays of equal length by name; every batch has the same columns and dtypes. A list or tuple is gone through
            twice, anything else once.
        resolution: steps by column, for those that may be rounded.
        spool: an empty file, written and read.

    Raises:
        StoreError: if batches differ in their columns, columns in length, or values cannot be stored.
    """
    surveys: dict[str, Survey] = {}
    again = isinstance(batches, Sequence)
    kept = _Spool(spool)
    rows = 0
    for chunk in row_groups(key, batches):
        surveys = surveys or {name: Survey(name, column.dtype, resolution.get(name)) for name, column in chunk.items()}
        rounded = _rounded(chunk, surveys)
        for name, column in rounded.items():
            surveys[name].take(column)
        rows += _length(rounded)
        if not again:
            kept.add(rounded)
    if unknown := sorted(set(resolution) - set(surveys)):
        raise StoreError(f"the recording of {key} has no column '{unknown[0]}', for which a resolution is given.")
    codings = {name: survey.coding() for name, survey in surveys.items()}
    if again:
        return Surveyed(codings, rows, lambda: (_rounded(chunk, surveys) for chunk in row_groups(key, batches)))
    return Surveyed(codings, rows, kept.chunks)


def _rounded(chunk: Columns, surveys: Mapping[str, Survey]) -> dict[str, NDArray[Any]]:
    return {name: surveys[name].rounded(column) for name, column in chunk.items()}


class _Spool:
    """Chunks kept to be gone through once more: the first in memory, several in a file."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._first: list[Columns] = []
        self._writer: Any = None

    def add(self, chunk: Columns) -> None:
        """Keep one more."""
        import pyarrow as pa

        if not self._first:
            self._first.append(chunk)
            return
        if self._writer is None:
            self._writer = pa.ipc.new_stream(self._stream, _as_batch(chunk).schema)
        self._writer.write_batch(_as_batch(chunk))

    def chunks(self) -> Iterator[Columns]:
        """All of them; none can be added any more."""
        import pyarrow as pa

        yield from self._first
        if self._writer is not None:
            self._writer.close()
            self._stream.seek(0)
            for batch in pa.ipc.open_stream(self._stream):
                columns = zip(batch.schema.names, batch.columns, strict=True)
                yield {name: column.to_numpy(zero_copy_only=False) for name, column in columns}


def _as_batch(chunk: Columns) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.record_batch({name: pa.array(column) for name, column in chunk.items()})


def row_groups(key: str, batches: Iterable[Columns]) -> Iterator[dict[str, NDArray[Any]]]:
    """Batches joined and cut into row groups of `ROW_GROUP` rows; the last is shorter, and the only one may be empty.

    Raises:
        StoreError: if batches differ in their columns, or columns in length.
    """
    kinds: dict[str, str] | None = None
    waiting: list[dict[str, NDArray[Any]]] = []
    rows = given = 0
    for batch in batches:
        arrays = native(batch)
        kinds = _same_columns(key, kinds, arrays)
        while arrays:
            part, arrays = _cut(arrays, ROW_GROUP - rows)
            waiting.append(part)
            rows += _length(part)
            if rows == ROW_GROUP:
                yield _joined(waiting)
                waiting, rows, given = [], 0, given + 1
    if waiting and (rows or not given):
        yield _joined(waiting)


def native(batch: Columns) -> dict[str, NDArray[Any]]:
    """Columns as arrays in this machine's byte order."""
    arrays = {name: np.asarray(array) for name, array in batch.items()}
    return {name: a if a.dtype.isnative else a.astype(a.dtype.newbyteorder("=")) for name, a in arrays.items()}


def _same_columns(key: str, kinds: dict[str, str] | None, arrays: Columns) -> dict[str, str]:
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise StoreError(f"the recording of {key} cannot be stored: its columns differ in length: {lengths}.")
    found = {name: array.dtype.name for name, array in arrays.items()}
    if kinds is not None and list(found.items()) != list(kinds.items()):
        raise StoreError(f"the recording of {key} cannot be stored: {difference(kinds, found)}.")
    return found


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """How the columns of two batches differ, in words; dtypes by name."""
    for name in [*before, *now]:
        if name not in now:
            return f"the column '{name}' was there before and is missing now"
        if name not in before:
            return f"the column '{name}' was not there before"
        if before[name] != now[name]:
            return f"the column '{name}' held {before[name]} before and holds {now[name]} now"
    return f"its columns come in another order: {', '.join(before)} before, {', '.join(now)} now"


def _cut(arrays: dict[str, NDArray[Any]], at: int) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    if _length(arrays) <= at:
        return arrays, {}
    return {n: a[:at] for n, a in arrays.items()}, {n: a[at:] for n, a in arrays.items()}


def _joined(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _length(columns: Columns) -> int:
    return len(next(iter(columns.values()))) if columns else 0


def write_parquet(sink: Sink, key: str, found: Surveyed, metadata: Mapping[str, Any]) -> None:
    """Write surveyed rows as one Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None
    for chunk in found.chunks():
        table = pa.table(_stored(chunk, found.codings))
        if writer is None:
            said = json.dumps(_said(key, found.codings, metadata), sort_keys=True, ensure_ascii=False)
            schema = table.schema.with_metadata({_METADATA: said})
            writer = pq.ParquetWriter(sink, schema, **_options(table))
        writer.write_table(table, row_group_size=ROW_GROUP)
    if writer is None:
        said = json.dumps(_said(key, {}, metadata), sort_keys=True, ensure_ascii=False)
        pq.write_table(pa.table({}).replace_schema_metadata({_METADATA: said}), sink)
    else:
        writer.close()


def _stored(chunk: Columns, codings: Mapping[str, Coding]) -> dict[str, pa.Array]:
    stored: dict[str, pa.Array] = {}
    for name, column in chunk.items():
        stored.update(to_arrow(name, column, codings[name]))
    return stored


def _said(key: str, codings: Mapping[str, Coding], metadata: Mapping[str, Any]) -> dict[str, Any]:
    columns = {name: coding.to_json() for name, coding in codings.items()}
    units = {name: unit for name in columns if (unit := UNITS.get(name.rpartition("_")[2]))}
    return {
        "schema_version": SCHEMA_VERSION,
        "key": key,
        "units": units,
        "columns": columns,
        "read_so": READ_SO,
        "metadata": json_ready(metadata),
    }


def _options(table: pa.Table) -> dict[str, Any]:
    """The writer's settings; for each column the encoding that makes a sample of the first rows smallest."""
    common = {"compression": "zstd", "compression_level": _LEVEL, "use_dictionary": False, "store_decimal_as_integer": True}
    possible = {field.name: _encodings(field.type) for field in table.schema}
    best: dict[str, tuple[int, str]] = {}
    sample = table.slice(max(0, (len(table) - _SAMPLE) // 2), _SAMPLE)
    for encoding in _INTEGERS:
        names = [name for name, choices in possible.items() if encoding in choices]
        if names:
            sizes = _sizes(sample.select(names), {**common, "column_encoding": dict.fromkeys(names, encoding)})
            best = {**best, **{name: min(best.get(name, (size, encoding)), (size, encoding)) for name, size in sizes.items()}}
    chosen = {name: encoding for name, (_, encoding) in best.items()}
    statistics = [name for name in (CYCLE,) if name in table.column_names]
    return {**common, "column_encoding": chosen, "write_statistics": statistics or False}


def _encodings(kind: pa.DataType) -> tuple[str, ...]:
    import pyarrow as pa

    if pa.types.is_floating(kind):
        return _FLOATS
    return ("PLAIN",) if pa.types.is_boolean(kind) else _INTEGERS


def _sizes(sample: pa.Table, options: Mapping[str, Any]) -> dict[str, int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(sample, sink, write_statistics=False, **options)
    group = pq.read_metadata(pa.BufferReader(sink.getvalue())).row_group(0) if len(sample) else None
    names = sample.column_names
    return {name: group.column(i).total_compressed_size if group else 0 for i, name in enumerate(names)}


class RecordingReader:
    """A recording's file, of any format this voltloop knows.

    Args:
        source: a path, or an Arrow buffer reader.
        name: the file's, for messages.

    Raises:
        StoreError: if it is no recording, or of a newer format.
    """

    def __init__(self, source: Path | pa.BufferReader, name: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._name = name
        try:
            self._file = pq.ParquetFile(source)
            said: dict[str, Any] = json.loads((self._file.schema_arrow.metadata or {})[_METADATA])
        except (pa.ArrowInvalid, KeyError, ValueError):
            raise StoreError(f"'{name}' is no recording of voltloop's. Restore it from a backup.") from None
        check_version(name, said["schema_version"])
        self.rows: int = self._file.metadata.num_rows
        self.said = said
        self._codings: dict[str, Coding] = {
            column: Coding(found["dtype"], found.get("decimals"), exact=found.get("exact", False))
            for column, found in said.get("columns", {}).items()
        }
        self._types = {field.name: field.type for field in self._file.schema_arrow}
        own = {name + EXACT for name, coding in self._codings.items() if coding.exact}
        self.columns = [name for name in self._types if name not in own]

    def metadata(self) -> dict[str, Any]:
        """What the file says of itself: `key`, `schema_version`, `units`, `metadata`, and how columns are stored."""
        return self.said

    def read(self, columns: Iterable[str] | None = None, cycles: tuple[int, int] | None = None) -> dict[str, NDArray[Any]]:
        """Columns, each of shape (n,), as they were recorded.

        Args:
            columns: which; None: all.
            cycles: first and last `cycle_count` that are wanted; row groups without them are not read.

        Raises:
            StoreError: if there is no such column.
        """
        wanted = self._wanted(columns)
        if cycles is not None:
            return self._of_cycles(wanted, cycles)
        found = {name: np.empty(self.rows, dtype=self._dtype(name)) for name in wanted}
        at = 0
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            self._fill({name: array[at : at + rows] for name, array in found.items()}, group)
            at += rows
        return found

    def batches(self, columns: Iterable[str] | None = None) -> Iterator[dict[str, NDArray[Any]]]:
        """Row group by row group: at most `ROW_GROUP` rows at once."""
        wanted = self._wanted(columns)
        for group in range(self._file.num_row_groups):
            yield self._group(wanted, group)

    def _wanted(self, columns: Iterable[str] | None) -> list[str]:
        wanted = self.columns if columns is None else list(columns)
        if missing := [name for name in wanted if name not in self.columns]:
            raise StoreError(f"the recording '{self._name}' has no column '{missing[0]}'. It has: {', '.join(self.columns)}.")
        return wanted

    def _of_cycles(self, wanted: list[str], cycles: tuple[int, int]) -> dict[str, NDArray[Any]]:
        needed = self._wanted([*wanted, *([CYCLE] if CYCLE not in wanted else [])])
        parts = [self._group(needed, group) for group in range(self._file.num_row_groups) if self._may_hold(group, cycles)]
        if not parts:
            return {name: np.empty(0, dtype=self._dtype(name)) for name in wanted}
        kept = [(part[CYCLE] >= cycles[0]) & (part[CYCLE] <= cycles[1]) for part in parts]
        return {name: np.concatenate([part[name][k] for part, k in zip(parts, kept, strict=True)]) for name in wanted}

    def _may_hold(self, group: int, cycles: tuple[int, int]) -> bool:
        found = self._file.metadata.row_group(group)
        statistics = found.column(self._file.schema_arrow.names.index(CYCLE)).statistics
        if statistics is None or not statistics.has_min_max or not isinstance(statistics.min, int):
            return True
        return bool(statistics.min <= cycles[1] and statistics.max >= cycles[0])

    def _group(self, wanted: list[str], group: int) -> dict[str, NDArray[Any]]:
        rows = self._file.metadata.row_group(group).num_rows
        found = {name: np.empty(rows, dtype=self._dtype(name)) for name in wanted}
        self._fill(found, group)
        return found

    def _dtype(self, name: str) -> np.dtype[Any]:
        coding = self._codings.get(name)
        return np.dtype(coding.dtype if coding else self._types[name].to_pandas_dtype())

    def _fill(self, arrays: Mapping[str, NDArray[Any]], group: int) -> None:
        exact = [name + EXACT for name in arrays if name in self._codings and self._codings[name].exact]
        table = self._file.read_row_group(group, columns=[*arrays, *exact])
        stored = {name: table[name].combine_chunks() for name in table.column_names}
        for name, array in arrays.items():
            into(array, name, stored, self._codings.get(name))


def check_version(name: str, version: int) -> None:
    """Refuse a file of a later format.

    Raises:
        StoreError: if it is one.
    """
    if version > SCHEMA_VERSION:
        raise StoreError(f"the recording '{name}' has format {version}; this voltloop reads up to {SCHEMA_VERSION}.")
