"""`voltloop db check` and `upgrade`: a sound lab has nothing to say, faults of its files are found, no result is deleted."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from adapters.simulated import SimulatedCycler
from flows import Lab, run_campaign
from flows.db_check import ABANDONED_S, check_lab
from orchestrator.domain import Budget
from orchestrator.store.process import ProcessIdentity, this_process
from tests.adapters.simulated.conftest import BenchCell
from tests.flows.test_faults import cells_spec
from tests.store.past_labs import make_past_lab


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A lab whose campaign has ended, with two recordings."""
    folder = tmp_path_factory.mktemp("ended") / "lab"
    with Lab.open(folder, cyclers=[SimulatedCycler(2, cell=BenchCell())]) as lab:
        assert run_campaign(lab, cells_spec(budget=Budget(trials=2))).status == "completed"
    return folder


@pytest.fixture
def folder(ended, tmp_path):
    """A copy of it to spoil."""
    return shutil.copytree(ended, tmp_path / "lab")


def recordings(folder):
    """The files of its closed recordings."""
    return sorted((folder / "recordings").glob("*.parquet"))


def kinds(folder, **options):
    """What a check finds, by kind."""
    return [finding.kind for finding in check_lab(folder, **options).findings]


def make_old(path):
    """Stamp a file two days ago: nobody is about to name it."""
    os.utime(path, (time.time() - 2 * 86400.0,) * 2)


def dead():
    """The mark of a process that has ended."""
    return ProcessIdentity(**{**vars(this_process()), "pid": 2**22 + 1, "started": "1"}).to_text()


def test_a_lab_that_ran_has_nothing_to_mend(folder):
    """No finding at all, and a check leaves the folder as it was."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    checked = check_lab(folder)
    assert (checked.findings, checked.clean) == ((), True)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@contextmanager
def nobody(folder):
    """Be a user who may not write in a folder for the length of the block: root may write everywhere."""
    paths = (folder, *folder.rglob("*"))
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        for path in paths:
            path.chmod(0o755)


def test_a_copy_that_may_not_be_written_is_checked_all_the_same(ended):
    """By a user without the right to write: a closed lab, and one whose last changes are still in the database's log."""
    assert check_lab(ended).clean
    with tempfile.TemporaryDirectory(prefix="voltloop-readable-") as open_to_all:
        Path(open_to_all).chmod(0o755)
        closed = Path(shutil.copytree(ended, Path(open_to_all) / "closed"))
        with Lab.open(closed) as lab, lab.store.database.engine.connect() as held:
            held.exec_driver_sql("SELECT * FROM campaigns").all()
            lab.store.quarantine("sim", "1", reason="worn", lab_time_h=900.0)
            logged = Path(shutil.copytree(closed, Path(open_to_all) / "logged"))
        (logged / "voltloop.db-shm").unlink()
        assert (logged / "voltloop.db-wal").stat().st_size > 0
        for folder in (closed, logged):
            before = sorted(folder.rglob("*"))
            with nobody(folder):
                assert check_lab(folder).findings == ()
            assert sorted(folder.rglob("*")) == before


def test_a_missing_a_changed_and_a_shortened_recording_are_found(folder):
    """By file and trial; a repair does not touch them, since only a backup has what they held."""
    first, second = recordings(folder)
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1] + b"x")
    assert sorted(kinds(folder)) == ["recording_changed", "recording_missing"]
    checked = check_lab(folder, repair=True)
    assert (len(checked.findings), checked.repaired, checked.clean) == (2, (), False)
    assert "docs/backups.md" in checked.findings[0].remedy


def test_a_row_count_that_is_not_the_file_s_is_found(folder):
    """The database says more rows than the file has."""
    with Lab.open(folder) as lab, lab.store.database.write() as session:
        session.connection().exec_driver_sql("UPDATE recordings SET rows = rows + 1 WHERE trial_id = 1")
        session.connection().exec_driver_sql("UPDATE recordings SET uri = '../elsewhere.parquet' WHERE trial_id = 2")
    assert sorted(kinds(folder)) == ["orphan", "recording_outside", "recording_rows"]


def test_an_orphan_is_set_aside_and_never_deleted(folder):
    """Its bytes are kept under `orphans/`, beside an older namesake; the log says where from."""
    orphan = folder / "recordings" / "nobody_9_1-abc.parquet"
    for content in (b"first", b"second"):
        orphan.write_bytes(content)
        make_old(orphan)
        assert kinds(folder) == ["orphan"]
        checked = check_lab(folder, repair=True)
        assert ([finding.kind for finding in checked.repaired], checked.clean) == (["orphan"], True)
    kept = sorted(path.read_bytes() for path in (folder / "recordings" / "orphans").iterdir())
    assert kept == [b"first", b"second"]
    with Lab.open(folder) as lab:
        assert len(lab.store.events(kinds=["recording_set_aside"])) == 2


def test_a_file_that_a_tick_has_just_written_is_no_orphan(folder):
    """Its row comes a moment later; once it is old, or no tick is at work, it is one: for a day a note, which no repair moves."""
    orphan = folder / "recordings" / "cells_9_1-abc.parquet"
    orphan.write_bytes(b"x")
    written = orphan.stat().st_mtime
    with Lab.open(folder) as lab, lab.store.campaign_lock("cells", "tick"):
        assert kinds(folder, stamp=lambda: written + 60.0) == []
        assert kinds(folder, stamp=lambda: written + 7200.0) == ["orphan"]
    assert kinds(folder, stamp=lambda: written + 60.0) == ["orphan"]
    checked = check_lab(folder, repair=True, stamp=lambda: written + 86000.0)
    assert ([finding.mend for finding in checked.findings], checked.repaired, checked.clean) == (["itself"], (), True)
    assert check_lab(folder, repair=True, stamp=lambda: written + 86500.0).repaired
    assert not orphan.exists()


def test_a_recording_that_a_trial_names_by_now_is_not_moved_away(folder):
    """A tick stores the result of a test while the other recordings are still being read: its file stays where it is."""
    with Lab.open(folder) as lab:
        with lab.store.database.write() as session:
            columns = "id, trial_id, attempt, uri, sha256, rows, schema_version, created_at"
            session.connection().execute(text(f"CREATE TABLE kept AS SELECT {columns} FROM recordings WHERE trial_id = 2"))
            session.connection().execute(text("DELETE FROM recordings WHERE trial_id = 2"))
            named = folder / session.connection().execute(text("SELECT uri FROM kept")).scalar_one()
        make_old(named)
        assert kinds(folder) == ["orphan"]
        looks = []

        def stamp():
            if not looks:  # the rows have been read by now
                with lab.store.database.write() as session:
                    session.connection().execute(text(f"INSERT INTO recordings ({columns}) SELECT {columns} FROM kept"))
            looks.append(1)
            return time.time()

        checked = check_lab(folder, repair=True, stamp=stamp)
    assert looks
    assert (checked.repaired, checked.findings, named.is_file()) == ((), (), True)


def test_what_killed_writers_left_is_swept(folder):
    """Temporary files of a dead process, and of reports and devices after a day; those of living writers stay."""
    old = folder / "recordings" / f".writing-{dead()}-00ff00ff"
    alive = folder / "recordings" / f".writing-{this_process().to_text()}-00ff00ff"
    report = folder / "reports" / ".cells.html.123.tmp"
    device = next((folder / "cyclers").iterdir()) / ".end.json.123.00ff00ff"
    for path in (old, alive, report, device):
        path.write_bytes(b"x")
    assert kinds(folder) == ["temporary"]
    tomorrow = report.stat().st_mtime + ABANDONED_S + 1
    checked = check_lab(folder, stamp=lambda: tomorrow)
    assert ([finding.kind for finding in checked.findings], checked.clean) == (["temporary"] * 3, True)
    assert len(check_lab(folder, repair=True, stamp=lambda: tomorrow).repaired) == 3
    assert [path.exists() for path in (old, alive, report, device)] == [False, True, False, False]


def command(*words):
    """One command in a process of its own."""
    return subprocess.run([sys.executable, "-m", "flows", *words], capture_output=True, text=True, check=False)


def test_the_command_says_what_and_ends_with_4_where_a_person_is_needed(folder):
    """Text and JSON; a repair that mends everything ends with 0."""
    orphan = folder / "recordings" / "nobody.parquet"
    orphan.write_bytes(b"x")
    make_old(orphan)
    found = command("db", "check", "--lab", str(folder), "--json")
    assert found.returncode == 4
    said = json.loads(found.stdout.splitlines()[-1])
    assert (said["clean"], [finding["kind"] for finding in said["findings"]]) == (False, ["orphan"])
    mended = command("db", "check", "--lab", str(folder), "--repair")
    assert mended.returncode == 0
    assert "repaired: " in mended.stdout
    assert "nothing to mend" in mended.stdout
    nowhere = command("db", "check", "--lab", str(folder / "nowhere"))
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    assert "there is no lab in" in nowhere.stderr


def test_upgrade_says_from_where_to_where(tmp_path):
    """An older lab is brought up to date once; then there is nothing to do; where no lab is, none is made."""
    make_past_lab(str(tmp_path / "voltloop.db"), "0001")
    before = command("db", "check", "--lab", str(tmp_path))
    assert (before.returncode, "voltloop db upgrade" in before.stdout) == (4, True)
    first, second = (command("db", "upgrade", "--lab", str(tmp_path)) for _ in range(2))
    assert first.stdout.startswith("schema 0001 -> ")
    assert "was up to date" in second.stdout
    assert command("db", "upgrade", "--lab", str(tmp_path / "nowhere")).returncode == 2
    assert not (tmp_path / "nowhere").exists()
