"""Hostile surroundings: a full disk, a read-only folder, a lost database, a clock that jumps. Nothing lost, a clear message."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import event

from adapters.replay import ReplayCycler
from adapters.simulated import SimulatedCycler
from flows import Lab, advance_campaign, resume_campaign, start_campaign
from flows.control import request_stop
from flows.result import campaign_result, channel_hours
from orchestrator.domain import Budget, CyclerSpec
from orchestrator.domain.errors import StoreError
from tests.adapters.simulated.conftest import BenchCell
from tests.flows.conftest import ROWS, replay, small_spec
from tests.flows.test_faults import cells_spec
from tests.store.conftest import SteppedTime

FULL = "the disk is full|No space left on device"


@contextmanager
def mounted(*arguments, at):
    """Something mounted for a while; skips where one may not mount."""
    at.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(at)], capture_output=True, check=False) if shutil.which("mount") else None
    if done is None or done.returncode:
        pytest.skip("file systems can be mounted by root alone")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


@contextmanager
def small_disk(at, kB):
    """A disk of its own for a folder, of so many kilobytes."""
    with mounted("-t", "tmpfs", "-o", f"size={kB}k", "none", at=at):
        yield


@contextmanager
def no_room(disk):
    """The disk is full to its last byte."""
    ballast = os.open(disk / "ballast", os.O_CREAT | os.O_WRONLY)
    try:
        while os.write(ballast, bytes(4096)):
            pass
    except OSError:
        pass
    os.close(ballast)
    yield
    (disk / "ballast").unlink()


def expect_whole(result, cycler, trials):
    """The campaign ended, each trial was started once and has its result."""
    assert result.status == "completed"
    assert [t.status for t in result.trials] == ["completed"] * trials
    starts = cycler.physical_starts()
    assert (len(starts), set(starts.values())) == (trials, {1})
    assert len(result.hypervolume) == trials


def tick_until_full(lab):
    """Fill the database up between ticks."""
    for _ in range(50):
        advance_campaign(lab, "small")
        lab.store.log("noise", lab_time_h=0.0, data={"much": "x" * 5000})


@pytest.mark.parametrize("pages", range(0, 12, 3))
def test_a_database_that_cannot_grow(folder, pages):
    """SQLite says that it is full, wherever in a tick that is: the tick ends with one message, and goes on when there is room."""

    def limit(connection, _record):
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {used + pages}")

    cycler, spec = replay(), small_spec(budget=Budget(trials=4))
    with Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, spec)
        advance_campaign(lab, "small")
        engine = lab.store.database.engine
        event.listen(engine, "connect", limit)
        engine.dispose()
        with pytest.raises(StoreError, match=r"cannot grow: the disk is full\. Make room and run the same command again"):
            tick_until_full(lab)
        event.remove(engine, "connect", limit)
        engine.dispose()
        expect_whole(resume_campaign(lab, "small"), cycler, 4)


def test_a_disk_full_to_the_last_byte(tmp_path):
    """The whole lab on a real disk without room: one message, and afterwards nothing is missing."""
    disk = tmp_path / "disk"
    with small_disk(disk, 16_000):
        with Lab.open(disk / "lab", cyclers=[replay()]) as lab:
            start_campaign(lab, small_spec(budget=Budget(trials=4)))
            advance_campaign(lab, "small")
            with no_room(disk), pytest.raises(StoreError, match=FULL):
                resume_campaign(lab, "small")
        cycler = replay()
        with Lab.open(disk / "lab", cyclers=[cycler]) as lab:
            expect_whole(resume_campaign(lab, "small"), cycler, 4)


def test_a_disk_without_room_for_a_recording(tmp_path):
    """The result waits on the cycler: no half recording, the trial still runs, and is taken in when there is room."""
    folder = tmp_path / "lab"
    spec = cells_spec(budget=Budget(trials=2))
    cycler = SimulatedCycler(2, cell=BenchCell())
    with small_disk(folder / "recordings", 4_000), Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, spec)
        advance_campaign(lab, spec.name)
        with no_room(folder / "recordings"):
            with pytest.raises(StoreError, match=r"No space left on device\. Nothing was half-written"):
                resume_campaign(lab, spec.name)
            assert [path.name for path in (folder / "recordings").iterdir()] == ["ballast"]
            assert "running" in {str(trial.status) for trial in lab.store.trials(spec.name)}
        result = resume_campaign(lab, spec.name)
        assert result.status == "completed"
        assert set(cycler.physical_starts().values()) == {1}
        assert all(len(lab.recording(spec.name, trial.number)) for trial in result.trials)


def test_a_device_without_room_for_its_journal(folder):
    """The start is neither refused nor lost: one message names the file, the next tick asks the device and goes on."""
    cycler = replay()
    with small_disk(folder / "cyclers", 64), Lab.open(folder, cyclers=[cycler]) as lab:
        (folder / "cyclers" / "replay").mkdir()
        start_campaign(lab, small_spec(budget=Budget(trials=4)))
        with no_room(folder / "cyclers"), pytest.raises(StoreError, match=FULL):
            advance_campaign(lab, "small")
        assert cycler.physical_starts() == {}
        expect_whole(resume_campaign(lab, "small"), cycler, 4)


def test_a_read_only_lab(folder):
    """Every command says so in one line with exit code 2; mounted writable again the campaign goes on."""
    named = CyclerSpec("replay", "replay", {"table": list(ROWS), "target": "result", "duration_h": "hours", "channels": 2})
    with Lab.open(folder) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=4), cyclers=(named,)))
        advance_campaign(lab, "small")
    with mounted("--bind", str(folder), at=folder):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        for command in ("tick", "status"):
            done = voltloop(command, "small", "--lab", str(folder))
            assert done.returncode == 2
            assert done.stderr.count("\n") == 1
            assert f"error: the lab's database '{folder}/voltloop.db' cannot be opened. Check" in done.stderr
    with Lab.open(folder) as lab:
        result = resume_campaign(lab, "small")
        expect_whole(result, lab.cyclers[0], 4)


def voltloop(*arguments):
    """The command line, in a process of its own."""
    return subprocess.run([sys.executable, "-m", "flows", *arguments], capture_output=True, text=True, check=False, timeout=120)


def test_the_command_line_tells_of_a_full_disk(tmp_path):
    """Exit code 2 and one line, no traceback."""
    disk = tmp_path / "disk"
    named = CyclerSpec("replay", "replay", {"table": list(ROWS), "target": "result", "duration_h": "hours", "channels": 2})
    with small_disk(disk, 16_000):
        with Lab.open(disk / "lab") as lab:
            start_campaign(lab, small_spec(cyclers=(named,)))
        with no_room(disk):
            done = voltloop("resume", "small", "--lab", str(disk / "lab"))
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "full" in done.stderr or "No space left" in done.stderr


class Cutting(ReplayCycler):
    """While it starts the first test, before or after the physical start, something happens to the database."""

    def __init__(self, cut, when):
        super().__init__(ROWS, "result", noise_sd=1.0, duration_h="hours", channels=2)
        self.cut, self.when = cut, when

    def submit(self, request):
        """Start, and cut once."""
        cut, self.cut = self.cut, None
        if cut and self.when == "before":
            cut()
        ref = super().submit(request)
        if cut and self.when == "after":
            cut()
        return ref


OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def end_connections(url):
    """End every connection to a database but our own."""
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(OTHERS)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_database_server_lost_in_mid_tick(cluster, folder, when):
    """Between intent and acknowledgement: one clear error; when it is back the next tick adopts, nothing is started twice."""
    cycler = Cutting(cluster.cut_power, when)
    with Lab.open(folder, cyclers=[cycler], database_url=cluster.empty_lab()) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=4)))
        try:
            with pytest.raises(StoreError, match=r"cannot be reached\. Check that the server runs"):
                advance_campaign(lab, "small")
        finally:
            cluster.power_up()
        assert cycler.physical_starts() == {"small/1/1": 1}
        assert str(lab.store.trials("small")[0].status) == "dispatching"
        expect_whole(resume_campaign(lab, "small"), cycler, 4)


@pytest.mark.parametrize("when", ["before", "after"])
def test_database_connections_lost_between_two_transactions(cluster, folder, when):
    """A server that is there again at once is connected to again, and the tick goes on."""
    url = cluster.empty_lab()
    cycler = Cutting(lambda: end_connections(url), when)
    with Lab.open(folder, cyclers=[cycler], database_url=url) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=4)))
        advance_campaign(lab, "small")
        assert {str(t.status) for t in lab.store.trials("small")} == {"running"}
        expect_whole(resume_campaign(lab, "small"), cycler, 4)


@pytest.mark.parametrize("first", [5, 11, 23, 31, 43])
def test_database_connections_lost_within_transactions(cluster, folder, first):
    """Cut at one statement after another: every tick ends with that one clear error or well, and nothing is lost or doubled."""
    url, cycler, said, cuts = cluster.empty_lab(), replay(), [], iter(range(first, 400, 37))
    with Lab.open(folder, cyclers=[cycler], database_url=url) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=4)))
        count, at = 0, next(cuts)

        def cut(*_):
            nonlocal count, at
            count += 1
            if count == at:
                at = next(cuts, -1)
                end_connections(url)

        event.listen(lab.store.database.engine, "before_cursor_execute", cut)
        while at > 0:
            try:
                if advance_campaign(lab, "small").status != "running":
                    break
            except StoreError as error:
                said.append(str(error))
        event.remove(lab.store.database.engine, "before_cursor_execute", cut)
        expect_whole(resume_campaign(lab, "small"), cycler, 4)
    assert said
    assert all("cannot be reached. Check that the server runs" in each for each in said)


class HandClock:
    """Lab time set by hand, as the system's clock may be; whoever waits lets it pass."""

    def __init__(self):
        self.at_h = 1000.0

    def now_h(self):
        """What time it is."""
        return self.at_h

    def wait_until(self, lab_time_h):
        """Let time pass."""
        self.at_h = max(self.at_h, lab_time_h)


@pytest.mark.parametrize("jump_h", [-1.0, 1.0, -24.0])
def test_the_clock_jumps_in_mid_campaign(folder, jump_h):
    """Set back or forward, system and lab alike: the campaign ends, nothing starts twice, no duration is negative."""
    clock, system, cycler = HandClock(), SteppedTime(), replay()
    with Lab.open(folder, cyclers=[cycler], clock=clock, now=system) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=6)))
        request = iter(range(10**6))
        while (report := advance_campaign(lab, "small")).status == "running":
            assert channel_hours(report.trials, lab.now_h()) >= 0
            assert 0 <= campaign_result(lab, "small").channel_utilisation <= 1
            tick = next(request)
            assert tick < 200
            if tick == 2:
                request_stop(lab, "small", 1, "the cell leaks")
            step_h = jump_h if tick in (2, 6) else 1.0
            clock.at_h += step_h
            system.now += timedelta(hours=step_h)
        trials = lab.store.trials("small")
        assert all(t.ended_h >= t.started_h for t in trials if t.started_h is not None)
        assert set(cycler.physical_starts().values()) == {1}
        assert len(cycler.physical_starts()) == len([t for t in trials if t.key]) == 6
        campaign = lab.store.campaign("small")
        assert campaign.ended_h >= campaign.started_h


def test_a_lock_outlives_no_clock_that_was_set_back(folder):
    """Another host's tick died with the clock an hour ahead: its lock holds for the length of a lease, not for an hour more."""
    system = SteppedTime()
    with Lab.open(folder, cyclers=[replay()], now=system) as lab:
        start_campaign(lab, small_spec())
        held = lab.store.campaign_lock("small", "a tick that hangs")
        assert held.__enter__() is not None
        system.now -= timedelta(hours=1)
        assert advance_campaign(lab, "small").skipped
        system.pass_by(601.0)
        assert not advance_campaign(lab, "small").skipped
        held.__exit__(None, None, None)
