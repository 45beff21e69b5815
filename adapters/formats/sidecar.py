"""Metadata beside a CSV, which has no place for it: `x.bdf.csv` keeps it in `x.bdf.metadata.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adapters.formats.cycler_file import unreadable

_LARGEST = 1 << 24


def sidecar_path(path: Path) -> Path:
    """Where the metadata of a CSV lies."""
    name = path.name.removesuffix(".gz")
    stem = name[: name.rfind(".")] if "." in name.lstrip(".") else name
    return path.with_name(f"{stem}.metadata.json")


def read_sidecar(path: Path) -> dict[str, Any]:
    """The metadata beside a CSV; nothing where there is none.

    Raises:
        FormatError: if there is some that cannot be read.
    """
    beside = sidecar_path(path)
    if not beside.is_file():
        return {}
    try:
        found = json.loads(beside.read_bytes()) if beside.stat().st_size <= _LARGEST else None
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(
            beside, f"is not readable as JSON ({error}).", f"Mend or remove it, then read '{path.name}' again."
        ) from None
    if not isinstance(found, dict):
        raise unreadable(beside, "is not a JSON object of at most 16 MiB.", f"Mend or remove it, then read '{path.name}' again.")
    return found
