"""Whether a lab's database is sound: the file itself, what its rows refer to, specs against their hashes, states that cannot be.

Nothing is changed here; `repairs` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import ForeignKeyConstraint, Table, and_, exists, func
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session, col, select

from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.errors import StoreError, VoltloopError
from orchestrator.domain.value import content_hash, from_plain
from orchestrator.store import schema
from orchestrator.store.engine import system_now
from orchestrator.store.finding import Finding
from orchestrator.store.illegal_states import BACKUP, illegal_states
from orchestrator.store.plain import RecordingFile
from orchestrator.store.stored_rows import StoredRows
from orchestrator.store.tables import EventRow, Row, StopRequestRow, TrialRow
from orchestrator.store.unreadable import candidates_that_fit_no_space, unreadable_json
from orchestrator.store.untouched import read_untouched


@dataclass(frozen=True)
class DatabaseCheck:
    """What a check of the database found.

    Attributes:
        revision: of the schema.
        findings: everything that is not as it should be.
        recordings: the recordings that rows speak of, each with its trial in words; None if rows could not be read.
        at_work: whether a tick holds a lease at this moment.
    """

    revision: str
    findings: tuple[Finding, ...]
    recordings: tuple[tuple[str, RecordingFile], ...] | None
    at_work: bool = False


def check_database(url_or_path: str | Path, now: Callable[[], datetime] = system_now) -> DatabaseCheck:
    """Check a lab's database on one snapshot, without changing anything; ticks may be at work.

    Args:
        url_or_path: an SQLite file, or a PostgreSQL URL.
        now: the system's time, for leases.

    Raises:
        StoreError: if there is no lab, it is newer than this program, or it cannot be read at all.
    """
    return read_untouched(url_or_path, lambda session: _check(session, str(url_or_path), now()))


def _check(session: Session, where: str, now: datetime) -> DatabaseCheck:
    broken = list(_integrity(session))
    revision = schema.stored_revision(session.connection())
    if revision is None:
        raise StoreError(f"there is no lab in '{where}'. Start one with `voltloop run SPEC.toml`, or name another with --lab.")
    if revision not in schema.REVISIONS:
        raise StoreError(
            f"the lab's database has schema revision {revision}, newer than this voltloop's ({schema.HEAD}). "
            "Check it with the newer voltloop that made it."
        )
    if revision != schema.HEAD:
        old = f"has schema revision {revision}; this voltloop's is {schema.HEAD}, and checks no other."
        finding = Finding(
            "old_schema", "database", old, "Back it up, bring it up to date with `voltloop db upgrade`, check again."
        )
        return DatabaseCheck(revision, (*broken, finding), None)
    try:
        broken += unreadable_json(session)
        rows = StoredRows.read(session)
        found = [*broken, *_dangling(session), *_specs(rows), *candidates_that_fit_no_space(rows), *illegal_states(rows, now)]
    except (DatabaseError, ValueError) as error:
        if not broken:
            raise
        if not any(finding.kind.startswith("unreadable") for finding in broken):
            broken.append(Finding("damaged", "database", f"some rows cannot be read: {_first_line(error)}.", BACKUP))
        return DatabaseCheck(revision, tuple(broken), None)
    names = [(rows.name(rows.trial_by_id.get(row["trial_id"])), row) for row in rows.recordings]
    files = tuple((name, RecordingFile(row["uri"], row["sha256"], row["rows"], row["schema_version"])) for name, row in names)
    stale = {finding.subject["lock"] for finding in found if finding.kind == "dead_lease"}
    at_work = any(lock["holder"] is not None and lock["name"] not in stale for lock in rows.locks)
    return DatabaseCheck(revision, tuple(found), files, at_work)


def _integrity(session: Session) -> Iterator[Finding]:
    """SQLite's own look at the file; PostgreSQL looks after its own."""
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        said = connection.exec_driver_sql("PRAGMA integrity_check(20)").scalars().all()
        for line in said if list(said) != ["ok"] else ():
            yield Finding("damaged", "database", f"SQLite finds the file damaged: {_first_line(line)}.", BACKUP)


def _first_line(said: object) -> str:
    return (str(said).splitlines() or [type(said).__name__])[0].rstrip(".")


def _dangling(session: Session) -> Iterator[Finding]:
    """Rows that refer to what is not there: by foreign key, and where the schema has none."""
    for table in Row.metadata.sorted_tables:
        for key in sorted(table.foreign_key_constraints, key=lambda key: str(key.name)):
            if count := _orphans(session, table, key):
                names = ", ".join(key.column_keys)
                problem = f"{count} of its rows name by '{names}' a row of '{key.referred_table.name}' that is not there."
                yield Finding("dangling", f"table '{table.name}'", problem, BACKUP)
    yield from _of_no_trial(session)
    here = and_(col(TrialRow.id) == col(StopRequestRow.trial_id), col(TrialRow.campaign_id) != col(StopRequestRow.campaign_id))
    for stop in session.exec(select(StopRequestRow.id).where(exists().where(here))).all():
        yield Finding("dangling", "table 'stop_requests'", f"row {stop} names a trial of another campaign.", BACKUP)


def _orphans(session: Session, table: Table, key: ForeignKeyConstraint) -> int:
    there = exists().where(*(element.column == element.parent for element in key.elements)).select_from(key.referred_table)
    if table is key.referred_table:  # no table refers to itself so far
        return 0
    filled = [element.parent.is_not(None) for element in key.elements]
    query = select(func.count()).select_from(table).where(*filled, ~there.correlate(table))
    return session.exec(query).one()


def _of_no_trial(session: Session) -> Iterator[Finding]:
    there = exists().where(col(TrialRow.campaign_id) == col(EventRow.campaign_id), col(TrialRow.number) == col(EventRow.trial))
    query = select(EventRow.id, EventRow.trial).where(col(EventRow.trial).is_not(None), col(EventRow.campaign_id).is_not(None))
    for number, trial in session.exec(query.where(~there)).all():
        yield Finding("dangling", f"event {number}", f"speaks of trial {trial}, which its campaign does not have.", BACKUP)


def _specs(rows: StoredRows) -> Iterator[Finding]:
    for spec in rows.specs:
        campaign = rows.campaign_by_id.get(spec["campaign_id"], {"name": "?"})
        where = f"spec of '{campaign['name']}', version {spec['version']}"
        if content_hash(spec["spec"]) != spec["sha256"]:
            yield Finding("other_spec", where, "is not what was stored: its sha256 differs.", BACKUP)
            continue
        try:
            from_plain(CampaignSpec, spec["spec"])
        except (VoltloopError, ValueError, TypeError, KeyError) as error:
            yield Finding("unreadable_spec", where, f"cannot be read: {_first_line(error)}.", BACKUP)
