"""The folder of all live recordings of a lab: one found by its key, and what is left of closed ones swept away."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import StoreError
from orchestrator.store.live_recording import KEY_FILE, LiveRecording, removed
from orchestrator.store.recording_place import TEMPORARY, flush_folder, is_abandoned, safe_name, temporary_name

DAMAGED_FOLDER = "damaged"


class LiveRecordings:
    """The folder of all live recordings of a lab."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: dict[str, LiveRecording] = {}

    def open(self, key: str, **options: Any) -> LiveRecording:
        """The live recording of a key, made if it is not there; one that this process has open is looked at again.

        Args:
            key: the attempt's; any text.
            options: as for `LiveRecording`; they open it anew.

        Raises:
            StoreError: if its folder cannot be made or read.
        """
        folder = self._folder(key)
        if not folder.is_dir():
            self._make(folder, key)
            self._opened.pop(key, None)
        if key not in self._opened or options:
            self._opened[key] = LiveRecording(folder, key, **options)
        else:
            self._opened[key].refresh()
        return self._opened[key]

    def find(self, key: str) -> LiveRecording | None:
        """The live recording of a key, if there is one.

        Raises:
            StoreError: if it cannot be read.
        """
        folder = self._folder(key)
        return self.open(key) if folder.is_dir() else None

    def remove(self, key: str) -> None:
        """Delete a live recording, if there is one: its rows are in a closed recording.

        Raises:
            StoreError: if it cannot be deleted.
        """
        self._opened.pop(key, None)
        folder = self._folder(key)
        if folder.is_dir():
            LiveRecording(folder, key).remove()

    def set_aside(self, key: str) -> Path | None:
        """Move a live recording to `damaged/`: what it held is not all in a closed recording.

        Returns:
            Where it is now; None if there is none.

        Raises:
            StoreError: if it cannot be moved; then it stays where it is.
        """
        self._opened.pop(key, None)
        folder, aside = self._folder(key), self.folder / DAMAGED_FOLDER
        if not folder.is_dir():
            return None
        try:
            aside.mkdir(exist_ok=True)
            to, number = aside / folder.name, 1
            while to.exists():
                number += 1
                to = aside / f"{folder.name}-{number}"
            folder.rename(to)
            flush_folder(aside)
            flush_folder(self.folder)
        except OSError as error:
            raise StoreError(f"'{folder}' cannot be moved to '{aside}': {error.strerror}.") from None
        return to

    def put_aside(self) -> list[tuple[str, Path]]:
        """What was moved to `damaged/`: keys and folders."""
        aside = self.folder / DAMAGED_FOLDER
        folders = sorted(path for path in aside.iterdir() if path.is_dir()) if aside.is_dir() else []
        return [(_key_of(folder) or folder.name, folder) for folder in folders]

    def keys(self) -> list[str]:
        """The keys of all that are there."""
        return [key for folder in self._folders() if (key := _key_of(folder)) is not None]

    def sweep(self, closed: Callable[[str], bool]) -> list[Path]:
        """Remove what is left of recordings that were closed, and of processes that died while they made a folder.

        Args:
            closed: whether a key's recording is closed for good; what it says no of, or does not know, stays.

        Returns:
            The folders that were removed.

        Raises:
            StoreError: if one cannot be removed.
        """
        left = [folder for folder in self._folders() if (key := _key_of(folder)) is not None and closed(key)]
        if self.folder.is_dir():
            left += [path for path in self.folder.glob(f"{TEMPORARY}*") if is_abandoned(path.name)]
        try:
            for folder in left:
                removed(folder)
        except OSError as error:
            raise StoreError(f"'{error.filename}' cannot be removed: {error.strerror}.") from None
        return left

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))

    def folder_of(self, key: str) -> Path:
        """Where the live recording of a key is, or would be."""
        return self._folder(key)

    def _folder(self, key: str) -> Path:
        return self.folder / f"{safe_name(key)}-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}"

    def _make(self, folder: Path, key: str) -> None:
        """A folder is never there without its key."""
        temporary = self.folder / temporary_name()
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True, exist_ok=True)
                flush_folder(self.folder.parent)
            temporary.mkdir()
            with (temporary / KEY_FILE).open("xb") as stream:
                stream.write(json.dumps(key).encode())
                stream.flush()
                os.fsync(stream.fileno())
            flush_folder(temporary)
            temporary.rename(folder)
            flush_folder(self.folder)
        except OSError as error:
            if not folder.is_dir():  # nobody else has made it meanwhile
                raise StoreError(f"the live recording '{folder}' cannot be made: {error.strerror}.") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _key_of(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / KEY_FILE).read_bytes()))
    except (OSError, ValueError):
        return None
