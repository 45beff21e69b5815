"""What must hold, whatever goes wrong: at each physical start, after each transaction, and when all is over."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

from orchestrator.domain import CampaignSpec, TrialStatus
from orchestrator.domain.cycler import RunRequest, RunState
from orchestrator.domain.trial import LEGAL_MOVES
from orchestrator.domain.value import from_plain
from orchestrator.store import RecordingArchive, RecordingFile
from tests.torture.devices import Device, Run, attempt_of, result_of, rows_of
from tests.torture.plans import METRIC, RATE
from tests.torture.world import Violation, World

_HOLDING = "('dispatching', 'running', 'unknown')"
_UNHELD = f"""
SELECT t.number FROM trials t LEFT JOIN channels c ON c.trial_id = t.id
WHERE t.status IN {_HOLDING} AND (c.id IS NULL OR c.fence <> t.fence OR c.name <> t.channel OR c.cycler <> t.cycler)"""
_LEAKED = f"SELECT c.name FROM channels c JOIN trials t ON c.trial_id = t.id WHERE t.status NOT IN {_HOLDING}"
_STORED_SPEC = """
SELECT s.spec FROM spec_versions s JOIN campaigns c ON c.id = s.campaign_id AND s.version = c.spec_version WHERE c.name = ?"""
_BACKLOG = """
SELECT 1 FROM trials t JOIN campaigns c ON c.id = t.campaign_id WHERE c.name = ? AND t.number = ? AND t.origin = 'backlog'"""
_STOPPED_BEFORE = """
SELECT 1 FROM campaigns c JOIN events s ON s.campaign_id = c.id AND s.kind = 'stop_requested'
WHERE c.name = ? AND (s.trial IS NULL OR s.trial = ?)
AND s.id < (SELECT max(d.id) FROM events d WHERE d.campaign_id = c.id AND d.trial = ? AND d.kind = 'trial_dispatching')"""
_FOR_A_PERSON = """
SELECT 1 FROM trials WHERE status IN ('unknown', 'proposed') UNION SELECT 1 FROM channels WHERE state = 'quarantined'
UNION SELECT 1 FROM campaigns WHERE status = 'needs_attention'"""
# The state that an event of a trial puts it into; others leave it where it is.
_LEADS_TO = {f"trial_{status.value}": status for status in TrialStatus} | {"dispatch_withdrawn": TrialStatus.APPROVED}
# What may become of a trial by how its test truly ended.
_FATES = {
    RunState.FINISHED: {"completed"},
    RunState.FAILED: {"failed"},
    RunState.STOPPED: {"early_stopped", "aborted"},
}


class Judge:
    """Looks on, from outside, through a connection of its own.

    Attributes:
        in_force: the spec of each campaign after the last amendment that has returned.
        budgets: the largest budget that each campaign ever had.
        approved, rejected: campaign and number of each trial that a person wanted started, and that a person was told is not.
    """

    def __init__(self, world: World, database: Path) -> None:
        self.world = world
        self.in_force: dict[str, CampaignSpec] = {spec.name: spec for spec in world.plan.specs}
        self.budgets = {spec.name: spec.budget.trials for spec in world.plan.specs}
        self.approved: set[tuple[str, int]] = set()
        self.rejected: set[tuple[str, int]] = set()
        self._database = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
        self._fences: dict[str, tuple[int, str | None]] = {}

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def at_start(self, device: Device, request: RunRequest) -> None:
        """A test physically starts: the first of its attempt, on a free channel, wanted by the store, within today's limits."""
        attempt = attempt_of(request.key)
        if any(run.attempt == attempt for run in device.journal):
            raise Violation("at most one physical start per trial and attempt", f"{request.key} is started again")
        busy = device.occupant(request.channel)
        if busy is not None:
            raise Violation("no start on a busy channel", f"{request.key} on {request.channel}, where {busy.request.key} runs")
        row = self._one(
            "SELECT t.status, t.key FROM trials t JOIN campaigns c ON c.id = t.campaign_id WHERE c.name = ? AND t.number = ?",
            *attempt[:2],
        )
        if row is None or row[0] not in ("dispatching", "unknown") or attempt_of(row[1] or "//-1/-1") != attempt:
            raise Violation("no start that the store does not want", f"{request.key} starts while the trial is {row}")
        self._check_wanted(attempt[0], attempt[1], request.key)
        self._check_safe(attempt[0], request)

    def _check_wanted(self, name: str, number: int, key: str) -> None:
        """By those who were asked for approval; and nobody had asked for a stop when it was decided to start it."""
        asked = self.in_force[name].approval.needed(number) and not self._one(_BACKLOG, name, number)
        if (name, number) in self.rejected or (asked and (name, number) not in self.approved):
            raise Violation("no start against a person's word", f"{key} starts unapproved")
        if self._one(_STOPPED_BEFORE, name, number, number):
            raise Violation("no start after a stop", f"{key} starts although a stop was asked for before its intent")

    def _check_safe(self, name: str, request: RunRequest) -> None:
        """Within the limits of the last amendment that has returned, or of a later one about to."""
        broken = _broken(self.in_force[name], request)
        if broken and _broken(self._stored_spec(name), request):
            raise Violation("no unsafe start", f"{request.key} breaks {broken}")

    def amended(self, name: str) -> None:
        """An amendment has returned: from now on what is stored is in force."""
        self.in_force[name] = self._stored_spec(name)

    def _stored_spec(self, name: str) -> CampaignSpec:
        found = self._one(_STORED_SPEC, name)
        return from_plain(CampaignSpec, json.loads(found[0]))

    def wants_a_person(self) -> bool:
        """Whether somebody who goes round would find anything to do."""
        return self._one(_FOR_A_PERSON) is not None

    def after_write(self) -> None:
        """Each trial that holds a channel has it, each channel held is held by such a trial; fences rise."""
        if unheld := self._one(_UNHELD):
            raise Violation("channel and trial agree", f"trial {unheld[0]} does not hold the channel that it is on")
        if leaked := self._one(_LEAKED):
            raise Violation("channel and trial agree", f"channel {leaked[0]} is held by a trial that has no use for it")
        self._check_locks()

    def _check_locks(self) -> None:
        """Nobody is given a fence that somebody has had."""
        for name, fence, process in self._database.execute("SELECT name, fence, process FROM locks").fetchall():
            before, holder = self._fences.get(name, (0, None))
            if fence < before:
                raise Violation("fences rise", f"{name} went from {before} to {fence}")
            if fence == before and process and holder and process != holder:
                raise Violation("fences rise", f"{holder} and {process} both hold {name} under fence {fence}")
            self._fences[name] = fence, process or (holder if fence == before else None)

    def at_end(self, device: Device, archive: RecordingArchive) -> None:
        """Faults and campaigns have ended: database and device tell the same story."""
        device.settle()
        self._check_quiet(device)
        fates = self._fates()
        for run in device.journal:
            self._check_run(run, fates)
        self._check_successes(device)
        self._check_trials(device, fates, archive)
        self._check_paths()
        self._check_budgets(fates)

    def _check_quiet(self, device: Device) -> None:
        for run in device.journal:
            if not run.state.ended:
                raise Violation("database and device agree", f"{run.request.key} runs on after the end of its campaign")
        held = self._one("SELECT name, state, trial_id FROM channels WHERE state = 'held' OR trial_id IS NOT NULL")
        if held:
            raise Violation("no channel leaked", f"{held} after the end")
        if attempt := self._one("SELECT key, state FROM attempts WHERE state NOT IN ('withdrawn', 'ended')"):
            raise Violation("no illegal state", f"attempt {attempt} after the end")

    def _fates(self) -> dict[tuple[str, int], dict[str, object]]:
        cursor = self._database.execute("SELECT c.name AS campaign, t.* FROM trials t JOIN campaigns c ON c.id = t.campaign_id")
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return {(str(row["campaign"]), int(row["number"])): row for row in rows}  # type: ignore[call-overload]

    def _check_run(self, run: Run, fates: dict[tuple[str, int], dict[str, object]]) -> None:
        campaign, number, attempt = run.attempt
        trial = fates[campaign, number]
        if trial["attempt"] != attempt or trial["key"] != run.request.key:
            raise Violation("no result lost", f"{run.request.key} ran ({run.state}); the trial knows only of {trial['key']}")
        if trial["status"] not in _FATES[run.state]:
            raise Violation("database and device agree", f"{run.request.key} is {run.state}, its trial {trial['status']}")
        if (trial["started_h"], trial["ended_h"]) != (run.start_h, run.end_h):
            told = f"{trial['started_h']}..{trial['ended_h']} h, in truth {run.start_h}..{run.end_h} h"
            raise Violation("database and device agree", f"{run.request.key}: {told}")

    def _check_successes(self, device: Device) -> None:
        successes = Counter(run.attempt[:2] for run in device.journal if run.state is RunState.FINISHED)
        if twice := [trial for trial, count in successes.items() if count > 1]:
            raise Violation("at most one successful run per trial", f"{twice[0]}")

    def _check_trials(self, device: Device, fates: dict[tuple[str, int], dict[str, object]], archive: RecordingArchive) -> None:
        runs = {run.request.key: run for run in device.journal}
        for (campaign, number), trial in fates.items():
            run = runs.get(str(trial["key"]))
            if not TrialStatus(str(trial["status"])).ended:
                raise Violation("no illegal state", f"trial {number} of '{campaign}' is {trial['status']} after the end")
            if run is None and trial["status"] != "cancelled":
                raise Violation("database and device agree", f"trial {number} of '{campaign}' is {trial['status']} and never ran")
            if run is not None:
                self._check_outcome(trial, run)
                self._check_recording(trial, run, archive)

    def _check_outcome(self, trial: dict[str, object], run: Run) -> None:
        stored = self._database.execute("SELECT metric, mean, sem FROM outcomes WHERE trial_id = ?", (trial["id"],)).fetchall()
        true = result_of(run)[METRIC]
        expected = [(METRIC, true.mean, true.sem)] if run.state is RunState.FINISHED else []
        if stored != expected:
            raise Violation("each result exactly once", f"{run.request.key}: stored {stored}, measured {expected}")

    def _check_recording(self, trial: dict[str, object], run: Run, archive: RecordingArchive) -> None:
        query = "SELECT uri, sha256, rows, schema_version FROM recordings WHERE trial_id = ?"
        files = self._database.execute(query, (trial["id"],)).fetchall()
        if len(files) != int(self.world.plan.records):
            raise Violation("no result lost", f"{run.request.key} has {len(files)} recordings")
        for file in files:
            columns = archive.read(RecordingFile(*file))
            if any(list(columns[name]) != list(column) for name, column in rows_of(run).items()):
                raise Violation(
                    "each result exactly once", f"the rows of {run.request.key} are not those that its channel recorded"
                )

    def _check_paths(self) -> None:
        """Each trial's events, in order, form a legal path that ends where the trial is."""
        query = "SELECT campaign_id, trial, kind FROM events WHERE trial IS NOT NULL ORDER BY id"
        paths: dict[tuple[int, int], list[TrialStatus]] = defaultdict(list)
        for campaign, trial, kind in self._database.execute(query).fetchall():
            if kind in _LEADS_TO:
                paths[campaign, trial].append(_LEADS_TO[kind])
        for place, path in paths.items():
            for before, after in pairwise(path):
                if after not in LEGAL_MOVES[before]:
                    raise Violation("the log tells a legal path", f"trial {place[1]} of campaign {place[0]}: {' > '.join(path)}")
            row = self._one("SELECT status FROM trials WHERE campaign_id = ? AND number = ?", *place)
            if row is None or row[0] != path[-1].value:
                raise Violation(
                    "the log tells a legal path", f"trial {place[1]} of campaign {place[0]} is {row}, by its log {path[-1]}"
                )

    def _check_budgets(self, fates: dict[tuple[str, int], dict[str, object]]) -> None:
        spent = Counter(name for (name, _), t in fates.items() if t["status"] != "cancelled" and t["cause"] != "device")
        for name, budget in self.budgets.items():
            if spent[name] > budget:
                raise Violation("budgets are kept", f"'{name}' spent {spent[name]} trials of {budget}")

    def adopted(self) -> int:
        """How many tests were found running and taken over."""
        return self._count("SELECT count(*) FROM events WHERE kind = 'trial_running' AND json_extract(data, '$.adopted')")

    def withdrawn(self) -> int:
        """How many intents were given up."""
        return self._count("SELECT count(*) FROM events WHERE kind = 'dispatch_withdrawn'")

    def _count(self, query: str) -> int:
        found = self._one(query)
        return int(found[0]) if found else 0

    def _one(self, query: str, *values: object) -> tuple[object, ...] | None:
        return self._database.execute(query, values).fetchone()


def _broken(spec: CampaignSpec, request: RunRequest) -> str | None:
    """Which limit of a spec a request breaks, worked out without the shipped check."""
    bounds = spec.space.free[0]
    rate = float(request.candidate.parameters[RATE])
    if not bounds.lower <= rate <= bounds.upper:
        return f"the bounds {bounds.lower:g}..{bounds.upper:g} with {rate:g} C"
    most, carried = spec.safety_limits.max_current_A, request.protocol.limits.max_current_A
    if most is not None and (carried is None or carried > most):
        return f"the limit of {most:g} A with {carried} A"
    return None
