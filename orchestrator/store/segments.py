"""One segment of a live recording: an Arrow IPC stream whose batches carry a cursor and a checksum, read while whole."""

from __future__ import annotations

import json
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


@dataclass(frozen=True)
class Segment:
    """What is whole of a segment.

    Attributes:
        key: of the test.
        rows_before: rows in the segments before it.
        rows: rows in it.
        length: bytes up to the end of the last whole batch; 0 if there is none.
        cursor: the cycler's, behind the last whole batch.
        kinds: dtypes by column, in their order.
    """

    path: Path
    key: str
    rows_before: int
    rows: int = 0
    length: int = 0
    cursor: str | None = None
    kinds: dict[str, str] | None = None

    def batches(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Its whole batches.

        Raises:
            FileNotFoundError: if it was removed meanwhile.
        """
        with self.path.open("rb") as stream:
            content = stream.read(self.length)
        for _, columns, _ in _whole(content):
            yield columns


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


def read_segment(path: Path) -> Segment | None:
    """What is whole of a segment; None if not even its beginning is.

    Raises:
        FileNotFoundError: if it is not there.
    """
    content = path.read_bytes()
    said = _opening(content)
    if said is None:
        return None
    rows, length, cursor, following = 0, 0, None, said["rows_before"]
    for end, columns, batch in _whole(content):
        if batch["row"] != following:
            break
        count = len(next(iter(columns.values())))
        rows, length, cursor, following = rows + count, end, batch["cursor"], following + count
    return Segment(path, said["key"], said["rows_before"], rows, length, cursor, said["dtypes"])


def _opening(content: bytes) -> dict[str, Any] | None:
    import pyarrow as pa

    try:
        found: dict[str, Any] = json.loads(pa.ipc.open_stream(pa.BufferReader(content)).schema.metadata[_METADATA])
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, MemoryError):
        return None
    return found


def _whole(content: bytes) -> Iterator[tuple[int, dict[str, NDArray[Any]], dict[str, Any]]]:
    """Batches as far as they are whole: where each ends, its columns, and what it says of itself."""
    import pyarrow as pa

    source = pa.BufferReader(content)
    try:
        reader = pa.ipc.open_stream(source)
        while True:
            batch, metadata = reader.read_next_batch_with_custom_metadata()
            said = json.loads(metadata[_METADATA])
            batch.validate(full=True)
            columns = _columns(batch)
            if said["crc32"] != _checksum(columns, said["cursor"], said["row"]):
                return
            yield source.tell(), columns, said
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, MemoryError, StopIteration):
        return  # torn: nobody was told that what follows is safe


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
