"""A file of JSON lines that only grows: what a device that lives in a folder remembers.

A line is written and synced before anybody is told of it; a line cut short by a crash was never acknowledged and is
dropped by the next writer. Writers must be kept apart by a lock of their own; readers need none.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

_TAIL = 4096


class LineFile:
    """One such file, read on from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self.path, self._read_to = path, 0

    def new(self) -> list[dict[str, Any]]:
        """Whole lines added since the last call, by whichever process."""
        try:
            if self.path.stat().st_size == self._read_to:
                return []
            with self.path.open("rb") as file:
                file.seek(self._read_to)
                content = file.read()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._read_to += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def all(self) -> list[dict[str, Any]]:
        """Every whole line there is."""
        return LineFile(self.path).new()

    def add(self, line: dict[str, Any]) -> None:
        """Add a line and sync it; what a crash left behind the last whole line is cut off first."""
        fresh = not self.path.exists()
        with self.path.open("ab+") as file:
            file.truncate(_whole_until(file))
            file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if fresh:
            sync_folder(self.path.parent)


def _whole_until(file: BinaryIO) -> int:
    """Where the last whole line ends; only the file's tail is read."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _TAIL)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def sync_folder(folder: Path) -> None:
    """Make sure that what was created or renamed in a folder survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
