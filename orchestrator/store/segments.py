"""One segment of a live recording: an Arrow IPC stream whose batches carry a cursor and a checksum.

A batch that is not whole and has none behind it was torn by a crash. One with a whole batch behind it was whole once: it is
damaged, and what is behind is read all the same.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Arrays = Mapping[str, NDArray[Any]]
_METADATA = b"voltloop"
# What a message of an Arrow stream begins with; a batch's metadata are some hundred bytes for each column.
_MARKER, _MOST_METADATA = b"\xff\xff\xff\xff", 1 << 20
_MARK = re.compile(rb'\{"cursor": [^{}]{0,9999}?, "row": \d+, "crc32": \d+\}')


@dataclass(frozen=True)
class Batch:
    """One whole batch as it was found: where its rows begin in the test, and the cycler's cursor behind them."""

    row: int
    columns: dict[str, NDArray[Any]]
    cursor: str | None

    @property
    def end(self) -> int:
        """How many rows of the test are before what follows it."""
        return self.row + len(next(iter(self.columns.values()), ()))


@dataclass(frozen=True)
class Segment:
    """What can be read of a segment.

    Attributes:
        key: of the test.
        rows_before: rows in the segments before it.
        rows: rows from its beginning to the end of its last whole batch, damaged ones included.
        length: bytes up to the end of the last whole batch; 0 if there is none.
        cursor: the cycler's, behind the last whole batch.
        kinds: dtypes by column, in their order.
        damaged: whether something is not whole in front of a whole batch.
        opening: its first bytes, up to the first batch; another segment's if its own are damaged.
    """

    path: Path
    key: str
    rows_before: int
    rows: int = 0
    length: int = 0
    cursor: str | None = None
    kinds: dict[str, str] | None = None
    damaged: bool = False
    opening: bytes = b""

    def batches(self) -> Iterator[Batch]:
        """Its whole batches, in order; where some are damaged, row numbers leap.

        Raises:
            FileNotFoundError: if it was removed meanwhile.
        """
        with self.path.open("rb") as stream:
            content = stream.read(self.length)
        for _, batch, _ in _whole(content, self.opening):
            yield batch


def opening_bytes(columns: Arrays, key: str, rows_before: int) -> bytes:
    """What a segment begins with: its schema, whose it is, and how many rows are in the segments before it."""
    said = {"key": key, "rows_before": rows_before, "dtypes": {name: column.dtype.name for name, column in columns.items()}}
    schema = _schema(columns).with_metadata({_METADATA: json.dumps(said)})
    return bytes(schema.serialize().to_pybytes())


def batch_bytes(columns: Arrays, cursor: str | None, row: int) -> bytes:
    """One batch as it stands in a segment.

    Args:
        columns: its arrays, shape (n,).
        cursor: the cycler's, behind them.
        row: how many rows of the test come before it.
    """
    import pyarrow as pa

    said = {"cursor": cursor, "row": row, "crc32": _checksum(columns, cursor, row)}
    sink = pa.BufferOutputStream()
    schema = _schema(columns)
    batch = pa.RecordBatch.from_arrays([pa.array(column) for column in columns.values()], schema=schema)
    pa.ipc.new_stream(sink, schema).write_batch(batch, custom_metadata={_METADATA: json.dumps(said)})
    return bytes(sink.getvalue().to_pybytes()[schema.serialize().size :])


def read_segment(path: Path, like: bytes | None = None) -> Segment | None:
    """What can be read of a segment; None if not even its beginning can.

    Args:
        path: where it is.
        like: another segment's opening, to be used where its own is damaged.

    Raises:
        FileNotFoundError: if it is not there.
    """
    content = path.read_bytes()
    own = _opening(content)
    opening = own or (_opening(like) if like else None)
    if opening is None:
        return None
    begin, said = opening
    before: int | None = said["rows_before"] if own else None
    length, cursor, end, damaged = 0, None, before, own is None
    for stop, batch, leapt in _whole(content, begin):
        if end is not None and batch.row < end:
            continue
        before = batch.row if before is None else before
        damaged = damaged or leapt or batch.row != (before if end is None else end)
        length, cursor, end = stop, batch.cursor, batch.end
    if before is None or end is None:
        return None
    return Segment(path, said["key"], before, end - before, length, cursor, said["dtypes"], damaged, begin)


def held_batches(path: Path) -> bool:
    """Whether a file that cannot be read as a segment once held batches that were flushed: all but the last were."""
    return len(_MARK.findall(path.read_bytes())) > 1


def _opening(content: bytes) -> tuple[bytes, dict[str, Any]] | None:
    import pyarrow as pa

    source = pa.BufferReader(content)
    try:
        found: dict[str, Any] = json.loads(pa.ipc.open_stream(source).schema.metadata[_METADATA])
        return content[: source.tell()], found
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, MemoryError):
        return None


def _whole(content: bytes, opening: bytes) -> Iterator[tuple[int, Batch, bool]]:
    """Whole batches: where each ends, the batch, and whether something that is not whole was passed over in front of it."""
    own = content.startswith(opening)
    at: int | None = len(opening) if own else _next_batch(content, 0)
    leapt = not own
    while at is not None:
        for end, batch in _in_a_row(content, opening, at):
            yield end, batch, leapt
            at, leapt = end - 1, False
        at, leapt = _next_batch(content, at + 1), True


def _next_batch(content: bytes, at: int) -> int | None:
    """Where the next batch seems to begin: the marker, a length, and metadata of ours within it."""
    while (at := content.find(_MARKER, at)) >= 0:
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        if 0 < length < _MOST_METADATA and content.find(_METADATA, at + 8, at + 8 + length) >= 0:
            return at
        at += 1
    return None


def _in_a_row(content: bytes, opening: bytes, at: int) -> Iterator[tuple[int, Batch]]:
    """Batches from one place on, as far as they are whole, and where each ends."""
    import pyarrow as pa

    own = at == len(opening) and content.startswith(opening)
    source = pa.BufferReader(content if own else opening + content[at:])
    ahead = 0 if own else at - len(opening)
    try:
        reader = pa.ipc.open_stream(source)
        while True:
            batch, metadata = reader.read_next_batch_with_custom_metadata()
            said = json.loads(metadata[_METADATA])
            batch.validate(full=True)
            columns = _columns(batch)
            if said["crc32"] != _checksum(columns, said["cursor"], said["row"]):
                return
            yield source.tell() + ahead, Batch(said["row"], columns, said["cursor"])
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, MemoryError, StopIteration):
        return  # not whole


def _columns(batch: pa.RecordBatch) -> dict[str, NDArray[Any]]:
    return {name: column.to_numpy(zero_copy_only=False) for name, column in zip(batch.schema.names, batch.columns, strict=True)}


def _schema(columns: Arrays) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, pa.from_numpy_dtype(column.dtype)) for name, column in columns.items()])


def _checksum(columns: Arrays, cursor: str | None, row: int) -> int:
    checksum = zlib.crc32(json.dumps([cursor, row, list(columns)]).encode())
    for column in columns.values():
        checksum = zlib.crc32(np.ascontiguousarray(column).view(np.uint8).data, checksum)
    return checksum
