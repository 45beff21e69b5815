"""What must never be forgotten: which tests were started, and which were told to stop.

Three files of JSON lines, only ever added to: `starts.jsonl`, one line per physical start, `stops.jsonl`, and `revoked.jsonl`,
keys that must never be started. A line is
written and synced before the caller is answered; a line cut short by a crash was never acknowledged and is dropped. All
writing happens under one file lock, so threads and processes may share a folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.peers.injected_faults import InjectedFault
from adapters.peers.line_file import LineFile
from adapters.simulated.instrument import GOOD_CYCLER, InstrumentSettings
from orchestrator.domain import RunRequest
from orchestrator.domain.value import from_plain, to_plain


@dataclass(frozen=True)
class Start:
    """A physical start: the request, the lab time, the seed that makes its cell, the faults that will strike, the instrument."""

    request: RunRequest
    started_h: float
    seed: int
    faults: tuple[InjectedFault, ...] = ()
    instrument: InstrumentSettings = GOOD_CYCLER

    @property
    def key(self) -> str:
        """The test's key."""
        return self.request.key

    @property
    def folder_name(self) -> str:
        """Name of the run's folder and its native id: keys may hold any character, file names may not."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Stop:
    """An order to stop.

    Attributes:
        stopped_h: lab time of the order.
        settled: the test was running then, as far as anybody knew; what is computed later cannot change that.
    """

    key: str
    stopped_h: float
    reason: str
    settled: bool


class Journal:
    """The journal of one cycler's folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._starts, self._stops = LineFile(folder / "starts.jsonl"), LineFile(folder / "stops.jsonl")
        self._revoked = LineFile(folder / "revoked.jsonl")
        self._known_starts: dict[str, Start] = {}
        self._known_stops: dict[str, Stop] = {}
        self._known_revoked: set[str] = set()
        self._lock = threading.RLock()
        self._depth = 0

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other thread and process from writing."""
        with self._lock, (self.folder / "lock").open("wb") as file:
            self._depth += 1
            if self._depth == 1:
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                self._depth -= 1

    def starts(self) -> dict[str, Start]:
        """Every start by key, in order; what other processes added included."""
        with self._lock:
            for line in self._starts.new():
                start = _start(line)
                self._known_starts.setdefault(start.key, start)
            return dict(self._known_starts)

    def stops(self) -> dict[str, Stop]:
        """The first order to stop, by key."""
        with self._lock:
            for line in self._stops.new():
                self._known_stops.setdefault(line["key"], Stop(**line))
            return dict(self._known_stops)

    def revoked(self) -> frozenset[str]:
        """Keys that must never be started."""
        with self._lock:
            self._known_revoked.update(line["key"] for line in self._revoked.new())
            return frozenset(self._known_revoked)

    def revoke(self, key: str) -> Start | None:
        """Never start a key, durably; its start, if there was one already."""
        with self.alone():
            known = self.starts().get(key)
            if known is None and key not in self.revoked():
                self._revoked.add({"key": key})
            return known

    def add_start(self, start: Start) -> None:
        """Record a physical start, durably. Hold `alone`."""
        line = {"key": start.key, "started_h": start.started_h, "seed": start.seed, "request": to_plain(start.request)}
        faults = {"faults": [to_plain(fault) for fault in start.faults]} if start.faults else {}
        self._starts.add({**line, **faults, "instrument": to_plain(start.instrument)})

    def add_stop(self, stop: Stop) -> None:
        """Record an order to stop, durably."""
        with self.alone():
            self._stops.add(vars(stop))

    def physical_starts(self) -> dict[str, int]:
        """How often each key was started: lines of the file, counted."""
        return dict(Counter(line["key"] for line in self._starts.all()))


def _start(line: dict[str, Any]) -> Start:
    faults = tuple(from_plain(InjectedFault, plain) for plain in line.get("faults", ()))
    instrument = from_plain(InstrumentSettings, line.get("instrument", {}))
    return Start(from_plain(RunRequest, line["request"]), line["started_h"], line["seed"], faults, instrument)
