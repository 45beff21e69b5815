"""Battery Data Format as Parquet, read a batch at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.formats.cycler_file import Batch, ColumnMapping, CyclerFile, rebatched, unreadable
from adapters.formats.override import Override
from adapters.formats.units import Conversion, conversion, convert, widened
from adapters.formats.vocabulary import as_bdf, parse_header
from adapters.formats.writing import METADATA_KEY
from orchestrator.domain.recording import BDF_COLUMNS, REQUIRED

_LARGEST_INFLATION = 1 << 34
_LARGEST_WHOLE = np.uint64(2**63 - 1)
_ARCHIVE_KEY = b"voltloop"
_Plan = list[tuple[str, str, Conversion]]


def open_parquet(path: Path, overrides: Mapping[str, Override]) -> CyclerFile:
    """A Parquet file, opened: its schema and metadata read.

    Raises:
        FormatError: if it is damaged, holds a lab's own archive, or lacks time, voltage or current.
    """
    schema, rows = _schema(path)
    metadata = dict(schema.metadata or {})
    if _ARCHIVE_KEY in metadata:
        raise unreadable(
            path, "is a recording in a lab's archive, with numbers packed.", "Write it with `voltloop export` first."
        )
    planned, unmapped = _plan(schema, overrides)
    missing = [name for name in REQUIRED if name not in {bdf for _, bdf, _ in planned}]
    if missing:
        raise unreadable(
            path,
            f"has no column for {' and '.join(f'`{name}`' for name in missing)}.",
            f"It has: {', '.join(schema.names[:40])}. Say which it is with `columns`.",
        )
    if rows == 0:
        raise unreadable(path, "has columns and no rows.", "Export the test again, with its data.")
    return CyclerFile(
        path=path,
        format="bdf_parquet",
        metadata=_own_metadata(metadata),
        mapping=tuple(ColumnMapping(name, bdf, float(f"{float(how.scale):.7g}")) for name, bdf, how in planned),
        unmapped=tuple(unmapped),
        notes=(),
        columns=tuple(bdf for _, bdf, _ in planned),
        read=lambda wanted: rebatched(_pieces(path, planned, wanted), wanted),
    )


def _schema(path: Path) -> tuple[Any, int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
            if sum(group.total_byte_size for group in groups) > _LARGEST_INFLATION:
                raise unreadable(path, "says that it holds more than 16 GiB.", "Split it, or check where it comes from.")
            return file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: BaseException) -> Exception:
    said = (str(error).splitlines() or [""])[0][:160]
    return unreadable(path, f"the Parquet file is cut off or damaged ({said}).", "Copy it again from where it was written.")


def _plan(schema: Any, overrides: Mapping[str, Override]) -> tuple[_Plan, list[str]]:
    import pyarrow as pa

    planned: _Plan = []
    unmapped: list[str] = []
    for field in schema:
        found = _meaning(field.name, overrides)
        numeric = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        if found is None or not numeric or found[0] in {bdf for _, bdf, _ in planned} or schema.names.count(field.name) > 1:
            unmapped.append(field.name)
        else:
            planned.append((field.name, *found))
    return planned, unmapped


def _meaning(name: str, overrides: Mapping[str, Override]) -> tuple[str, Conversion] | None:
    if (stated := overrides.get(name)) is None:
        return as_bdf(parse_header(name))
    if not stated.bdf:
        return None
    how = conversion(stated.unit, stated.bdf) if stated.unit is not None else None
    how = how or Conversion()
    return stated.bdf, how.negated if stated.negative else how


def _own_metadata(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in metadata.items():
        if key in (b"ARROW:schema", b"pandas"):
            continue
        text = value.decode("utf-8", "replace")
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = text
        if key == METADATA_KEY and isinstance(content, dict):
            found |= content
        else:
            found[key.decode("utf-8", "replace")] = content
    return found


def _pieces(path: Path, planned: _Plan, rows: int) -> Iterator[Batch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    done = 0
    try:
        with pq.ParquetFile(path) as file:
            for piece in file.iter_batches(
                batch_size=min(rows, 1 << 20), columns=[name for name, _, _ in planned], use_threads=False
            ):
                if piece.num_rows:
                    yield {bdf: _values(path, name, bdf, how, piece.column(name), done) for name, bdf, how in planned}
                done += piece.num_rows
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise _damaged(path, error) from None


def _values(path: Path, name: str, bdf: str, how: Conversion, found: Any, first: int) -> NDArray[Any]:

    if BDF_COLUMNS.get(bdf, "i") == "i":
        return _whole(path, name, found, first)
    return convert(_floats(found), how)


def _floats(found: Any) -> NDArray[np.float64]:
    """Numbers of any kind as the nearest float64; those of single precision as the shortest decimal that names them."""
    import pyarrow as pa

    if pa.types.is_decimal(found.type):
        # Python rounds once; Arrow's own cast multiplies by a rounded power of ten.
        return np.array([np.nan if one is None else float(one) for one in found.to_pylist()], dtype=np.float64)
    values = found.to_numpy(zero_copy_only=False)
    return widened(values) if values.dtype == np.float32 else values.astype(np.float64)


def _whole(path: Path, name: str, found: Any, first: int) -> NDArray[np.int64]:
    import pyarrow as pa

    if found.null_count == 0 and pa.types.is_integer(found.type):
        given = found.to_numpy(zero_copy_only=False)
        if given.dtype == np.uint64 and (given > _LARGEST_WHOLE).any():
            row = int(np.argmax(given > _LARGEST_WHOLE))
            problem = f"row {first + row + 1}, column '{name}' has {given[row]}, more than an int64 holds."
            raise unreadable(path, problem, "Mend that row, or leave the column out with `columns`.")
        return np.asarray(given, dtype=np.int64)
    values = found.cast(pa.float64()).to_numpy(zero_copy_only=False)
    sound = np.isfinite(values) & (np.rint(values) == values) & (np.abs(values) < 2.0**53)
    if not sound.all():
        row = int(np.argmin(sound))
        problem = f"row {first + row + 1}, column '{name}' has {values[row]:.17g} where a whole number belongs."
        raise unreadable(path, problem, "Mend that row, or leave the column out with `columns`.")
    return np.asarray(values, dtype=np.int64)
