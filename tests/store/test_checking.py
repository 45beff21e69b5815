"""Each fault a lab's database can have is planted and found, and only what the rows prove is mended; a sound lab has none."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from orchestrator.domain import Estimate, TrialStatus
from orchestrator.domain.errors import StoreError
from orchestrator.store import RecordingArchive, TrialStore
from orchestrator.store.checking import DatabaseCheck, check_database
from orchestrator.store.checking_files import files_there, orphan_findings, set_aside
from orchestrator.store.finding import Finding
from orchestrator.store.plain import RecordingFile
from orchestrator.store.process import ProcessIdentity, this_process
from orchestrator.store.repairs import RepairLedger
from orchestrator.store.tables import RecordingRow
from tests.store.past_labs import make_past_lab


@pytest.fixture
def lab(url: str, store: TrialStore, add_approved: Callable, life: dict[str, Estimate]) -> TrialStore:
    """A sound lab: trial 1 has ended on channel 1, 2 runs there, 3 is being started on 2, 4 is unknown on 3, 5 is approved."""
    add_approved(store, 5)
    for number, channel in ((1, "1"), (2, "1"), (3, "2"), (4, "3")):
        fence = store.begin_dispatch("fast", number, cycler="sim", channel=channel, lab_time_h=2.0).fence
        if number in (1, 2):
            store.acknowledge("fast", number, run_ref=f"run-{number}", started_h=2.5, fence=fence)
        if number == 1:
            store.finish("fast", 1, status=TrialStatus.COMPLETED, outcome=life, stopped_because=None, ended_h=3.0, fence=fence)
        if number == 4:
            store.park_unknown("fast", 4, reason="no answer", lab_time_h=2.5)
    return store


@pytest.fixture
def tamper(lab: TrialStore) -> Callable[..., None]:
    """Change the lab from outside: neither foreign keys nor triggers hold anybody up."""

    def change(*statements: str) -> None:
        if lab.database.path:
            with sqlite3.connect(lab.database.path) as connection:
                triggers = [n for (n,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
                for statement in (*(f"DROP TRIGGER {name}" for name in triggers), *statements):
                    connection.execute(statement)
            connection.close()
        else:
            with lab.database.engine.begin() as session:
                session.execute(text("SET session_replication_role = replica"))
                for statement in statements:
                    session.execute(text(statement))
                session.execute(text("SET session_replication_role = origin"))

    return change


def look(lab: TrialStore, url: str) -> DatabaseCheck:
    """Check the lab at the time of its own clock."""
    return check_database(url, lab.database.now)


def found(lab: TrialStore, url: str) -> set[str]:
    """The kinds of fault that a check finds."""
    return {finding.kind for finding in look(lab, url).findings}


def test_a_sound_lab_has_no_faults(lab: TrialStore, url: str) -> None:
    """Trials in every state, and nothing to say."""
    lab.withdraw_dispatch("fast", 3, fence=lab.trial("fast", 3).fence, reason="refused", lab_time_h=3.0)
    lab.quarantine("sim", "3", reason="worn", lab_time_h=3.0)
    checked = look(lab, url)
    assert checked.findings == ()
    assert checked.recordings == ()


OUTCOME_OF_NOBODY = (
    "INSERT INTO outcomes (id, trial_id, metric, mean, sem, source, lab_time_h) VALUES (9, 77, 'x', 1.0, 0.0, 'measured', 1.0)"
)
EVENT_OF_NOBODY = (
    "INSERT INTO events (id, at, lab_time_h, kind, campaign_id, trial, data) "
    "VALUES (99, '2026-11-22 12:00:00', 1.0, 'trial_running', 1, 42, '{}')"
)
PLANTED = {
    "held_by_ended": ["UPDATE channels SET trial_id = 1, state = 'held', fence = 1 WHERE name = '2'",
                      "UPDATE trials SET status = 'approved', key = NULL, fence = NULL, attempt = 0 WHERE id = 3",
                      "DELETE FROM attempts WHERE trial_id = 3"],
    "held_by_waiting": ["UPDATE channels SET trial_id = 5 WHERE name = '1'"],
    "fence_behind": ["UPDATE channels SET fence = 0, trial_id = NULL, state = 'free' WHERE name = '3'"],
    "no_channel": ["UPDATE trials SET channel = '9' WHERE id = 2"],
    "other_fence": ["UPDATE channels SET fence = 7 WHERE name = '1'"],
    "held_by_other": ["UPDATE channels SET trial_id = 5 WHERE name = '1'"],
    "not_held": ["UPDATE channels SET trial_id = NULL, state = 'free' WHERE name = '2'"],
    "two_on_one": ["UPDATE trials SET channel = '2' WHERE id = 2"],
    "no_attempt": ["DELETE FROM attempts WHERE trial_id = 2"],
    "open_attempt": ["UPDATE attempts SET state = 'running' WHERE trial_id = 1"],
    "other_attempt_state": ["UPDATE attempts SET state = 'withdrawn' WHERE trial_id = 2"],
    "other_attempt": ["UPDATE attempts SET fence = 5 WHERE trial_id = 2"],
    "stray_attempt": ["UPDATE trials SET attempt = 0, status = 'approved', key = NULL WHERE id = 2"],
    "other_key": ["UPDATE attempts SET key = 'fast/2/9' WHERE trial_id = 2", "UPDATE trials SET key = 'fast/2/9' WHERE id = 2"],
    "no_spec": ["UPDATE campaigns SET spec_version = 4"],
    "ended_with_tests": ["UPDATE campaigns SET status = 'completed'"],
    "other_spec": ["UPDATE spec_versions SET sha256 = 'x'"],
    "dangling": [OUTCOME_OF_NOBODY],
}  # fmt: skip


@pytest.mark.parametrize("kind", PLANTED)
def test_each_fault_is_found(lab: TrialStore, url: str, tamper: Callable[..., None], kind: str) -> None:
    """Planted from outside, found by name, said in words that tell a person where and what to do."""
    tamper(*PLANTED[kind])
    checked = look(lab, url)
    faults = [finding for finding in checked.findings if finding.kind == kind]
    assert faults, checked.findings
    assert all(finding.where and finding.problem.endswith(".") and finding.remedy for finding in faults)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE channels SET trial_id = 88 WHERE name = '1'",
        EVENT_OF_NOBODY,
        "INSERT INTO decisions (trial_id, data, lab_time_h) VALUES (77, '{}', 1.0)",
        "INSERT INTO cycle_summaries (trial_id, position, data) VALUES (77, 0, '{}')",
        "UPDATE trials SET campaign_id = 5 WHERE id = 5",
    ],
)
def test_whatever_refers_to_nothing_is_found(lab: TrialStore, url: str, tamper: Callable[..., None], statement: str) -> None:
    """Every reference of every table, and the log's trial numbers, which no foreign key guards."""
    tamper(statement)
    assert "dangling" in found(lab, url)


@pytest.mark.parametrize(
    ("statement", "kind", "where"),
    [
        ("UPDATE trials SET candidate = '{\"param' WHERE id = 3", "unreadable_candidate", "trial 3 of 'fast'"),
        ("UPDATE trials SET candidate = '[1]' WHERE id = 3", "unreadable_candidate", "trial 3 of 'fast'"),
        ("UPDATE decisions SET data = 'junk' WHERE trial_id = 3", "unreadable_decision", "trial 3 of 'fast'"),
        ("UPDATE spec_versions SET spec = '{'", "unreadable_spec", "table 'spec_versions', row 1, 1"),
        ("UPDATE events SET data = '' WHERE id = 2", "unreadable_row", "table 'events', row 2"),
        ('UPDATE trials SET candidate = \'{"parameters": {"c9": 1}}\' WHERE id = 3', "other_candidate", "trial 3 of 'fast'"),
    ],
)
def test_values_that_cannot_be_read_are_found(sqlite_store, add_approved, sqlite_path, statement, kind, where) -> None:
    """Each by a kind of its own and with its trial; PostgreSQL lets no such JSON in, but a candidate that fits no space."""
    add_approved(sqlite_store, 3)
    with sqlite_store.database.write() as session:
        for trigger in (
            session.connection().execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
        ):
            session.connection().execute(text(f"DROP TRIGGER {trigger}"))
        session.connection().exec_driver_sql(statement)
    findings = check_database(sqlite_path, sqlite_store.database.now).findings
    assert [(finding.kind, finding.where) for finding in findings] == [(kind, where)]
    if kind == "unreadable_candidate":
        with TrialStore.open(sqlite_path) as reopened, pytest.raises(StoreError, match="trial 3 of 'fast' cannot be read"):
            reopened.trials("fast")


def test_leases_of_the_dead_are_noted_and_need_nobody(lab: TrialStore, url: str, system_time) -> None:
    """A killed holder, and a lease that has run out; a live one is at work."""
    with lab.campaign_lock("fast", "me"):
        assert look(lab, url).findings == ()
        assert look(lab, url).at_work
        dead = ProcessIdentity(**{**vars(this_process()), "pid": 2**22 + 1, "started": "1"})
        with lab.database.write() as session:
            session.connection().execute(text("UPDATE locks SET process = :dead"), {"dead": dead.to_text()})
        (note,) = look(lab, url).findings
        assert (note.kind, note.mend) == ("dead_lease", "itself")
        assert not look(lab, url).at_work
        with lab.database.write() as session:
            session.connection().execute(text("UPDATE locks SET process = :live"), {"live": this_process().to_text()})
        system_time.pass_by(3600)
        assert "its time has run out" in look(lab, url).findings[0].problem


REPAIRABLE = ("held_by_ended", "fence_behind", "not_held", "dead_lease")


@pytest.mark.parametrize("kind", REPAIRABLE[:3])
def test_what_the_rows_prove_is_mended_and_logged(lab: TrialStore, url: str, tamper: Callable[..., None], kind: str) -> None:
    """The fault is gone, the log says what was done, and a second repair finds nothing to do."""
    if kind == "fence_behind":
        fence = lab.trial("fast", 4).fence
        lab.withdraw_dispatch("fast", 4, fence=fence, reason="settled", lab_time_h=3.0)
    tamper(*PLANTED[kind])
    findings = look(lab, url).findings
    repaired = RepairLedger(lab.database).repair(findings, lab_time_h=4.0)
    assert [finding.kind for finding in repaired] == [kind]
    assert look(lab, url).findings == ()
    (event,) = lab.events(kinds=["repaired"])
    assert event.data["finding"] == kind
    assert RepairLedger(lab.database).repair(findings, lab_time_h=4.0) == []


def test_a_repair_looks_again(lab: TrialStore, url: str, tamper: Callable[..., None]) -> None:
    """Between the check and the repair the channel was taken by another trial: nothing is freed under its feet."""
    tamper(*PLANTED["held_by_ended"])
    findings = look(lab, url).findings
    tamper("UPDATE channels SET trial_id = 3 WHERE name = '2'")
    assert RepairLedger(lab.database).repair(findings, lab_time_h=4.0) == []
    assert lab.channels()[1].trial == 3


def test_a_lock_held_on_to_meanwhile_is_not_taken_off(lab: TrialStore, url: str, system_time) -> None:
    """A holder whose time had run out unnoticed writes, and so renews its lock, before the repair: it keeps it."""
    with lab.campaign_lock("fast", "slow") as fence:
        system_time.pass_by(700)
        (note,) = look(lab, url).findings
        assert note.kind == "dead_lease"
        held = lab.under("fast", fence)
        held.log("step", campaign="fast", lab_time_h=3.0)
        assert RepairLedger(lab.database).repair([note], lab_time_h=4.0) == []
        held.log("next step", campaign="fast", lab_time_h=3.0)
        system_time.pass_by(700)
        assert RepairLedger(lab.database).repair([note], lab_time_h=4.0) == [note]
        assert lab.lock_holder("fast") is None


@pytest.fixture
def orphan(lab: TrialStore, tmp_path: Path) -> tuple[RecordingArchive, RecordingFile, Finding]:
    """What a tick killed two days ago left of trial 2: its recording's file, found without a row."""
    archive = RecordingArchive(tmp_path / "recordings")
    file = archive.write("fast/2/1", {"test_time_second": np.arange(3.0)}, {})
    path = archive.path(file)
    os.utime(path, (time.time() - 2 * 86400.0,) * 2)
    (finding,) = orphan_findings(archive, files_there(archive), (), at_work=True)
    assert finding.mend == "repair"
    return archive, file, finding


def aside(lab: TrialStore, archive: RecordingArchive, finding: Finding) -> bool:
    """Whether a repair moves the orphan away."""
    return RepairLedger(lab.database).set_orphan_aside(archive, finding, lab_time_h=4.0, stamp=time.time)


def test_an_orphan_is_moved_and_logged_in_one_transaction(lab: TrialStore, orphan) -> None:
    """A second repair finds it gone, and says nothing."""
    archive, file, finding = orphan
    assert aside(lab, archive, finding)
    assert not archive.path(file).exists()
    assert not aside(lab, archive, finding)
    (event,) = lab.events(kinds=["recording_set_aside"])
    assert Path(event.data["to"]).is_file()


def test_an_orphan_that_a_result_names_by_now_stays(lab: TrialStore, orphan) -> None:
    """The result was stored between the look and the repair."""
    archive, file, finding = orphan
    fence, failed = lab.trial("fast", 2).fence, TrialStatus.FAILED
    lab.finish("fast", 2, status=failed, outcome={}, stopped_because="x", ended_h=3.0, fence=fence, recording=file)
    assert not aside(lab, archive, finding)
    assert archive.read(file)["test_time_second"].tolist() == [0.0, 1.0, 2.0]


def test_a_result_that_is_being_stored_is_waited_for(lab: TrialStore, orphan) -> None:
    """Its transaction has begun, and ends while the repair waits for it."""
    archive, file, finding = orphan
    moved: list[bool] = []
    repair = threading.Thread(target=lambda: moved.append(aside(lab, archive, finding)))
    with lab.database.write() as session:
        at = lab.database.now()
        session.add(RecordingRow(trial_id=2, attempt=1, created_at=at, **vars(file)))
        session.flush()
        repair.start()
        repair.join(0.2)
        assert not moved
    repair.join()
    assert moved == [False]
    assert archive.path(file).is_file()


def test_an_orphan_that_a_tick_takes_up_again_stays(lab: TrialStore, orphan) -> None:
    """Written again it is the same file, and young: the row that names it may follow at any moment."""
    archive, file, finding = orphan
    assert archive.write("fast/2/1", {"test_time_second": np.arange(3.0)}, {}) == file
    assert not aside(lab, archive, finding)
    assert archive.path(file).is_file()


def test_an_orphan_taken_up_while_it_moves_is_put_back(orphan, tmp_path: Path) -> None:
    """The last moment: a tick touched it after the repair had looked."""
    archive, file, finding = orphan
    os.utime(archive.path(file))
    assert set_aside(archive, finding.subject["path"]) is None
    assert archive.path(file).is_file()
    assert list((tmp_path / "recordings" / "orphans").iterdir()) == []


def test_what_a_person_must_see_is_left_alone(lab: TrialStore, url: str, tamper: Callable[..., None]) -> None:
    """Two trials on one channel, a key that is another's: a repair touches nothing."""
    tamper(*PLANTED["two_on_one"], *PLANTED["other_key"][:1], *PLANTED["other_spec"])
    before = look(lab, url).findings
    assert RepairLedger(lab.database).repair(before, lab_time_h=4.0) == []
    assert look(lab, url).findings == before


def test_a_free_channel_two_trials_claim_is_given_to_neither(lab: TrialStore, url: str, tamper: Callable[..., None]) -> None:
    """To have one of them hold it again would be to guess."""
    tamper("UPDATE trials SET channel = '2' WHERE id = 2", "UPDATE channels SET trial_id = NULL, state = 'free' WHERE name = '2'")
    assert {f.mend for f in look(lab, url).findings if f.kind == "not_held"} == {"person"}


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of a folder, with when it was written."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_check_leaves_no_trace(sqlite_path: Path, sqlite_store: TrialStore, spec) -> None:
    """A lab that is closed, and one whose last process was killed with its log not yet in the file: not a byte differs."""
    sqlite_store.register_campaign(spec, lab_time_h=0.0)
    wal = sqlite_path.with_name("voltloop.db-wal")
    with sqlite3.connect(sqlite_path) as reader:  # keeps the log from being folded in, as a kill would
        reader.execute("SELECT * FROM campaigns").fetchall()
        sqlite_store.close()
        assert wal.stat().st_size > 0
        before = files(sqlite_path.parent)
        assert check_database(sqlite_path).findings == ()
        after = files(sqlite_path.parent)
        assert {name: after[name] for name in ("voltloop.db", "voltloop.db-wal")} == {
            name: before[name] for name in ("voltloop.db", "voltloop.db-wal")
        }
    reader.close()
    TrialStore.open(sqlite_path).close()
    before = files(sqlite_path.parent)
    assert list(before) == ["voltloop.db"]
    assert check_database(sqlite_path).findings == ()
    assert files(sqlite_path.parent) == before


def test_an_older_schema_is_not_migrated_by_a_look(tmp_path: Path) -> None:
    """It is said, with the command that brings it up to date."""
    path = tmp_path / "voltloop.db"
    make_past_lab(str(path), "0001")
    before = path.read_bytes()
    checked = check_database(path)
    assert checked.revision == "0001"
    assert [finding.kind for finding in checked.findings] == ["old_schema"]
    assert "voltloop db upgrade" in checked.findings[0].remedy
    assert path.read_bytes() == before


def test_no_lab_and_a_newer_one_are_refused(tmp_path: Path, sqlite_path: Path) -> None:
    """With the usual words; nothing appears."""
    with pytest.raises(StoreError, match="there is no lab in"):
        check_database(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    with TrialStore.open(sqlite_path) as store, store.database.write() as session:
        session.connection().exec_driver_sql("UPDATE voltloop_schema SET version_num = '0099'")
    with pytest.raises(StoreError, match="revision 0099, newer than"):
        check_database(sqlite_path)


@pytest.mark.parametrize("pages", [slice(1, 2), slice(20, 24)])
def test_a_damaged_file_is_found(sqlite_path: Path, pages: slice) -> None:
    """Bytes overwritten in the file: what SQLite's own check says is repeated, or the lab is refused as damaged."""
    content, page = bytearray(sqlite_path.read_bytes()), 4096
    content[pages.start * page : pages.stop * page] = b"\xa5" * ((pages.stop - pages.start) * page)
    sqlite_path.write_bytes(bytes(content))
    try:
        said = " ".join(f"{finding.kind} {finding}" for finding in check_database(sqlite_path).findings)
    except StoreError as refused:
        said = str(refused)
    assert "damaged" in said


def test_a_finding_speaks_for_itself() -> None:
    """As text and as JSON: where, what, and what to do."""
    finding = Finding("orphan", "x.parquet", "belongs to nobody.", "Move it.", "repair", {"path": 1})
    assert str(finding) == "x.parquet: belongs to nobody. Move it."
    assert finding.to_json() == {
        "kind": "orphan", "where": "x.parquet", "problem": "belongs to nobody.", "remedy": "Move it.", "mend": "repair"
    }  # fmt: skip
