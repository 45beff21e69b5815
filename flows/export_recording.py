"""One recording of an export: Battery Data Format, and beside it, row for row, what that format has no place for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.formats import write_bdf_csv, write_bdf_parquet
from orchestrator.domain.errors import StoreError, VoltloopError
from orchestrator.domain.recording import BDF_COLUMNS, OWN_COLUMNS

Batch = Mapping[str, NDArray[Any]]
TIME = "test_time_second"
_KINDS = BDF_COLUMNS | OWN_COLUMNS
_LARGEST_WHOLE = 2.0**63


class RecordingError(VoltloopError):
    """A recording that cannot be written for others; nothing of it was left there."""


@dataclass(frozen=True)
class WrittenRecording:
    """What became of one recording.

    Attributes:
        files: of each file, what follows the stem, what it is in words, and its columns.
        notes: which columns stand beside, and why.
    """

    files: tuple[tuple[str, str, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def write_recording(
    stem: Path, batches: Callable[[], Iterator[Batch]], metadata: Mapping[str, Any], *, csv: bool
) -> WrittenRecording:
    """Write a recording as `<stem>.bdf.parquet`, and what is not of the format, or does not fit it, as `<stem>.other.parquet`.

    Whole numbers that came as floats are written as whole numbers. The other file has the same rows in the same order, headed by
    the test time.

    Args:
        stem: folder and beginning of the names.
        batches: gives the recording, as often as it is wanted.
        metadata: JSON-ready, for the Parquet file.
        csv: also write CSV.

    Raises:
        RecordingError: if the recording cannot be read, or not be written as what it is.
        StoreError, OSError: if the disk does not take it.
    """
    try:
        return _write(stem, lambda: _read(batches), metadata, csv)
    except Exception as error:
        for path in stem.parent.glob(f"{stem.name}.*"):
            path.unlink(missing_ok=True)
        by_disk = isinstance(error, OSError) or (isinstance(error, StoreError) and isinstance(error.__cause__, OSError))
        if by_disk or isinstance(error, (RecordingError, MemoryError)):
            raise
        raise RecordingError(f"{str(error) or type(error).__name__}") from error


def _read(batches: Callable[[], Iterator[Batch]]) -> Iterator[dict[str, NDArray[Any]]]:
    """Batches; whatever goes wrong in reading is the recording's fault, not that of what is written."""
    try:
        for batch in batches():
            yield {name: np.asarray(values) for name, values in batch.items()}
    except Exception as error:
        raise RecordingError(f"{str(error) or type(error).__name__}") from error


def _write(stem: Path, batches: Callable[[], Iterator[Batch]], metadata: Mapping[str, Any], csv: bool) -> WrittenRecording:
    names, beside = _apart(batches)
    files: list[tuple[str, str, tuple[str, ...]]] = []
    if names:
        words = "Battery Data Format"
        write_bdf_parquet(f"{stem}.bdf.parquet", (_fitting(batch, names) for batch in batches()), metadata)
        files.append(("bdf.parquet", words, names))
        if csv:
            write_bdf_csv(f"{stem}.bdf.csv", (_fitting(batch, names) for batch in batches()))
            files.append(("bdf.csv", words, names))
    if beside:
        words = "what is not part of the Battery Data Format, row for row"
        columns = (*((TIME,) if TIME in names else ()), *beside)
        for suffix in ("other.parquet", *(("other.csv",) if csv else ())):
            _write_others(stem.with_name(f"{stem.name}.{suffix}"), columns, batches())
            files.append((suffix, words, columns))
    notes = tuple(f"{name} {why}: it stands in {stem.name}.other.parquet" for name, why in beside.items())
    return WrittenRecording(tuple(files), notes)


def _apart(batches: Callable[[], Iterator[Batch]]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Which columns are written as Battery Data Format, and which not, with the reason."""
    beside: dict[str, str] = {}
    names: tuple[str, ...] = ()
    for batch in batches():
        names = names or tuple(batch)
        for name, values in batch.items():
            if name not in _KINDS:
                beside[name] = "is not part of the Battery Data Format"
            elif _KINDS[name] == "i" and not _is_whole(values):
                beside[name] = "should be whole numbers and is not"
        if not any(_KINDS.get(name) == "i" and batch[name].dtype.kind not in "ib" for name in names):
            break
    if not names:
        raise RecordingError("it has no rows.")
    return tuple(name for name in names if name not in beside), beside


def _is_whole(values: NDArray[Any]) -> bool:
    if values.dtype.kind == "f":
        return bool((np.isfinite(values) & (values == np.rint(values)) & (np.abs(values) < _LARGEST_WHOLE)).all())
    return values.dtype.kind != "u" or not len(values) or int(values.max()) < 2**63


def _fitting(batch: Batch, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    return {name: batch[name].astype(np.int64) if _KINDS[name] == "i" else batch[name] for name in names}


def _write_others(path: Path, columns: tuple[str, ...], batches: Iterator[Batch]) -> None:
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    writer: Any = None
    empty_for_nan = path.suffix == ".csv"
    try:
        for batch in batches:
            arrays = [_array(batch[name], empty_for_nan) for name in columns]
            made = pa.record_batch(arrays, names=list(columns))
            if writer is None and empty_for_nan:
                writer = pc.CSVWriter(str(path), made.schema)
            elif writer is None:
                writer = pq.ParquetWriter(str(path), made.schema, compression="zstd")
            writer.write_batch(made)
    finally:
        if writer is not None:
            writer.close()


def _array(values: NDArray[Any], empty_for_nan: bool) -> Any:
    import pyarrow as pa

    if empty_for_nan and values.dtype.kind == "f":
        return pa.array(values, mask=np.isnan(values))
    return pa.array(values)
