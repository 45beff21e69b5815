"""Rows of running tests, kept safe while they run: read at every look, flushed to the lab's disk, closed when the test ends.

In real time only: a test in virtual time is over when it has been computed, and its cycler has all of it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from flows.answers import BadAnswerError, Rows, all_rows, read_answer, row_count
from flows.bench import Bench
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.cycler import Cycler, RunRef
from orchestrator.domain.errors import CampaignError, CyclerUnreachableError, StoreError, VoltloopError
from orchestrator.domain.trial import Trial
from orchestrator.store import RecordingArchive
from orchestrator.store.live_recording import LiveRecording, OvertakenError

PAUSED = "live_recording_paused"
SET_ASIDE = "live_recording_set_aside"
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
    except (StoreError, BadAnswerError) as error:
        _tell(bench, trial, error)


@dataclass
class Kept:
    """What can be read of a test's live recording.

    Attributes:
        parts: rows, in order; those that are damaged are missing between them.
        whole: how many of the parts are in front of the first damage.
        whole_cursor: the cycler's, behind those.
        cursor: the cycler's, behind the last part.
        durable: how many rows were ever durable, as far as can be told.
        lost: ranges of rows, from one, that cannot be read.
        trouble: why more cannot be read, in words.
    """

    parts: list[Rows] = field(default_factory=list)
    whole: int = 0
    whole_cursor: str | None = None
    cursor: str | None = None
    durable: int = 0
    lost: list[tuple[int, int]] = field(default_factory=list)
    trouble: str | None = None

    @property
    def intact(self) -> bool:
        """Whether everything that was ever durable is there."""
        return not self.lost and self.trouble is None


def kept_rows(bench: Bench, trial: Trial) -> Kept:
    """What was kept of a test that has ended: every row that can be read, whatever is damaged in between."""
    kept = Kept()
    try:
        live = bench.lab.archive.live.find(trial.key or "")
        if live is None:
            return kept
        kept.durable = live.rows
        _gather(kept, live)
        if broken := live.unreadable():
            kept.trouble = f"of '{broken[0]}' nothing can be read"
    except StoreError as error:
        kept.trouble = str(error)
    end = row_count(kept.parts) + sum(last - first + 1 for first, last in kept.lost)
    if end < kept.durable:
        kept.lost.append((end + 1, kept.durable))
    kept.durable = max(end, kept.durable)
    if not kept.intact:
        _tell(bench, trial, StoreError(f"the live recording of {trial.key} is damaged: {_damage(kept)}."))
    return kept


def ended_rows(kept: Kept, cycler: Cycler, ref: RunRef) -> tuple[list[Rows], str | None]:
    """All rows of a test that has ended: what was kept and the rest from its cycler, which may still have what is damaged.

    Returns:
        The rows in parts, and what is missing of them, in words.

    Raises:
        BadAnswerError, CyclerUnreachableError: the cycler's rows cannot be read.
    """
    front = kept.parts[: kept.whole]
    parts = [*front, *all_rows(cycler, ref, kept.whole_cursor)]
    if not kept.lost or row_count(parts) >= kept.durable:
        return parts, f"rows may be missing, since the live recording was damaged: {kept.trouble}" if kept.trouble else None
    behind = all_rows(cycler, ref, kept.cursor) if kept.cursor != kept.whole_cursor else parts[kept.whole :]
    parts = [*kept.parts, *behind]
    return parts, f"the live recording was damaged, and the cycler has these rows no more: {_damage(kept)}"


def let_rows_go(bench: Bench, trial: Trial, kept: Kept, stored: int) -> None:
    """Delete what was kept of a test if its closed recording has it all; otherwise put it aside. What fails is swept later.

    Args:
        bench: the lab.
        trial: whose test it was.
        kept: what could be read of it.
        stored: rows of the closed recording.
    """
    live, key = bench.lab.archive.live, trial.key or ""
    _watch_of(bench).read_s.pop(key, None)
    with suppress(StoreError):
        if stored >= kept.durable and kept.trouble is None:
            live.remove(key)
            return
        moved = live.set_aside(key)
        if moved is not None:
            said = {
                "key": key,
                "durable_rows": kept.durable,
                "stored_rows": stored,
                "damage": _damage(kept),
                "folder": str(moved),
            }
            bench.lab.store.log(SET_ASIDE, campaign=bench.campaign.name, trial=trial.number, data=said, lab_time_h=bench.now_h)


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
    try:
        live, closed = bench.lab.archive.live.find(key), bench.lab.store.recording_of(campaign, trial.number)
        return live is None or (live.rows <= (closed.rows if closed else 0) and not live.unreadable())
    except StoreError:
        return False


def _gather(kept: Kept, live: LiveRecording) -> None:
    """Every part that is whole, and which rows are missing between them."""
    end = 0
    for batch in live.readable():
        if batch.row > end:
            kept.lost.append((end + 1, batch.row))
        if not kept.lost:
            kept.whole, kept.whole_cursor = kept.whole + 1, batch.cursor
        kept.parts.append(batch.columns)
        kept.cursor, end = batch.cursor, batch.end


def _damage(kept: Kept) -> str:
    """What cannot be read of a live recording, in words."""
    ranges = [f"rows {first} to {last}" for first, last in kept.lost]
    return "; ".join([*ranges, *filter(None, [kept.trouble])]) or "fewer rows were stored than were kept"


def _read_on(bench: Bench, key: str, cycler: Cycler, ref: RunRef) -> None:
    """Answers whose cursor has moved, up to a bound; an answer under the old cursor has been given before."""
    live: LiveRecording | None = bench.lab.archive.live.find(key)
    cursor, taken = live.cursor if live else None, 0
    for _ in range(MOST_ANSWERS):
        columns, following = read_answer(cycler, ref, cursor)
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


def _tell(bench: Bench, trial: Trial, error: VoltloopError) -> None:
    """Into the log, once per process and test."""
    watch = _watch_of(bench)
    if trial.key not in watch.told:
        watch.told.add(trial.key or "")
        with suppress(StoreError):
            said = {"error": str(error), "key": trial.key}
            bench.lab.store.log(PAUSED, campaign=bench.campaign.name, trial=trial.number, data=said, lab_time_h=bench.now_h)
