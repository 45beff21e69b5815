"""States that no sequence of ticks, kills and restarts leaves behind: who holds what, and which attempt a trial is at.

Each rule looks at one snapshot of the rows and yields what it finds. What the rows themselves prove is repaired; whether a
test runs on a cycler they cannot prove: that is a person's to see.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from orchestrator.domain.trial import TrialStatus, trial_key
from orchestrator.store.finding import Finding
from orchestrator.store.process import ProcessIdentity
from orchestrator.store.stored_rows import StoredRows, place, status_of

_S = TrialStatus
ENDED_CAMPAIGNS = ("completed", "stopped")
# What the row of a trial's current attempt says, by the trial's state.
ATTEMPT_STATES: dict[TrialStatus, tuple[str, ...]] = {
    _S.PROPOSED: (),
    _S.APPROVED: ("withdrawn",),
    _S.DISPATCHING: ("open",),
    _S.RUNNING: ("running",),
    _S.UNKNOWN: ("unknown",),
    _S.CANCELLED: ("withdrawn", "ended"),
}
OPEN = ("open", "running", "unknown")
BACKUP = "Restore a backup (docs/backups.md), or ask whoever changed the database."
REPAIR = "`voltloop db check --repair` {does}."


def illegal_states(rows: StoredRows, now: datetime) -> Iterator[Finding]:
    """Every illegal state of a snapshot; `now` is the system's time, for leases."""
    yield from _channels(rows)
    yield from _fences(rows)
    yield from _holders(rows)
    yield from _shared_channels(rows)
    yield from _attempts(rows)
    yield from _keys(rows)
    yield from _campaigns(rows)
    yield from _recordings(rows)
    yield from _leases(rows, now)


def _channels(rows: StoredRows) -> Iterator[Finding]:
    for channel in rows.channels:
        holder = rows.trial_by_id.get(channel["trial_id"])
        if channel["trial_id"] is None or (holder is not None and status_of(holder).holds_channel):
            continue
        ended = holder is not None and status_of(holder).ended
        problem = f"is held by {rows.name(holder)}, which {'has ended' if ended else 'does not run'}."
        subject = {"channel": channel["id"], "trial": channel["trial_id"]}
        if ended:
            yield Finding("held_by_ended", place(channel), problem, REPAIR.format(does="frees it"), "repair", subject)
        else:
            yield Finding("held_by_waiting", place(channel), problem, BACKUP, "person", subject)


def _fences(rows: StoredRows) -> Iterator[Finding]:
    highest: dict[tuple[str, str], int] = {}
    for attempt in rows.attempts:
        at = (attempt["cycler"], attempt["channel"])
        highest[at] = max(attempt["fence"], highest.get(at, 0))
    for at, fence in highest.items():
        channel = rows.channel_by_place.get(at)
        if channel is not None and channel["trial_id"] is None and channel["fence"] < fence:
            problem = f"has fence {channel['fence']}, and fence {fence} was given out already."
            subject = {"channel": channel["id"], "fence": fence}
            yield Finding("fence_behind", place(channel), problem, REPAIR.format(does="raises it"), "repair", subject)


def _holders(rows: StoredRows) -> Iterator[Finding]:
    claims = [(trial["cycler"], trial["channel"]) for trial in rows.holding()]
    for trial in rows.holding():
        channel = rows.channel_by_place.get((trial["cycler"], trial["channel"]))
        where = rows.name(trial)
        look = f"Look at {place(trial)} whether '{trial['key']}' runs there; stop it there if it does. {BACKUP}"
        if channel is None:
            yield Finding("no_channel", where, f"is {trial['status']} on {place(trial)}, which the lab does not know.", look)
        elif channel["trial_id"] == trial["id"] and channel["fence"] != trial["fence"]:
            fences = (
                f"is {trial['status']} under fence {trial['fence']}, its channel {place(trial)} has fence {channel['fence']}."
            )
            yield Finding("other_fence", where, fences, look)
        elif channel["trial_id"] not in (None, trial["id"]):
            other = rows.name(rows.trial_by_id.get(channel["trial_id"]))
            yield Finding("held_by_other", where, f"is {trial['status']} on {place(trial)}, which {other} holds.", look)
        elif channel["trial_id"] is None:
            problem = f"is {trial['status']} on {place(trial)}, which it does not hold."
            sole = claims.count((trial["cycler"], trial["channel"])) == 1 and channel["fence"] == trial["fence"]
            remedy, mend = (REPAIR.format(does="has it hold the channel again"), "repair") if sole else (look, "person")
            subject = {"channel": channel["id"], "trial": trial["id"], "fence": trial["fence"]}
            yield Finding("not_held", where, problem, remedy, "repair" if mend == "repair" else "person", subject)


def _shared_channels(rows: StoredRows) -> Iterator[Finding]:
    at: dict[str, list[dict[str, Any]]] = {}
    for trial in rows.holding():
        at.setdefault(place(trial), []).append(trial)
    for where, trials in at.items():
        if len(trials) > 1:
            said = ", ".join(rows.name(trial) for trial in trials)
            yield Finding("two_on_one", where, f"{len(trials)} trials say that they hold it: {said}.",
                          f"Look at the channel which of them runs there; stop what does not belong there. {BACKUP}")  # fmt: skip


def _attempts(rows: StoredRows) -> Iterator[Finding]:
    for trial in rows.trials:
        attempts, number = rows.attempts_by_trial.get(trial["id"], {}), trial["attempt"]
        current, where = attempts.get(number), rows.name(trial)
        legal = ATTEMPT_STATES.get(status_of(trial), ("ended",))
        if current is None and number:
            yield Finding("no_attempt", where, f"is at attempt {number}, of which there is no row.", BACKUP)
        elif current is not None and current["state"] not in legal:
            kind = "open_attempt" if status_of(trial).ended and current["state"] in OPEN else "other_attempt_state"
            yield Finding(kind, where, f"is {trial['status']}, its attempt {number} is '{current['state']}'.",
                          f"Look at {place(current)} whether '{current['key']}' runs there. {BACKUP}")  # fmt: skip
        elif current is not None and trial["key"] is not None and _differ(trial, current):
            differ = ", ".join(f"{name} {trial[name]} and {current[name]}" for name in _differ(trial, current))
            yield Finding("other_attempt", where, f"and its attempt {number} differ: {differ}.", BACKUP)
        for other, attempt in attempts.items():
            if other > number or (other < number and attempt["state"] in OPEN):
                yield Finding("stray_attempt", where, f"is at attempt {number}, and attempt {other} is '{attempt['state']}'.",
                              f"Look at {place(attempt)} whether '{attempt['key']}' runs there. {BACKUP}")  # fmt: skip


def _differ(trial: dict[str, Any], attempt: dict[str, Any]) -> list[str]:
    return [name for name in ("key", "cycler", "channel", "fence") if trial[name] != attempt[name]]


def _keys(rows: StoredRows) -> Iterator[Finding]:
    for attempt in rows.attempts:
        trial = rows.trial_by_id.get(attempt["trial_id"])
        if trial is None:
            continue  # a dangling reference, found as such
        due = trial_key(rows.campaign_of(trial), trial["number"], attempt["attempt"])
        if attempt["key"] != due:
            problem = f"attempt {attempt['attempt']} has the key '{attempt['key']}' instead of '{due}'."
            yield Finding("other_key", rows.name(trial), problem, BACKUP)


def _campaigns(rows: StoredRows) -> Iterator[Finding]:
    versions = {(spec["campaign_id"], spec["version"]) for spec in rows.specs}
    for campaign in rows.campaigns:
        where = f"campaign '{campaign['name']}'"
        if (campaign["id"], campaign["spec_version"]) not in versions:
            yield Finding("no_spec", where, f"has no version {campaign['spec_version']} of its spec.", BACKUP)
        left = [trial for trial in rows.holding() if trial["campaign_id"] == campaign["id"]]
        if campaign["status"] in ENDED_CAMPAIGNS and left:
            said = ", ".join(f"{trial['number']} ({trial['status']})" for trial in left)
            yield Finding("ended_with_tests", where, f"is {campaign['status']}, and trials hold channels: {said}.",
                          f"Stop those tests at the cycler, then free the channels by restoring a backup. {BACKUP}")  # fmt: skip


def _recordings(rows: StoredRows) -> Iterator[Finding]:
    for recording in rows.recordings:
        trial = rows.trial_by_id.get(recording["trial_id"])
        if trial is not None and recording["attempt"] not in rows.attempts_by_trial.get(trial["id"], {}):
            problem = f"has a recording of attempt {recording['attempt']}, of which there is no row."
            yield Finding("no_attempt", rows.name(trial), problem, BACKUP)


def _leases(rows: StoredRows, now: datetime) -> Iterator[Finding]:
    for lock in rows.locks:
        if lock["holder"] is None:
            continue
        if why := why_over(lock["expires_at"], lock["process"], now):
            yield Finding("dead_lease", f"lock '{lock['name']}'", f"is held by {lock['holder']}, but {why}.",
                          "The next tick takes it over.", "itself", {"lock": lock["name"], "fence": lock["fence"]})  # fmt: skip


def why_over(expires_at: datetime | None, process: str | None, now: datetime) -> str | None:
    """Why a lock's holder holds it no longer, in words; None if it may be at work."""
    if expires_at is None or expires_at <= now:
        return "its time has run out"
    return "its process has ended" if _dead(process) else None


def _dead(process: str | None) -> bool:
    try:
        return process is not None and ProcessIdentity.from_text(process).certainly_dead()
    except ValueError:
        return False
