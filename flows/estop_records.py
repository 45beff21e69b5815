"""What is written down of emergency stops: at once in the lab's folder, and in the lab's log as soon as the database answers.

A record waits in `estop/pending/` until its event is committed, then moves to `estop/recorded/`. The database itself sees to it
that an event is written once, whoever takes the record in how often.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.lab_folder import make_durable, write_whole
from flows.latch import WHOLE_LAB, EmergencyLatch, StopOrder

if TYPE_CHECKING:
    from orchestrator.store import Event, TrialStore

STOPPED, LIFTED = "emergency_stop", "emergency_stop_lifted"
KINDS = (STOPPED, LIFTED)
# Longer than an emergency stop waits for answers: what is unfinished by then was left by a killed program.
UNFINISHED_FOR = timedelta(seconds=60)


@dataclass(frozen=True)
class StopRecord:
    """What is kept of one emergency stop, or of the lifting of its latch.

    Attributes:
        id: never used again; sorts by time.
        kind: "emergency_stop" or "emergency_stop_lifted".
        at: the system's time, ISO 8601, UTC.
        by, reason: who, and why.
        lab_time_h: of it, hours, where it was known.
        cyclers: what became of each, by name; "*" stands for every cycler of the lab.
        finished: whether every answer is in.
    """

    id: str
    kind: str
    at: str
    by: str
    reason: str
    lab_time_h: float | None = None
    cyclers: Mapping[str, str] = field(default_factory=dict)
    finished: bool = True


def keep_record(folder: Path, record: StopRecord, *, durable: bool = True) -> None:
    """Write a record down, or what has been learned since over it.

    Raises:
        OSError: the lab's folder cannot be written.
    """
    write_whole(_pending(folder) / f"{record.id}.json", json.dumps(asdict(record), indent=1), durable=durable)


def is_kept(folder: Path, record_id: str) -> bool:
    """Whether a record has been written down, or is in the lab's log already."""
    return any((folder / "estop" / part / f"{record_id}.json").is_file() for part in ("pending", "recorded"))


def take_in(store: TrialStore, folder: Path) -> int:
    """Put every record that waits into the lab's log, each once; one that is still being written stays.

    Args:
        store: the lab's.
        folder: the lab's.

    Returns:
        How many events were written.

    Raises:
        StoreError: the database does not answer; the records wait.
    """
    try:
        waiting = sorted(_pending(folder).glob("[!.]*.json"))
    except OSError:
        return 0
    written = 0
    for path in waiting:
        record = _read(path)
        if record is None or _unfinished(folder, record, store.database.now()):
            continue
        lab_time_h = (store.last_lab_time_h() or 0.0) if record.lab_time_h is None else record.lab_time_h
        said = {k: v for k, v in asdict(record).items() if k not in ("kind", "lab_time_h", "finished")}
        written += store.log_once(record.kind, f"{record.kind}/{record.id}", data=said, lab_time_h=lab_time_h)
        _move_to_recorded(path)
    return written


def stop_since_dispatch(store: TrialStore, campaign: str, number: int, cycler: str) -> StopOrder | None:
    """The emergency stop that struck a cycler after a trial's dispatch was begun; None if there was none.

    The order of the log decides, not the clocks of those who wrote it.
    """
    stops = [e for e in store.events(kinds=(STOPPED,)) if {cycler, WHOLE_LAB} & set(e.data.get("cyclers", ()))]
    if not stops:
        return None
    begun = [e.id for e in store.events(campaign, kinds=("trial_dispatching",)) if e.trial == number]
    since = [e for e in stops if begun and e.id > begun[-1]]
    return _order(since[0]) if since else None


def _order(event: Event) -> StopOrder:
    said = event.data
    return StopOrder(said["id"], said["at"], said["by"], said["reason"], event.lab_time_h)


def _unfinished(folder: Path, record: StopRecord, now: datetime) -> bool:
    """Whether its program may still be at work on it: it is young, and what it latched is latched yet."""
    if record.finished or abs(now - datetime.fromisoformat(record.at)) > UNFINISHED_FOR:
        return False
    latch = EmergencyLatch(folder)
    return any(latch.reason_for(cycler) for cycler in record.cyclers)


def _read(path: Path) -> StopRecord | None:
    """A record; None if it is gone by now, or is none."""
    try:
        plain: dict[str, Any] = json.loads(path.read_text())
        record = StopRecord(**plain)
        return record if record.kind in KINDS and datetime.fromisoformat(record.at).tzinfo else None
    except (OSError, ValueError, TypeError):
        return None


def _move_to_recorded(path: Path) -> None:
    """Only after the commit; a crash before this leaves a record that the database knows already."""
    recorded = path.parents[1] / "recorded"
    try:
        recorded.mkdir(exist_ok=True)
        path.replace(recorded / path.name)
        make_durable(recorded, path.parent)
    except OSError:
        return  # another process was quicker, or the folder is read-only now: the log has it


def _pending(folder: Path) -> Path:
    return folder / "estop" / "pending"
