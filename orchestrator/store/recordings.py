"""Closed recordings: immutable Parquet files, written whole or not at all, told from others by their content.

A file is written under a temporary name, flushed to the disk, and put under its own; what a killed process leaves is a temporary
file, which `sweep` removes. A test that still runs has its rows in `live_recording`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from numpy.typing import NDArray

from orchestrator.domain.errors import StoreError
from orchestrator.store.live_folder import LiveRecordings
from orchestrator.store.plain import RecordingFile
from orchestrator.store.recording_file import (
    SCHEMA_VERSION,
    UNITS,
    Columns,
    RecordingReader,
    check_version,
    surveyed,
    write_parquet,
)
from orchestrator.store.recording_place import (
    TEMPORARY,
    Hashed,
    LocalFolder,
    Place,
    is_abandoned,
    place_of,
    safe_name,
    sha256_of,
    staging_folder,
    swept,
    writing,
)

__all__ = ["LIVE_FOLDER", "SCHEMA_VERSION", "UNITS", "RecordingArchive", "abandoned", "row_count", "sha256_of"]
LIVE_FOLDER = "live"
_SUFFIX = ".parquet"


class RecordingArchive:
    """The closed recordings of a lab, and beside them those of its running tests.

    Args:
        place: a folder, usually `<lab>/recordings`, whose files' `uri`s are relative to its parent, the lab folder; or any URI
            that fsspec knows, such as `s3://bucket/lab`.
        local: with a URI, the lab's own folder of recordings: earlier files are read from there, new ones written there before
            they are uploaded.

    Attributes:
        folder: where new files are written on this machine: the place itself, or before they are uploaded.
        live: recordings of running tests, always local: `<lab>/live`.

    Raises:
        StoreError: if no file system is known for the URI.
    """

    def __init__(self, place: str | Path, local: str | Path | None = None) -> None:
        self._place: Place = place_of(place)
        own = self._place if isinstance(self._place, LocalFolder) else None
        base = Path(local).absolute() if local is not None else own.folder if own else staging_folder()
        self.folder = own.folder if own else base
        self._local = own if own and own.folder == base else LocalFolder(base)
        self.live = LiveRecordings(base.parent / LIVE_FOLDER)

    def write(
        self,
        key: str,
        columns: Columns,
        metadata: Mapping[str, Any],
        resolution: Mapping[str, float] | None = None,
    ) -> RecordingFile:
        """Store one recording, exactly; the same content under the same key gives the same file.

        Args:
            key: the attempt's key; any text.
            columns: arrays of equal length (n,), by Battery Data Format name; floats keep every bit.
            metadata: what else to know, JSON-ready.
            resolution: by column, a step to multiples of which its values are rounded; the only way to lose anything, and noted
                in the file.

        Raises:
            StoreError: if the columns differ in length or hold no numbers, or the place cannot be written.
        """
        return self.write_batches(key, [columns] if columns else [], metadata, resolution)

    def write_batches(
        self,
        key: str,
        batches: Iterable[Columns],
        metadata: Mapping[str, Any],
        resolution: Mapping[str, float] | None = None,
    ) -> RecordingFile:
        """Store one recording that comes in pieces, with bounded memory; it makes the same file as all of it at once.

        Args:
            key: the attempt's key; any text.
            batches: arrays of equal length by name; every batch has the same columns and dtypes. A list or tuple
                is gone through twice, anything else once.
            metadata: what else to know, JSON-ready.
            resolution: as for `write`.

        Raises:
            StoreError: as `write`; or if a batch has other columns than the one before.
        """
        with self._told(f"{self.folder / safe_name(key)}{_SUFFIX}"), writing(self.folder) as (stream, temporary):
            hashed = Hashed(stream)
            with TemporaryFile(dir=self.folder, prefix=TEMPORARY) as spool:
                found = surveyed(key, batches, resolution or {}, spool)
                write_parquet(hashed, key, found, metadata)
            stream.flush()
            os.fsync(stream.fileno())
            sha256 = hashed.hexdigest()
            name = f"{safe_name(key)}-{sha256[:16]}{_SUFFIX}"
            self._place.put(temporary, name, sha256)
        return RecordingFile(self._place.uri(name), sha256, found.rows, SCHEMA_VERSION)

    def read(
        self, file: RecordingFile, columns: Iterable[str] | None = None, cycles: tuple[int, int] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Columns, each of shape (n,), after checking that the file is what was stored.

        Args:
            file: which.
            columns: which of its columns; None: all.
            cycles: first and last `cycle_count` wanted; None: all rows.

        Raises:
            StoreError: if it is missing, changed, or of a newer schema, or has no such column.
        """
        return self._open(file).read(columns, cycles)

    def read_batches(self, file: RecordingFile, columns: Iterable[str] | None = None) -> Iterator[dict[str, NDArray[Any]]]:
        """The same in pieces of at most `recording_file.ROW_GROUP` rows.

        Raises:
            StoreError: as `read`.
        """
        yield from self._open(file).batches(columns)

    def metadata(self, file: RecordingFile) -> dict[str, Any]:
        """What was written with a recording: `key`, `schema_version`, `units`, `columns`, `read_so` and `metadata`.

        Raises:
            StoreError: as `read`.
        """
        return self._open(file).metadata()

    def rows(self, file: RecordingFile) -> int:
        """How many rows a recording has, by its own file.

        Raises:
            StoreError: as `read`.
        """
        return self._open(file).rows

    def path(self, file: RecordingFile) -> Path:
        """Where a recording's file lies on this machine.

        Raises:
            StoreError: if its URI points elsewhere.
        """
        place, name = self._found(file)
        if not isinstance(place, LocalFolder):
            raise StoreError(f"the recording '{file.uri}' does not lie on this machine.")
        return place.folder / name

    def is_remote(self, file: RecordingFile) -> bool:
        """Whether a recording lies in the archive's place, and that is not on this machine."""
        return self._place.name(file.uri) is not None and not isinstance(self._place, LocalFolder)

    def sweep(self) -> list[Path]:
        """Remove the temporary files of processes that have ended; returns what was removed."""
        with self._told(str(self.folder)):
            left = swept(self.folder)
            if not isinstance(self._place, LocalFolder):
                left += [Path(name) for name in self._place.sweep()]
        return left

    def _open(self, file: RecordingFile) -> RecordingReader:
        place, name = self._found(file)
        where = str(place.folder / name) if isinstance(place, LocalFolder) else file.uri
        check_version(where, file.schema_version)
        with self._told(where):
            source = place.verified(name, file.sha256)
            if source is None:
                raise StoreError(f"the recording '{where}' is not what was stored: its sha256 differs. Restore it from a backup.")
            return RecordingReader(source, where)

    def _found(self, file: RecordingFile) -> tuple[Place, str]:
        for place in (self._place, self._local):
            name = place.name(file.uri)
            if name is not None and name.endswith(_SUFFIX):
                return place, name
        raise StoreError(
            f"the recording '{file.uri}' does not lie in '{self.folder}'; the database was changed from outside, "
            "or the lab was opened without the place of its recordings."
        )

    @contextmanager
    def _told(self, where: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise StoreError(f"the recording '{where}' is missing. Restore it from a backup.") from None
        except OSError as error:
            raise StoreError(
                f"'{where}' cannot be read or written: {error.strerror or error}. Nothing was half-written; "
                "mend it and run the same command again."
            ) from error


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
    return is_abandoned(path.name)
