"""Closed recordings: immutable Parquet files, written whole or not at all, told from others by their content.

A file is written under a temporary name in the folder where it will lie, flushed to the disk, renamed, and the folder
flushed. What a killed process leaves is a temporary file, which `sweep` removes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import StoreError
from orchestrator.store.plain import RecordingFile, json_ready
from orchestrator.store.process import ProcessIdentity, this_process

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
UNITS = {"second": "s", "volt": "V", "ampere": "A", "celsius": "degC", "ah": "Ah", "wh": "Wh", "ohm": "ohm", "hertz": "Hz"}
_METADATA = b"voltloop"
_SUFFIX = ".parquet"
_TEMPORARY = ".writing-"


class RecordingArchive:
    """A folder of closed recordings inside a lab folder.

    Args:
        folder: where the files lie, usually `<lab>/recordings`; their `uri`s are relative to its parent, the lab folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()

    def write(self, key: str, columns: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> RecordingFile:
        """Store one recording, exactly; the same content under the same key gives the same file.

        Args:
            key: the attempt's key; any text.
            columns: arrays of equal length (n,), by Battery Data Format name; floats keep every bit.
            metadata: what else to know, JSON-ready.

        Raises:
            StoreError: if the columns differ in length, or the folder cannot be written.
        """
        content = _to_parquet(key, columns, metadata)
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.folder / f"{_safe(key)}-{sha256[:16]}{_SUFFIX}"
        with self._translated(path):
            if not _is_kept(path, sha256):
                self._put(path, content)
        rows = len(next(iter(columns.values()))) if columns else 0
        return RecordingFile(f"{self.folder.name}/{path.name}", sha256, rows, SCHEMA_VERSION)

    def read(self, file: RecordingFile) -> dict[str, NDArray[Any]]:
        """The columns, each of shape (n,), after checking that the file is what was stored.

        Raises:
            StoreError: if it is missing, changed, or of a newer schema.
        """
        return {name: column.to_numpy() for name, column in zip(*_named(self._table(file)), strict=True)}

    def metadata(self, file: RecordingFile) -> dict[str, Any]:
        """The key, units and other metadata written with a recording: `key`, `schema_version`, `units`, `metadata`.

        Raises:
            StoreError: as `read`.
        """
        found: dict[str, Any] = json.loads(self._table(file).schema.metadata[_METADATA])
        return found

    def path(self, file: RecordingFile) -> Path:
        """Where a recording's file lies.

        Raises:
            StoreError: if its URI points outside the folder.
        """
        path = self.folder.parent / file.uri
        if path.parent != self.folder or path.suffix != _SUFFIX:
            raise StoreError(
                f"the recording '{file.uri}' does not lie in '{self.folder}'; the database was changed from outside."
            )
        return path

    def sweep(self) -> list[Path]:
        """Remove the temporary files of processes that have ended; returns what was removed."""
        if not self.folder.is_dir():
            return []
        with self._translated(self.folder):
            left = [path for path in self.folder.glob(f"{_TEMPORARY}*") if abandoned(path)]
            for path in left:
                path.unlink(missing_ok=True)
        return left

    def _table(self, file: RecordingFile) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path(file)
        if file.schema_version > SCHEMA_VERSION:
            raise StoreError(
                f"the recording '{path}' has format {file.schema_version}; this voltloop reads up to {SCHEMA_VERSION}."
            )
        with self._translated(path):
            content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise StoreError(f"the recording '{path}' is not what was stored: its sha256 differs. Restore it from a backup.")
        return pq.read_table(pa.BufferReader(content))

    def _put(self, path: Path, content: bytes) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            _flush_folder(self.folder.parent)
        temporary = self.folder / f"{_TEMPORARY}{this_process().to_text()}-{secrets.token_hex(4)}"
        try:
            with temporary.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
            _flush_folder(self.folder)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _translated(self, path: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise StoreError(f"the recording '{path}' is missing. Restore it from a backup.") from None
        except OSError as error:
            raise StoreError(
                f"'{path}' cannot be read or written: {error.strerror}. Nothing was half-written; "
                "mend it and run the same command again."
            ) from error


def _named(table: pa.Table) -> tuple[list[str], list[Any]]:
    return table.column_names, table.columns


def _to_parquet(key: str, columns: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lengths = {name: len(array) for name, array in columns.items()}
    if len(set(lengths.values())) > 1:
        raise StoreError(f"the recording of {key} cannot be stored: its columns differ in length: {lengths}.")
    units = {name: unit for name in columns if (unit := UNITS.get(name.rpartition("_")[2]))}
    said = {"schema_version": SCHEMA_VERSION, "key": key, "units": units, "metadata": json_ready(metadata)}
    table = pa.table({name: pa.array(np.asarray(array)) for name, array in columns.items()})
    table = table.replace_schema_metadata({_METADATA: json.dumps(said, sort_keys=True)})
    floats = [name for name, array in columns.items() if np.asarray(array).dtype.kind == "f"]
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=False, use_byte_stream_split=floats or False)
    return bytes(sink.getvalue().to_pybytes())


def _safe(key: str) -> str:
    """A key as the beginning of a file name; what makes the name unique follows."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", key)[:80].strip("_-") or "recording"


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes, read piece by piece."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_kept(path: Path, sha256: str) -> bool:
    """Whether a killed process has left this very file; touched first, so that no repair takes it for an orphan meanwhile."""
    try:
        os.utime(path)
        return sha256_of(path) == sha256
    except (FileNotFoundError, PermissionError):
        return False


def row_count(path: Path) -> int:
    """How many rows a recording's file has, by its own footer; -1 if it is no such file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowInvalid, OSError):
        return -1


def abandoned(path: Path) -> bool:
    """Whether nobody writes a temporary file any more."""
    tag = path.name.removeprefix(_TEMPORARY).rpartition("-")[0]
    try:
        return ProcessIdentity.from_text(tag).certainly_dead()
    except ValueError:
        return False


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows cannot open folders and needs no such thing."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
