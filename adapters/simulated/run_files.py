"""What has been computed of one run, on disk: a file per check-up, and one for the end.

A file is written under a temporary name, synced and renamed, so it is whole or absent. Its content depends on the request
and the seed alone: two processes that compute the same run write the same bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapters.peers.line_file import sync_folder
from adapters.simulated.ageing import Age, Stress
from adapters.simulated.cell_steps import Array, Cause
from adapters.simulated.checkup_cycle import BreakOff
from adapters.simulated.life_test import CheckUp, LifeEnd
from orchestrator.domain import RunState


@dataclass(frozen=True)
class CheckUpNote:
    """A check-up without its samples: what scheduling and `status` need."""

    index: int
    cycle: int
    start_s: float
    end_s: float


class RunFiles:
    """The computed part of one run in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write_checkup(self, checkup: CheckUp) -> None:
        """Add a check-up, durably."""
        fields = {k: v for k, v in vars(checkup).items() if k != "samples"}
        plain = {k: asdict(v) if isinstance(v, (Age, Stress, BreakOff)) else v for k, v in fields.items()}
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"_fields": np.frombuffer(json.dumps(plain).encode(), dtype=np.uint8), **checkup.samples}
        np.savez(buffer, **arrays)
        write_durably(self._checkup(checkup.index), buffer.getvalue())

    def write_end(self, end: LifeEnd) -> None:
        """Say how the run ended, durably."""
        write_durably(self._folder / "end.json", json.dumps(asdict(end)).encode())

    def read_end(self) -> LifeEnd | None:
        """How the run ended, or None if it has not been computed to its end."""
        try:
            plain = json.loads((self._folder / "end.json").read_bytes())
        except FileNotFoundError:
            return None
        return LifeEnd(**{**plain, "state": RunState(plain["state"])})

    def notes(self, first: int = 0) -> Iterator[CheckUpNote]:
        """Notes on check-ups from index `first` on, as far as computed."""
        for index in range(first, 1_000_000):
            plain = self._fields(index)
            if plain is None:
                return
            end_s = plain["start_s"] + plain["duration_s"] + (plain.get("reference_s") or 0.0)
            yield CheckUpNote(index, plain["age"]["cycle"], plain["start_s"], end_s)

    def checkup(self, index: int) -> CheckUp:
        """One check-up with its samples."""
        with np.load(self._checkup(index)) as file:
            samples: dict[str, Array] = {name: file[name] for name in file.files if name != "_fields"}
            plain = json.loads(file["_fields"].tobytes())
        plain["age"], plain["stress"] = Age(**plain["age"]), Stress(**plain["stress"])
        plain["broken"] = _break_off(plain["broken"])
        return CheckUp(samples=samples, **plain)

    def last(self) -> CheckUp | None:
        """The latest check-up computed."""
        indices = [int(path.stem.removeprefix("checkup-")) for path in self._folder.glob("checkup-*.npz")]
        return self.checkup(max(indices)) if indices else None

    @contextlib.contextmanager
    def claimed(self) -> Iterator[bool]:
        """Whether this process may compute the run now; the claim ends with the block, or with the process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "claim").open("wb") as file, _locked_if_free(file.fileno()) as mine:
            yield mine

    def _fields(self, index: int) -> dict[str, Any] | None:
        try:
            with np.load(self._checkup(index)) as file:
                return dict(json.loads(file["_fields"].tobytes()))
        except FileNotFoundError:
            return None

    def _checkup(self, index: int) -> Path:
        return self._folder / f"checkup-{index:04d}.npz"


def _break_off(plain: dict[str, Any] | None) -> BreakOff | None:
    """As written now, or by a version that noted only whether a safety limit was passed."""
    if plain is None:
        return None
    kind = plain.get("kind") or ("safety" if plain.get("safety") else None)
    return BreakOff(plain["reason"], Cause(kind) if kind else None)


@contextlib.contextmanager
def _locked_if_free(descriptor: int) -> Iterator[bool]:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True


def write_durably(path: Path, content: bytes) -> None:
    """Write a file whole: temporary name, sync, rename, sync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
