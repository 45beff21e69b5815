"""Labs as earlier programs left them: every table filled, row by row, in plain SQL.

The campaign `past` was interrupted with trials in every state. What a later revision added is told under `SINCE`; a revision
that is not named there added nothing that its program had written by then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from orchestrator.domain.value import content_hash
from orchestrator.store import schema
from orchestrator.store.engine import Database, system_now

AT = "2026-11-22 12:00:00.000000"
ROWS = [{"x": float(i), "result": 10.0 - (i - 7) ** 2, "hours": 5.0} for i in range(12)]
# As the first program wrote it: fields that came later are not there.
SPEC: dict[str, Any] = {
    "name": "past",
    "space": {"rows": ROWS, "features": ["x"], "structures": {}},
    "objectives": [{"metric": "result", "goal": "maximize", "threshold": -50.0, "at_cycle": None}],
    "constraints": [],
    "safe_seed": [],
    "strategy": "auto",
    "budget": {"trials": 8, "channel_hours": None},
    "seed": 0,
    "experiment": {
        "protocol": "cc_cv",
        "cell": {
            "name": "lfp_a123", "nominal_capacity_Ah": 1.1, "max_voltage_V": 3.6, "min_voltage_V": 2.0,
            "chemistry": "LFP/graphite 18650", "max_charge_rate_C": 10.0, "synthetic": True, "parameters": {},
        },
        "ambient_temperature_degC": 25.0, "checkup_every_cycles": 50, "end_of_life": 0.8, "max_cycles": 1500, "fixed": {},
    },
    "safety_limits": {"max_voltage_V": None, "min_voltage_V": None, "max_temperature_degC": None, "max_current_A": None},
    "prognosis": {"predict_at_cycles": [], "stopping": "never", "sentinels": 0.1},
    "approval": {"mode": "none", "first": 3},
    "causal": {"edges": [], "unobserved": []},
    "cyclers": [
        {"name": "replay", "kind": "replay",
         "options": {"table": ROWS, "target": "result", "duration_h": "hours", "channels": 4}}
    ],
}  # fmt: skip
SPEC_SHA256 = content_hash(SPEC)
REF = {key: json.dumps({"channel": channel, "cycler": "replay", "key": key, "native_id": key}) for key, channel in
       (("past/1/1", "1"), ("past/2/2", "2"), ("past/3/1", "1"))}  # fmt: skip


def _trial(number: int, status: str, **known: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": number, "campaign_id": 1, "number": number, "spec_version": 1,
        "candidate": {"parameters": {"x": float(number)}, "id": f"row{number}"}, "origin": "spread", "status": status,
        "attempt": 0, "key": None, "cycler": None, "channel": None, "run_ref": None, "fence": None, "stopped_because": None,
        "started_h": None, "ended_h": None, "limits_violated": False,
    }  # fmt: skip
    return {**row, **known}


def _on(channel: str, fence: int, key: str, **further: Any) -> dict[str, Any]:
    return {"attempt": int(key[-1]), "key": key, "cycler": "replay", "channel": channel, "fence": fence,
            "run_ref": REF.get(key), **further}  # fmt: skip


def _attempt(number: int, trial: int, state: str, **known: Any) -> dict[str, Any]:
    row = {"id": number, "trial_id": trial, "state": state, "begun_at": AT, "begun_h": 0.5, "started_h": None, "closed_h": None,
           "reason": None}  # fmt: skip
    return {**row, **known}


def _event(number: int, kind: str, trial: int | None, data: Mapping[str, Any], at_h: float = 0.0) -> dict[str, Any]:
    return {"id": number, "at": AT, "lab_time_h": at_h, "kind": kind, "campaign_id": 1, "trial": trial, "data": dict(data)}


def _outcome(number: int, trial: int, mean: float, source: str, at_cycle: int | None, at_h: float) -> dict[str, Any]:
    return {"id": number, "trial_id": trial, "metric": "result", "mean": mean, "sem": 1.5, "source": source, "unit": None,
            "at_cycle": at_cycle, "lab_time_h": at_h}  # fmt: skip


FIRST: dict[str, list[dict[str, Any]]] = {
    "campaigns": [
        {"id": 1, "name": "past", "spec_version": 1, "status": "running", "status_reason": None, "created_at": AT,
         "started_h": 0.25, "ended_h": None, "reference_point": {"result": -50.0}, "wall_s": 3.5}
    ],
    "spec_versions": [
        {"campaign_id": 1, "version": 1, "spec": SPEC, "sha256": SPEC_SHA256, "created_at": AT, "lab_time_h": 0.25}
    ],
    "trials": [
        _trial(1, "completed", started_h=0.5, ended_h=5.5, **_on("1", 1, "past/1/1")),
        _trial(2, "failed", started_h=1.0, ended_h=4.0, stopped_because="channel 2 died", limits_violated=True,
               **_on("2", 2, "past/2/2")),
        _trial(3, "running", started_h=6.0, **_on("1", 2, "past/3/1")),
        _trial(4, "dispatching", **_on("2", 3, "past/4/1")),
        _trial(5, "unknown", stopped_because="no answer", **_on("3", 1, "past/5/1")),
        _trial(6, "approved"),
        _trial(7, "proposed"),
        _trial(8, "cancelled", ended_h=2.0, stopped_because="rejected by a person"),
        _trial(9, "completed", origin="told", started_h=1.0, ended_h=1.0),
    ],
    "attempts": [
        _attempt(1, 1, "ended", started_h=0.5, closed_h=5.5, **_on("1", 1, "past/1/1")),
        _attempt(2, 2, "withdrawn", closed_h=0.75, reason="refused", **_on("2", 1, "past/2/1")),
        _attempt(3, 2, "ended", started_h=1.0, closed_h=4.0, reason="channel 2 died", **_on("2", 2, "past/2/2")),
        _attempt(4, 3, "running", started_h=6.0, **_on("1", 2, "past/3/1")),
        _attempt(5, 4, "open", **_on("2", 3, "past/4/1")),
        _attempt(6, 5, "unknown", reason="no answer", **_on("3", 1, "past/5/1")),
    ],
    "channels": [
        {"id": 1, "cycler": "replay", "name": "1", "state": "held", "trial_id": 3, "fence": 2, "reason": None},
        {"id": 2, "cycler": "replay", "name": "2", "state": "held", "trial_id": 4, "fence": 3, "reason": None},
        {"id": 3, "cycler": "replay", "name": "3", "state": "held", "trial_id": 5, "fence": 1, "reason": None},
        {"id": 4, "cycler": "replay", "name": "4", "state": "quarantined", "trial_id": None, "fence": 0,
         "reason": "worn contact"},
    ],
    "events": [
        _event(1, "campaign_registered", None, {"spec_version": 1, "spec_sha256": SPEC_SHA256, "status": "running"}, 0.25),
        *(_event(1 + n, "trial_proposed", n, {"candidate": {"parameters": {"x": float(n)}}}, 0.25) for n in range(1, 9)),
        _event(10, "trial_told", 9, {"origin": "told"}, 1.0),
        _event(11, "trial_cancelled", 8, {"before": "proposed", "reason": "rejected by a person"}, 2.0),
        _event(12, "trial_running", 3, {"key": "past/3/1", "fence": 2}, 6.0),
    ],
    "outcomes": [
        _outcome(1, 1, 3.0, "predicted", 40, 2.0),
        _outcome(2, 1, -26.0, "measured", None, 5.5),
        _outcome(3, 9, 6.0, "measured", None, 1.0),
    ],
    "cycle_summaries": [
        {"trial_id": 1, "position": n, "data": {"cycle": n + 1, "discharge_capacity_Ah": 1.1 - 0.01 * n}} for n in range(2)
    ],
    "recordings": [
        {"id": 1, "trial_id": 1, "attempt": 1, "uri": "recordings/past_1_1-0.parquet", "sha256": "0" * 64, "rows": 2,
         "schema_version": 1, "created_at": AT}
    ],
    "decisions": [
        {"trial_id": n, "data": {"strategy": "table", "why": "first design"}, "lab_time_h": 0.25} for n in range(1, 9)
    ],
    "stop_requests": [
        {"id": 1, "campaign_id": 1, "trial_id": None, "reason": "holidays", "requested_by": "person", "requested_at": AT,
         "lab_time_h": 1.0, "withdrawn_h": 1.5},
        {"id": 2, "campaign_id": 1, "trial_id": 8, "reason": "enough", "requested_by": "person", "requested_at": AT,
         "lab_time_h": 2.0, "withdrawn_h": None},
    ],
    "locks": [
        {"name": "campaign/past", "fence": 5, "holder": None, "process": None, "acquired_at": None, "expires_at": None}
    ],
    "lab_facts": [{"name": "room", "value": {"number": 12}}],
}  # fmt: skip

# What the program of each later revision would have written besides: by table, and position of the row in `FIRST`.
SINCE: dict[str, dict[str, dict[int, dict[str, Any]]]] = {
    "0002": {"trials": {1: {"cause": "device"}}},
    "0003": {
        "trials": {5: {"decided_by": "ada@bench"}, 2: {"flag": "warmer than today's limit"}},
        "spec_versions": {0: {"amended_by": "ada@bench"}},
    },
}


def rows_of(revision: str) -> dict[str, list[dict[str, Any]]]:
    """What the program of a revision had stored: by table, each row a mapping from column to value."""
    rows = {table: [dict(row) for row in given] for table, given in FIRST.items()}
    for since in schema.REVISIONS[: schema.REVISIONS.index(revision) + 1]:
        for table, changed in SINCE.get(since, {}).items():
            for position, columns in changed.items():
                rows[table][position] |= columns
    return rows


def make_past_lab(url: str, revision: str) -> None:
    """A database of an earlier revision, with everything that its program knew."""
    database = Database(url, 10.0, system_now)
    try:
        with database.migrating() as connection, connection.begin():
            schema.upgrade(connection, revision)
            for table, rows in rows_of(revision).items():
                for row in rows:
                    _insert(connection, table, row)
    finally:
        database.close()


def _insert(connection: Connection, table: str, row: Mapping[str, Any]) -> None:
    plain = {name: json.dumps(given) if isinstance(given, (dict, list)) else given for name, given in row.items()}
    names, places = ", ".join(plain), ", ".join(f":{name}" for name in plain)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), plain)
    if "id" in plain and connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {plain['id']})"))
