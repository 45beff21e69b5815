"""The durable memory of a device that lives in a folder: which runs it physically started, under which key, and how they ended.

A start is on disk before anybody is told of it, and there is at most one a key, whoever asks how often: callers in
several threads and processes are kept apart by a file lock. The file `runs.jsonl` is append-only; each line is one
event, and its `start` lines are what tests of exactly-once dispatch count.
"""

from __future__ import annotations

import fcntl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adapters.peers.injected_faults import InjectedFault
from adapters.peers.line_file import LineFile
from orchestrator.domain.cycler import RunRequest, RunState
from orchestrator.domain.errors import ChannelBusyError, KeyRevokedError, RequestRefusedError
from orchestrator.domain.value import from_plain, to_plain


@dataclass(frozen=True)
class Run:
    """One physical run as the device remembers it; `faults` are those in force when it started, which will strike it."""

    request: RunRequest
    start_h: float
    faults: tuple[InjectedFault, ...] = ()
    state: RunState = RunState.RUNNING
    end_h: float | None = None
    reason: str | None = None

    @property
    def key(self) -> str:
        """The idempotency key it was submitted under."""
        return self.request.key

    @property
    def channel(self) -> str:
        """The channel it runs on."""
        return self.request.channel


class RunJournal:
    """A device's runs, in memory and on disk alike."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lines, self._lock_path = LineFile(folder / "runs.jsonl"), folder / "lock"
        self._threads = threading.RLock()
        self._runs: dict[str, Run] = {}
        self._open: dict[str, Run] = {}
        self._revoked: set[str] = set()
        self._changes = 0

    @property
    def changes(self) -> int:
        """A number that grows with every event, whoever wrote it: what was derived from the runs stays true while it stands."""
        with self._threads:
            self._catch_up()
            return self._changes

    def open_runs(self) -> list[Run]:
        """The runs that have not ended, in the order started."""
        with self._threads:
            self._catch_up()
            return list(self._open.values())

    def runs(self) -> list[Run]:
        """Every run, in the order started."""
        with self._threads:
            self._catch_up()
            return list(self._runs.values())

    def find(self, key: str) -> Run | None:
        """The run of a key."""
        with self._threads:
            self._catch_up()
            return self._runs.get(key)

    def start(self, request: RunRequest, now_h: float, faults: tuple[InjectedFault, ...] = ()) -> Run:
        """Start a run, once: a key that is known already starts nothing and gives the run there is.

        Args:
            request: what to run.
            now_h: lab time.
            faults: that will strike the run, see `faults_of_run`.

        Raises:
            RequestRefusedError: the key is known with another content.
            ChannelBusyError: another run occupies the channel.
            KeyRevokedError: the key was revoked.
        """
        with self._exclusive():
            known = self._runs.get(request.key)
            if known is not None:
                _check_same(known.request, request)
                return known
            if request.key in self._revoked:
                raise KeyRevokedError(f"the key '{request.key}' was revoked; nothing is started under it.")
            busy = self._occupant(request.channel)
            if busy is not None:
                raise ChannelBusyError(f"channel {request.channel} is busy with the run '{busy.key}'.")
            planned = {"faults": [to_plain(fault) for fault in faults]} if faults else {}
            self._append({"event": "start", "at_h": now_h, "request": to_plain(request), **planned})
            return self._runs[request.key]

    def revoke(self, key: str) -> Run | None:
        """Never start a key; the run, if it was started already."""
        with self._exclusive():
            if key not in self._runs and key not in self._revoked:
                self._append({"event": "revoke", "key": key})
            return self._runs.get(key)

    def end(self, key: str, state: RunState, at_h: float, reason: str | None = None) -> Run:
        """Note how a run ended; the first end stands."""
        with self._exclusive():
            if not self._runs[key].state.ended:
                self._append({"event": "end", "key": key, "at_h": at_h, "state": state.value, "reason": reason})
            return self._runs[key]

    def physical_starts(self) -> dict[str, int]:
        """How often each key was physically started, counted from the file itself."""
        return dict(Counter(event["request"]["key"] for event in self._lines.all() if event["event"] == "start"))

    def _occupant(self, channel: str) -> Run | None:
        return next((run for run in self._open.values() if run.channel == channel), None)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._threads, self._lock_path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._catch_up()
            yield

    def _append(self, event: dict[str, Any]) -> None:
        self._lines.add(event)
        self._catch_up()

    def _catch_up(self) -> None:
        for event in self._lines.new():
            self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        self._changes += 1
        if event["event"] == "start":
            request = from_plain(RunRequest, event["request"])
            if request.key not in self._runs:
                faults = tuple(from_plain(InjectedFault, plain) for plain in event.get("faults", ()))
                self._runs[request.key] = self._open[request.key] = Run(request, event["at_h"], faults)
        elif event["event"] == "revoke":
            self._revoked.add(event["key"])
        else:
            run = self._runs[event["key"]]
            ended = replace(run, state=RunState(event["state"]), end_h=event["at_h"], reason=event["reason"])
            self._runs[run.key] = ended
            self._open.pop(run.key, None)


def _check_same(known: RunRequest, request: RunRequest) -> None:
    if known.content_sha256 != request.content_sha256:
        raise RequestRefusedError(
            f"the key '{request.key}' was started with another protocol or cell. Keys are never used again."
        )
