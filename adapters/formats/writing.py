"""Recordings written as Battery Data Format, CSV or Parquet: whole or not at all, a batch at a time."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from adapters.formats.sidecar import sidecar_path
from adapters.formats.vocabulary import label
from orchestrator.domain.errors import Fault, SpecError, StoreError
from orchestrator.domain.recording import BDF_COLUMNS, OWN_COLUMNS

METADATA_KEY = b"battery_data_format"
_COMPRESSED = "zstd"


def write_bdf_csv(
    path: str | Path,
    batches: Iterable[Mapping[str, NDArray[Any]]],
    metadata: Mapping[str, Any] | None = None,
    *,
    labels: bool = False,
) -> int:
    """Write a recording as Battery Data Format CSV.

    Floats are written with the fewest digits that give the same float64 back, whole numbers as such, NaN as an empty cell.

    Args:
        path: the file, replaced if it is there.
        batches: arrays of shape (n,) by Battery Data Format name; the same columns in each.
        metadata: JSON-ready; written beside as `<stem>.metadata.json`, since a CSV has no place for it. None writes none.
        labels: head the columns with `Test Time / s` instead of `test_time_second`.

    Returns:
        How many rows were written.

    Raises:
        SpecError: if the columns are not of the vocabulary, or differ between batches; nothing is left behind.
        StoreError: if the file cannot be written; nothing is left behind.
    """
    import pyarrow as pa
    import pyarrow.csv as pc

    path = Path(path)
    rows = 0
    with _whole_file(path) as file:
        options = pc.WriteOptions(include_header=False, quoting_style="none")
        writer = None
        for table in _tables(batches, empty_for_nan=True):
            if writer is None:
                file.write((",".join(label(name) if labels else name for name in table.schema.names) + "\n").encode())
                writer = pc.CSVWriter(pa.PythonFile(file, "w"), table.schema, write_options=options)
            writer.write_batch(table)
            rows += table.num_rows
        if metadata is not None:
            with _whole_file(sidecar_path(path)) as beside:
                beside.write(json.dumps(dict(metadata), indent=1).encode())
    return rows


def write_bdf_parquet(
    path: str | Path,
    batches: Iterable[Mapping[str, NDArray[Any]]],
    metadata: Mapping[str, Any] | None = None,
    *,
    labels: bool = False,
) -> int:
    """Write a recording as Battery Data Format Parquet: plain float64 and int64 columns that any tool reads.

    Floats are split by byte, whole numbers packed by difference, both compressed with zstd; every bit is kept, NaN as NaN.

    Args:
        path: the file, replaced if it is there.
        batches: arrays of shape (n,) by Battery Data Format name; the same columns in each. Each becomes a row group.
        metadata: JSON-ready; kept in the file's schema under `battery_data_format`.
        labels: name the columns `Test Time / s` instead of `test_time_second`.

    Returns:
        How many rows were written.

    Raises:
        SpecError: if the columns are not of the vocabulary, or differ between batches; nothing is left behind.
        StoreError: if the file cannot be written; nothing is left behind.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    with _whole_file(Path(path)) as file:
        writer = None
        for batch in _tables(batches, empty_for_nan=False):
            names = [label(name) if labels else name for name in batch.schema.names]
            table = batch.rename_columns(names)
            if writer is None:
                kept = {METADATA_KEY: json.dumps(dict(metadata or {})).encode()}
                encodings = {
                    name: "DELTA_BINARY_PACKED" if pa.types.is_integer(kind) else "BYTE_STREAM_SPLIT"
                    for name, kind in zip(names, table.schema.types, strict=True)
                }
                writer = pq.ParquetWriter(
                    file,
                    table.schema.with_metadata(kept),
                    compression=_COMPRESSED,
                    use_dictionary=False,
                    column_encoding=encodings,
                )
            writer.write_batch(table.replace_schema_metadata({METADATA_KEY: kept[METADATA_KEY]}))
            rows += table.num_rows
        if writer is not None:
            writer.close()
    return rows


def _tables(batches: Iterable[Mapping[str, NDArray[Any]]], *, empty_for_nan: bool) -> Iterator[Any]:
    import pyarrow as pa

    columns: list[str] | None = None
    for batch in batches:
        if columns is None:
            columns = list(batch)
            _check_names(columns)
        if list(batch) != columns:
            raise SpecError(Fault("batches", f"columns changed from {', '.join(columns)} to {', '.join(batch)}."))
        arrays = [_array(name, batch[name], empty_for_nan) for name in columns]
        if len({len(array) for array in arrays}) > 1:
            raise SpecError(Fault("batches", f"columns differ in length: {dict(zip(columns, map(len, arrays), strict=True))}."))
        yield pa.record_batch(arrays, names=columns)
    if columns is None:
        raise SpecError(Fault("batches", "there is nothing to write.", "Give at least one batch."))


def _check_names(columns: list[str]) -> None:
    unknown = [name for name in columns if name not in BDF_COLUMNS and name not in OWN_COLUMNS]
    faults = [Fault(name, "is not a Battery Data Format name.", f"Known: {', '.join(BDF_COLUMNS)}.") for name in unknown]
    if faults or not columns:
        raise SpecError(faults or [Fault("batches", "a batch has no columns.")])


def _array(name: str, values: NDArray[Any], empty_for_nan: bool) -> Any:
    import pyarrow as pa

    whole = (BDF_COLUMNS | OWN_COLUMNS)[name] == "i"
    given = np.asarray(values)
    if given.ndim != 1 or given.dtype.kind not in "iufb" or (whole and given.dtype.kind == "f"):
        kind = "whole numbers" if whole else "numbers"
        raise SpecError(Fault(name, f"needs one-dimensional {kind}, not {given.dtype} of shape {given.shape}."))
    if whole:
        _check_whole(name, given)
        return pa.array(given.astype(np.int64))
    numbers = given.astype(np.float64)
    return pa.array(numbers, mask=np.isnan(numbers) if empty_for_nan else None)


def _check_whole(name: str, given: NDArray[Any]) -> None:
    largest = np.uint64(2**63 - 1)
    if given.dtype == np.uint64 and (given > largest).any():
        row = int(np.argmax(given > largest))
        raise SpecError(Fault(name, f"has {given[row]} in row {row + 1} of its batch, more than an int64 holds."))


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file under a temporary name, which takes its own name when everything is on the disk."""
    if path.is_dir():
        raise StoreError(f"'{path}' cannot be written: it is a folder. Nothing was left there.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.writing")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise StoreError(f"'{path}' cannot be written: {error.strerror or error}. Nothing was left there.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
