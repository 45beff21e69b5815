"""A lab is copied while it works; the copy is sound, and going on with it starts nothing twice and loses nothing."""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.simulated import SimulatedCycler
from flows import Lab, advance_campaign, backup, resume_campaign, start_campaign
from flows.backup import back_up
from flows.db_check import check_lab
from flows.dispatch import FROM_A_COPY
from orchestrator.domain import Budget
from orchestrator.domain.errors import StoreError
from orchestrator.store import TrialStore, snapshot
from tests.adapters.simulated.conftest import BenchCell
from tests.flows.conftest import replay, small_spec
from tests.flows.test_faults import cells_spec

SPEC = """\
name = "busy"
[space]
table = "TABLE"
features = ["x"]
[[objectives]]
metric = "result"
goal = "maximize"
threshold = -5000.0
[budget]
trials = 30
[[cyclers]]
name = "replay"
kind = "replay"
table = "TABLE"
target = "result"
noise_sd = 1.0
duration_h = "hours"
channels = 4
"""
COPIES = 12


@pytest.fixture
def copy(tmp_path):
    return tmp_path / "elsewhere" / "monday"


def manifest(folder):
    """What a backup says of itself."""
    return json.loads((folder / "backup.json").read_text())


def expect_whole(folder):
    """Every file of the manifest is there with its hash, and no other file."""
    said = {file["path"]: (file["bytes"], file["sha256"]) for file in manifest(folder)["files"]}
    there = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    del there["backup.json"]
    assert {name: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in there.items()} == said


def test_between_two_ticks(folder, copy):
    """The copy has what the lab had; both go on to the same end, and neither starts a test twice."""
    cycler = replay()
    with Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, small_spec())
        for _ in range(3):
            advance_campaign(lab, "small")
        made = back_up(folder, copy)
        then = lab.store.trials("small")
        assert resume_campaign(lab, "small").status == "completed"
    expect_whole(copy)
    assert made.files == len(manifest(copy)["files"])
    assert made.damaged == ()
    assert check_lab(copy).findings == ()
    twin = replay()
    with Lab.open(copy, cyclers=[twin]) as lab:
        assert lab.store.trials("small") == then
        assert resume_campaign(lab, "small").status == "completed"
        assert {str(trial.status) for trial in lab.store.trials("small")} == {"completed"}
    assert set(twin.physical_starts().values()) == {1}
    assert len(twin.physical_starts()) == len(cycler.physical_starts()) == 8


def test_recordings_are_copied_or_linked(tmp_path, copy):
    """By default the copy shares nothing with the lab; with `link` recordings, and nothing else, take no room."""
    folder = tmp_path / "lab"
    with Lab.open(folder, cyclers=[SimulatedCycler(1, cell=BenchCell())]) as lab:
        start_campaign(lab, cells_spec(budget=Budget(trials=1)))
        assert resume_campaign(lab, "cells").status == "completed"
        key = lab.store.trial("cells", 1).key
    (folder / "recordings" / "orphan.parquet").write_bytes(b"x")
    (folder / "prefect").mkdir()
    (folder / "prefect" / "prefect.db").write_bytes(b"x")
    (folder / "reports" / ".cells.html.12.tmp").write_bytes(b"x")
    (folder / "notes.txt").write_text("cell 7 has a dent")
    back_up(folder, copy)
    back_up(folder, copy.with_name("linked"), link=True)
    for made, links in ((copy, 1), (copy.with_name("linked"), 2)):
        expect_whole(made)
        (recording,) = (made / "recordings").iterdir()
        assert recording.stat().st_nlink == links
        assert {path.name for path in made.iterdir()} >= {"voltloop.db", "cyclers", "reports", "notes.txt", "recordings"}
        assert not (made / "prefect").exists()
        assert [path.name for path in (made / "reports").iterdir()] == ["cells.html"]
        assert (made / "voltloop.db").stat().st_nlink == 1
        with Lab.open(made, create=False) as lab:
            assert lab.recording("cells", 1).key == key
        assert check_lab(made).findings == ()


def test_beside_a_writer(tmp_path):
    """Another process ticks without a pause: every copy made meanwhile is sound, and the last is carried to its end."""
    folder, table, spec = tmp_path / "lab", tmp_path / "rows.csv", tmp_path / "busy.toml"
    table.write_text("x,result,hours\n" + "".join(f"{i},{10 - (i - 17) ** 2},{5 + (i * 7) % 5}\n" for i in range(70)))
    spec.write_text(SPEC.replace("TABLE", str(table)))
    run = [sys.executable, "-m", "flows", "run", str(spec), "--lab", str(folder)]
    with (tmp_path / "log").open("wb") as log:
        writer = subprocess.Popen(run, stdout=log, stderr=log)
    try:
        copies, seen = [], 0
        while len(copies) < COPIES:
            assert writer.poll() is None, (tmp_path / "log").read_text()
            if (lines := len(journal(folder))) > seen:  # it has gone on since the last copy
                seen = lines
                copies.append(back_up(folder, tmp_path / f"copy-{len(copies)}").folder)
    finally:
        writer.kill()
        writer.wait()
    assert check_lab(folder).clean
    for made in copies:
        expect_whole(made)
        assert check_lab(made).findings == ()
    with Lab.open(copies[-1]) as lab:
        assert resume_campaign(lab, "busy").status == "completed"
        assert [str(trial.status) for trial in lab.store.trials("busy")] == ["completed"] * 30
        kept = {trial.key for trial in lab.store.trials("busy")}
        withdrawn = lab.store.events("busy", kinds=["dispatch_withdrawn"])
        others = {event.data["key"] for event in withdrawn if event.data["reason"].endswith(FROM_A_COPY)}
    starts = [line["request"]["key"] for line in journal(copies[-1]) if line["event"] == "start"]
    assert len(starts) == len(set(starts))
    # What the lab started after its database was copied is adopted, or its key is used up: it was another candidate's.
    assert kept <= set(starts) <= kept | others


def journal(folder):
    """What the device remembers."""
    path = folder / "cyclers" / "replay" / "runs.jsonl"
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]


def test_nobody_works_on_a_copy(folder, copy):
    """A tick holds the lab's lock while it is copied: in the copy nobody does, and its fence is kept."""
    with Lab.open(folder, cyclers=[replay()]) as lab:
        start_campaign(lab, small_spec())
        with lab.store.campaign_lock("small", "tick") as fence:
            back_up(folder, copy)
    with TrialStore.open(copy / "voltloop.db") as store, store.campaign_lock("small", "another") as after:
        assert after == fence + 1


def test_a_recording_that_the_lab_has_lost_keeps_nothing_else_back(tmp_path, copy):
    """It is named, the exit code asks for a person, and everything else is there."""
    folder = tmp_path / "lab"
    with Lab.open(folder, cyclers=[SimulatedCycler(2, cell=BenchCell())]) as lab:
        start_campaign(lab, cells_spec(budget=Budget(trials=2)))
        resume_campaign(lab, "cells")
    first, second = sorted((folder / "recordings").iterdir())
    first.unlink()
    second.write_bytes(b"x")
    done = command("db", "backup", str(copy), "--lab", str(folder))
    assert done.returncode == 4
    assert f"'{first}' is missing" in done.stderr
    assert f"'{second}' is not what was stored" in done.stderr
    assert len(manifest(copy)["damaged"]) == 2
    assert sorted(finding.kind for finding in check_lab(copy).findings) == ["recording_changed", "recording_missing"]


def command(*words, **environment):
    """One command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "flows", *words], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_places_that_will_not_do_are_refused(folder, copy):
    """A folder in use, a file, the lab itself, no lab: one message each, and nothing is left."""
    with Lab.open(folder, cyclers=[replay()]) as lab:
        start_campaign(lab, small_spec())
    copy.mkdir(parents=True)
    back_up(folder, copy)  # an empty folder will do
    before = sorted(copy.rglob("*"))
    for place, said in ((copy, "not empty"), (copy / "backup.json", "not empty"), (folder / "backups", "inside the lab")):
        with pytest.raises(StoreError, match=said):
            back_up(folder, place)
    with pytest.raises(StoreError, match="there is no lab"):
        back_up(folder.with_name("nowhere"), copy.with_name("other"))
    with pytest.raises(StoreError, match="cannot be made"):
        back_up(folder, copy / "backup.json" / "below")
    assert sorted(copy.rglob("*")) == before
    assert list(copy.parent.iterdir()) == [copy]


def test_a_backup_that_breaks_off_leaves_nothing(folder, copy, monkeypatch):
    """A device's files held by a stalled process: said, after a while, and no half copy is there."""
    monkeypatch.setattr(backup, "LOCK_PATIENCE_S", 0.0)
    with Lab.open(folder, cyclers=[replay()]) as lab:
        start_campaign(lab, small_spec())
        advance_campaign(lab, "small")
    with (folder / "cyclers" / "replay" / "lock").open("a") as stalled:
        fcntl.flock(stalled, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="held for 0 s by a process"):
            back_up(folder, copy)
    assert list(copy.parent.iterdir()) == []


def test_a_damaged_database_is_not_passed_on(folder, copy):
    """A backup that hides the damage would replace a good one."""
    with Lab.open(folder, cyclers=[replay()]) as lab:
        start_campaign(lab, small_spec())
    path = folder / "voltloop.db"
    content = bytearray(path.read_bytes())
    content[4096 * 2 : 4096 * 12] = b"\xa5" * 4096 * 10
    path.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="damaged"):
        back_up(folder, copy)
    assert not copy.exists()


def test_postgres_is_dumped_and_restored(folder, copy, cluster):
    """A custom-format dump on the snapshot whose recordings were copied; `pg_restore` and the folder make the lab again."""
    url = cluster.new_database()
    with Lab.open(folder, cyclers=[replay()], database_url=url) as lab:
        start_campaign(lab, small_spec())
        for _ in range(3):
            advance_campaign(lab, "small")
        back_up(folder, copy, database=url)
        then = lab.store.trials("small")
        resume_campaign(lab, "small")
    expect_whole(copy)
    restored = cluster.new_database()
    restore = str(Path(snapshot.pg_dump()).with_name("pg_restore"))
    subprocess.run([restore, "--no-owner", f"--dbname={restored}", str(copy / "voltloop.dump")], check=True)
    assert check_lab(copy, database=restored).findings == ()
    twin = replay()
    with Lab.open(copy, cyclers=[twin], database_url=restored) as lab:
        assert lab.store.trials("small") == then
        assert resume_campaign(lab, "small").status == "completed"
        with pytest.raises(StoreError, match="append-only"), lab.store.database.write() as session:
            session.connection().exec_driver_sql("DELETE FROM events")
    assert set(twin.physical_starts().values()) == {1}


def test_postgres_without_its_programs_says_what_is_missing(folder, copy, cluster, monkeypatch, tmp_path):
    """Neither on the PATH nor with a server: the package is named, nothing is left."""
    url = cluster.new_database()
    Lab.open(folder, database_url=url).close()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(snapshot, "SERVERS", tmp_path)
    with pytest.raises(StoreError, match=r"`pg_dump` is neither .* postgresql-client"):
        back_up(folder, copy, database=url)
    assert list(copy.parent.iterdir()) == []
    monkeypatch.setenv("PATH", os.defpath)
    broken = tmp_path / "pg_dump"
    broken.write_text("#!/bin/sh\necho 'pg_dump: error: server version mismatch' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    with pytest.raises(StoreError, match="server version mismatch"):
        back_up(folder, copy, database=url)


def test_recordings_elsewhere(tmp_path, copy, monkeypatch):
    """With `VOLTLOOP_RECORDINGS_URI` recordings lie in an object store: read, checked, and named by a backup, not copied."""
    monkeypatch.setenv("VOLTLOOP_RECORDINGS_URI", f"memory://{tmp_path.name}/lab")
    folder = tmp_path / "lab"
    with Lab.open(folder, cyclers=[SimulatedCycler(1, cell=BenchCell())]) as lab:
        start_campaign(lab, cells_spec(budget=Budget(trials=1)))
        assert resume_campaign(lab, "cells").status == "completed"
        assert len(lab.recording("cells", 1)) > 0
    assert not list((folder / "recordings").glob("*.parquet"))
    assert check_lab(folder).clean
    made = back_up(folder, copy)
    assert made.damaged == ()
    assert list(made.elsewhere) == manifest(copy)["elsewhere"] != []
    with Lab.open(copy, create=False) as lab:
        assert len(lab.recording("cells", 1)) > 0
