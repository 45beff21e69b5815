"""Folders in which something is made before it gets its name, and the sweeping of those that killed processes have left."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.domain.errors import StoreError
from orchestrator.store.process import ProcessIdentity, this_process

PREFIX = ".voltloop-"


@contextmanager
def unfinished(parent: Path) -> Iterator[Path]:
    """A new folder inside another, whose short name tells who writes there; gone afterwards unless it was renamed.

    Args:
        parent: where what is made shall lie, so that renaming is enough; it is made if it is not there.

    Raises:
        StoreError: if the folder cannot be made.
    """
    folder = parent / f"{PREFIX}{this_process().to_text()}-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"'{parent}' cannot be written into: {error.strerror or error}. Nothing was left there.") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_unfinished(parent: Path) -> list[Path]:
    """Remove what processes that have certainly ended left unfinished in a folder; returns what was removed."""
    if not parent.is_dir():
        return []
    left = [path for path in parent.glob(f"{PREFIX}*") if path.is_dir() and not path.is_symlink() and _is_abandoned(path.name)]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return [path for path in left if not path.exists()]


def _is_abandoned(name: str) -> bool:
    try:
        return ProcessIdentity.from_text(name.removeprefix(PREFIX).rpartition("-")[0]).certainly_dead()
    except ValueError:
        return False
