"""Recordings of tests that still run: Arrow IPC segments, each append flushed to the disk before anybody relies on it.

A test has a folder of its own in `<lab>/live`. Rows are appended as record batches to `<number>.arrows`, Arrow IPC streams that
any Arrow tool reads. Each batch carries, in the same write, the cycler's cursor behind its last row and a checksum, so that rows
are neither lost nor taken twice. A batch torn by a crash ends what is read of its segment, and is cut off before the next append.
A batch with whole ones behind it was not torn but damaged: its segment stays as it is, the next append begins another, and only
the rows of that batch are missing.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import StoreError
from orchestrator.store.recording_file import Columns, difference, native
from orchestrator.store.recording_place import flush_folder, temporary_name
from orchestrator.store.segments import Arrays, Batch, Segment, batch_bytes, held_batches, opening_bytes, read_segment

KEY_FILE, LOCK_FILE = "key", "lock"
DAMAGED = "damaged-"
SUFFIX = ".arrows"
FLUSH_EVERY_S = 5.0
FLUSH_BYTES = 4 << 20
SEGMENT_BYTES = 32 << 20
LOCK_PATIENCE_S = 10.0


class LiveRecordingError(StoreError):
    """A live recording cannot go on; the rows in it stay, and its cycler still has all of them."""


class OvertakenError(LiveRecordingError):
    """Another process has appended to, or closed, a live recording meanwhile."""


@dataclass
class _End:
    """Where the next append goes: behind so many rows, at this length of this segment; into another if it is damaged."""

    number: int = 0
    length: int = 0
    rows: int = 0
    cursor: str | None = None
    kinds: dict[str, str] | None = None
    damaged: bool = False


class LiveRecording:
    """The rows of one running test.

    Several processes may have it open; whoever appends after another has done so is refused, and reads on from the new cursor.

    Args:
        folder: its own.
        key: the attempt's.
        now: seconds, for the flush interval.
        flush_every_s, flush_bytes: rows wait in memory at most so long, and at most so many bytes of them.
        segment_bytes: a segment longer than this is followed by another.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        now: Callable[[], float] = time.monotonic,
        *,
        flush_every_s: float = FLUSH_EVERY_S,
        flush_bytes: int = FLUSH_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.folder, self.key = folder, key
        self._now, self._every_s, self._most, self._segment_bytes = now, flush_every_s, flush_bytes, segment_bytes
        self._waiting: list[dict[str, NDArray[Any]]] = []
        self._waiting_cursor: str | None = None
        self._since_s = now()
        self._end = _End()
        self.refresh()

    @property
    def cursor(self) -> str | None:
        """The cycler's cursor behind the last durable row; None before the first."""
        return self._end.cursor

    @property
    def rows(self) -> int:
        """How many rows were ever durable: those that the disk has damaged since are among them."""
        return self._end.rows

    def append(self, columns: Columns, cursor: str | None) -> bool:
        """Take more rows; they are durable once this, or a later call, or `flush` returns True.

        Args:
            columns: arrays of equal length, under the same names and of the same dtypes as before.
            cursor: the cycler's, behind them.

        Returns:
            Whether all rows taken so far are durable.

        Raises:
            LiveRecordingError: if the columns changed, or another process has appended; see `refresh`.
            StoreError: if the disk refuses; what was not yet durable is forgotten, and is to be read again from `cursor`.
        """
        arrays = native(columns)
        self._check(arrays)
        self._waiting.append(arrays)
        self._waiting_cursor = cursor
        size = sum(array.nbytes for part in self._waiting for array in part.values())
        if size < self._most and self._now() - self._since_s < self._every_s:
            return False
        return self.flush()

    def flush(self) -> bool:
        """Make all rows taken so far durable.

        Raises:
            LiveRecordingError, StoreError: as `append`.
        """
        waiting, cursor = self._waiting, self._waiting_cursor
        self._waiting, self._since_s = [], self._now()
        if waiting:
            joined = {name: np.concatenate([part[name] for part in waiting]) for name in waiting[0]}
            with self._told(), self._locked():
                self._write(joined, cursor)
        return True

    def refresh(self) -> None:
        """Forget what is not durable, and see what is: also what another process has appended.

        Raises:
            StoreError: if the folder cannot be read, or an earlier segment is damaged.
        """
        self._waiting, self._since_s = [], self._now()
        with self._told():
            self._end = self._found(known=self._end)

    def batches(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Every durable row, in order, as it was appended.

        Raises:
            StoreError: if rows in between are damaged; `readable` goes on behind them.
        """
        rows = 0
        for batch in self.readable():
            if batch.row != rows:
                raise LiveRecordingError(
                    f"the live recording of {self.key} is damaged: rows {rows + 1} to {batch.row} cannot be read."
                )
            rows = batch.end
            yield batch.columns

    def readable(self) -> Iterator[Batch]:
        """Every batch that is whole, in order; rows between them that are damaged are missing, as their numbers tell.

        Raises:
            StoreError: if a segment cannot be opened.
        """
        with self._told():
            rows = 0
            for number in _numbers(self.folder):
                segment = self._segment(number)
                for batch in segment.batches() if segment is not None else ():
                    if batch.row >= rows:
                        rows = batch.end
                        yield batch

    def unreadable(self) -> list[Path]:
        """Segments that held rows of which none can be read.

        Raises:
            StoreError: if one cannot be opened.
        """
        with self._told():
            paths = [self._path(number) for number in _numbers(self.folder) if self._segment(number) is None]
            return [*sorted(self.folder.glob(f"{DAMAGED}*")), *(path for path in paths if held_batches(path))]

    def remove(self) -> None:
        """Delete it: its rows are in a closed recording.

        Raises:
            StoreError: if it cannot be deleted.
        """
        with self._told():
            removed(self.folder)
        self._waiting, self._end = [], _End()

    def _check(self, arrays: dict[str, NDArray[Any]]) -> None:
        kinds = {name: array.dtype.name for name, array in arrays.items()}
        before = self._end.kinds or (_kinds(self._waiting[0]) if self._waiting else kinds)
        if list(kinds.items()) != list(before.items()):
            raise LiveRecordingError(f"the live recording of {self.key} cannot go on: {difference(before, kinds)}.")
        if deep := [name for name, array in arrays.items() if array.ndim != 1]:
            raise LiveRecordingError(
                f"the live recording of {self.key} cannot go on: its column '{deep[0]}' has not one dimension."
            )
        if odd := [name for name, array in arrays.items() if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8]:
            raise LiveRecordingError(f"the live recording of {self.key} cannot go on: its column '{odd[0]}' holds no numbers.")
        if len({len(array) for array in arrays.values()}) != 1:
            raise LiveRecordingError(f"the live recording of {self.key} cannot go on: its columns differ in length, or are none.")

    def _write(self, columns: dict[str, NDArray[Any]], cursor: str | None) -> None:
        """Append under the lock; all of it, or nothing."""
        end = self._found(known=self._end)
        if (end.number, end.length) != (self._end.number, self._end.length):
            self._end = end
            raise OvertakenError(f"another process has appended to the live recording of {self.key}; read on from its cursor.")
        for torn in _numbers(self.folder):
            if torn > end.number:
                self._clear(self._path(torn))
        fresh = end.number == 0 or end.length >= self._segment_bytes or end.damaged
        number = end.number + 1 if fresh else end.number
        path = self._path(number)
        content = batch_bytes(columns, cursor, end.rows)
        if fresh:
            content = opening_bytes(columns, self.key, end.rows) + content
        at = 0 if fresh else end.length
        try:
            with path.open("xb" if fresh else "r+b") as stream:
                stream.truncate(at)
                stream.seek(at)
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            if fresh:
                flush_folder(self.folder)
        except BaseException:
            _cut_back(path, at)
            raise
        rows = end.rows + len(next(iter(columns.values())))
        self._end = _End(number, at + len(content), rows, cursor, _kinds(columns))

    def _found(self, known: _End | None = None) -> _End:
        """The end of what is durable, from the last segment alone; `known` is it if the disk has not changed since."""
        numbers = _numbers(self.folder)
        unchanged = known is not None and numbers[-1:] == ([known.number] if known.number else [])
        if known is not None and unchanged and (not numbers or self._path(known.number).stat().st_size == known.length):
            return known
        for number in reversed(numbers):
            segment = self._segment(number)
            if segment is not None and segment.length:
                self._owned(segment)
                rows = segment.rows_before + segment.rows
                return _End(number, segment.length, rows, segment.cursor, segment.kinds, segment.damaged)
        return _End()

    def _owned(self, segment: Segment) -> None:
        if segment.key != self.key:
            raise LiveRecordingError(f"'{self.folder}' holds rows of {segment.key}, not of {self.key}. Move it away.")

    def _segment(self, number: int) -> Segment | None:
        """One segment; if its opening cannot be read, with the help of another's: the columns are the same."""
        found = read_segment(self._path(number))
        if (found is not None and found.length) or not held_batches(self._path(number)):
            return found
        for other in _numbers(self.folder):
            like = read_segment(self._path(other)) if other != number else None
            if like is not None and like.length:
                return read_segment(self._path(number), like.opening)
        return None

    def _clear(self, path: Path) -> None:
        """Make room: a process died there before its first batch was whole. What held rows is put aside, not deleted."""
        if not held_batches(path):
            path.unlink(missing_ok=True)
            return
        taken = len(list(self.folder.glob(f"{DAMAGED}*")))
        path.rename(path.with_name(f"{DAMAGED}{taken + 1}-{path.name}"))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}{SUFFIX}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone for the time of one append; the kernel takes the lock from a process that dies."""
        with (self.folder / LOCK_FILE).open("ab") as lock:
            if os.name == "posix":
                _lock(lock.fileno(), self.folder)
            yield

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            self._end = _End()
            raise OvertakenError(f"the live recording '{self.folder}' was closed or removed by another process.") from None
        except OSError as error:
            raise StoreError(
                f"the live recording '{self.folder}' cannot be read or written: {error.strerror or error}. "
                "Rows written before are safe; the others are read again from the cycler."
            ) from error


def _kinds(columns: Arrays) -> dict[str, str]:
    return {name: column.dtype.name for name, column in columns.items()}


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit())


def removed(folder: Path) -> None:
    """Delete a live recording's folder at once; what a killed process leaves of that has a temporary name."""
    doomed = folder.with_name(temporary_name())
    folder.rename(doomed)
    flush_folder(doomed.parent)
    shutil.rmtree(doomed)


def _cut_back(path: Path, length: int) -> None:
    """Take back what may be half-written; if the disk refuses even that, the next append does it."""
    try:
        if length:
            os.truncate(path, length)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return


def _lock(handle: int, folder: Path) -> None:
    import fcntl

    until = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise LiveRecordingError(
                    f"'{folder}' has been held for {LOCK_PATIENCE_S:g} s by a process that writes there."
                ) from None
            time.sleep(0.01)
        else:
            return
