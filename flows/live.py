"""Rows of running tests, kept safe while they run: read at every look, flushed to the lab's disk, closed when the test ends.

In real time only: a test in virtual time is over when it has been computed, and its cycler has all of it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from numpy.typing import NDArray

from flows.bench import Bench
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.cycler import Cycler, RunRef
from orchestrator.domain.errors import CampaignError, CyclerUnreachableError, StoreError
from orchestrator.domain.trial import Trial
from orchestrator.store import RecordingArchive
from orchestrator.store.live_recording import LiveRecording, OvertakenError

Rows = dict[str, NDArray[Any]]
PAUSED = "live_recording_paused"
READ_EVERY_S = 5.0
# At one look at one test; what is left comes at the next.
MOST_ANSWERS, MOST_BYTES = 64, 64 << 20


class _Watch:
    """What this process remembers of a lab's live recordings.

    Attributes:
        read_s: when each key was last read, by the process's own clock.
        told: keys whose trouble is in the log.
    """

    def __init__(self) -> None:
        self.read_s: dict[str, float] = {}
        self.told: set[str] = set()


_WATCHES: WeakKeyDictionary[RecordingArchive, _Watch] = WeakKeyDictionary()


def keep_rows(bench: Bench, trial: Trial, cycler: Cycler, ref: RunRef) -> None:
    """Take what a running test has recorded since the last look, and make it durable.

    Nothing here holds up a tick: what cannot be read or written now is read at the next look, or when the test has ended.
    """
    key = trial.key
    if key is None or not isinstance(bench.lab.clock, SystemClock) or not cycler.capabilities.records:
        return
    watch = _watch_of(bench)
    if time.monotonic() - watch.read_s.get(key, -READ_EVERY_S) < READ_EVERY_S:
        return
    watch.read_s[key] = time.monotonic()
    try:
        _read_on(bench, key, cycler, ref)
    except (CyclerUnreachableError, OvertakenError):
        return
    except StoreError as error:
        _tell(bench, trial, error)


def kept_rows(bench: Bench, trial: Trial) -> tuple[list[Rows], str | None]:
    """What was kept of a test that has ended, and the cycler's cursor behind it; nothing if there is none or it is damaged."""
    try:
        live = bench.lab.archive.live.find(trial.key or "")
        if live is None or live.cursor is None:
            return [], None
        parts = list(live.batches())
        return parts, live.cursor
    except StoreError as error:
        _tell(bench, trial, error)
        return [], None


def let_rows_go(bench: Bench, trial: Trial) -> None:
    """Delete what was kept of a test: its closed recording is in the store. What cannot be deleted is swept later."""
    with suppress(StoreError):
        bench.lab.archive.live.remove(trial.key or "")
    _watch_of(bench).read_s.pop(trial.key or "", None)


def sweep_once(bench: Bench) -> None:
    """Once per process and lab: remove what killed processes have left of recordings that are closed."""
    archive = bench.lab.archive
    if archive not in _WATCHES:
        _WATCHES[archive] = _Watch()
        with suppress(StoreError):
            archive.sweep()
            archive.live.sweep(lambda key: _is_closed(bench, key))


def _watch_of(bench: Bench) -> _Watch:
    return _WATCHES.setdefault(bench.lab.archive, _Watch())


def _is_closed(bench: Bench, key: str) -> bool:
    """Whether nobody will look for a key's rows any more: its trial has ended, with its recording, or without a row."""
    campaign, _, number = key.rpartition("/")[0].rpartition("/")
    try:
        trial = bench.lab.store.trial(campaign, int(number))
    except (CampaignError, ValueError):
        return False
    if trial.key != key or not trial.status.ended:
        return False
    live = bench.lab.archive.live.find(key)
    return bench.lab.store.recording_of(campaign, trial.number) is not None or live is None or live.rows == 0


def _read_on(bench: Bench, key: str, cycler: Cycler, ref: RunRef) -> None:
    """Answers whose cursor has moved, up to a bound; an answer under the old cursor has been given before."""
    live: LiveRecording | None = bench.lab.archive.live.find(key)
    cursor, taken = live.cursor if live else None, 0
    for _ in range(MOST_ANSWERS):
        columns, following = cycler.read(ref, cursor)
        if following is None or following == cursor:
            break
        cursor = following
        if not columns:
            continue
        live = live or bench.lab.archive.live.open(key)
        live.append(columns, following)
        taken += sum(column.nbytes for column in columns.values())
        if taken > MOST_BYTES:
            break
    if live is not None:
        live.flush()


def _tell(bench: Bench, trial: Trial, error: StoreError) -> None:
    """Into the log, once per process and test."""
    watch = _watch_of(bench)
    if trial.key not in watch.told:
        watch.told.add(trial.key or "")
        with suppress(StoreError):
            said = {"error": str(error), "key": trial.key}
            bench.lab.store.log(PAUSED, campaign=bench.campaign.name, trial=trial.number, data=said, lab_time_h=bench.now_h)
