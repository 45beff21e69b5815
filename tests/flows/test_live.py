"""Rows of running tests: safe on the lab's disk at every look, closed when the test ends, and nothing left behind."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from flows import Lab, advance_campaign, start_campaign
from flows.backup import back_up
from flows.live import PAUSED
from orchestrator.domain import Budget, Estimate, RunState, TrialStatus
from orchestrator.domain.clock import SystemClock, VirtualClock
from orchestrator.domain.cycler import Capabilities, RunRef, RunStatus
from orchestrator.domain.errors import CyclerUnreachableError
from orchestrator.store import LiveRecordings
from tests.flows.conftest import small_spec

KEY = "small/1/1"
ANSWER = 40


@dataclass
class Recorder:
    """A cycler of one channel in real time, whose test records as many rows as it is told to and ends when it is told to."""

    rows: int = 0
    ended: bool = False
    forgotten: bool = False
    silent: bool = False
    columns: tuple[str, ...] = ("test_time_second", "voltage_volt", "current_ampere", "cycle_count")
    known: dict[str, RunRef] = field(default_factory=dict)
    reads: list[str | None] = field(default_factory=list)
    capabilities = Capabilities("recorder", ("1",), metrics=frozenset({"result"}), limits=frozenset(), synthetic=True)

    def submit(self, request):
        """Start."""
        return self.known.setdefault(request.key, RunRef("recorder", request.key, "1", request.key))

    def find(self, key):
        """What was started."""
        return self.known.get(key)

    def status(self, _ref):
        """As told."""
        if not self.ended:
            return RunStatus(RunState.RUNNING)
        return RunStatus(RunState.FINISHED, results={"result": Estimate(1.0, sem=0.1)})

    def read(self, _ref, cursor=None):
        """At most `ANSWER` rows behind the cursor; a cycler that has forgotten them gives none."""
        self.reads.append(cursor)
        if self.silent:
            raise CyclerUnreachableError("no line")
        first = int(cursor or 0)
        last = min(first + ANSWER, self.rows)
        if first >= last or (self.forgotten and first < self.rows - ANSWER):
            return {}, cursor
        number = np.arange(first, last)
        made = {"test_time_second": number * 0.1, "voltage_volt": 3.0 + 0.001 * number, "current_ampere": np.ones(len(number))}
        return {name: made.get(name, number // 10 + 1) for name in self.columns}, str(last)

    def stop(self, _ref, _reason):
        """Ends."""
        self.ended = True

    def emergency_stop(self, channel=None):
        """Ends."""
        self.ended = True


@pytest.fixture
def cycler():
    return Recorder()


@pytest.fixture
def lab(folder, cycler, monkeypatch):
    """A lab in real time whose first test runs."""
    monkeypatch.setattr("flows.live.READ_EVERY_S", 0.0)
    with Lab.open(folder, cyclers=[cycler], clock=SystemClock()) as opened:
        start_campaign(opened, small_spec(budget=Budget(trials=1)))
        advance_campaign(opened, "small")
        assert opened.store.trial("small", 1).status is TrialStatus.RUNNING
        yield opened


def look(lab):
    advance_campaign(lab, "small")
    return lab.store.trial("small", 1)


def closed_rows(lab):
    file = lab.store.recording_of("small", 1)
    return [round(t * 10) for t in lab.archive.read(file)["test_time_second"]]


def test_rows_are_safe_while_the_test_runs(lab, cycler, folder):
    """Each look reads on from the cursor; what it read is durable, and is closed with the rest when the test ends."""
    for rows in (100, 100, 250):
        cycler.rows = rows
        look(lab)
        assert LiveRecordings(folder / "live").find(KEY).rows == rows
    cycler.rows, cycler.ended, cycler.reads = 300, True, []
    assert look(lab).status is TrialStatus.COMPLETED
    assert cycler.reads[0] == "250"
    assert closed_rows(lab) == list(range(300))
    assert list((folder / "live").iterdir()) == []
    assert len(lab.recording("small", 1)) == 300


def test_a_cycler_that_forgot_its_rows_costs_nothing_acknowledged(lab, cycler):
    """Rows that the cycler no longer has are in the lab."""
    cycler.rows = 200
    look(lab)
    cycler.rows, cycler.ended, cycler.forgotten = 230, True, True
    look(lab)
    assert closed_rows(lab) == list(range(230))


def test_another_process_goes_on(lab, cycler, folder):
    """A lab opened anew reads on behind the last durable row."""
    cycler.rows = 100
    look(lab)
    with Lab.open(folder, cyclers=[cycler], clock=SystemClock()) as anew:
        cycler.rows, cycler.reads = 150, []
        look(anew)
        assert cycler.reads[0] == "100"
    cycler.rows = 200
    look(lab)
    cycler.ended = True
    look(lab)
    assert closed_rows(lab) == list(range(200))


def test_a_silent_or_changed_cycler_holds_nothing_up(lab, cycler):
    """Rows that cannot be read or do not continue the series are left for later; the log says so once."""
    cycler.rows = 50
    look(lab)
    cycler.silent, cycler.rows = True, 100
    assert look(lab).status is TrialStatus.RUNNING
    cycler.silent, cycler.columns = False, cycler.columns[:3]
    look(lab)
    look(lab)
    (event,) = lab.store.events("small", kinds=[PAUSED])
    assert "'cycle_count' was there before" in event.data["error"]
    cycler.ended = True
    look(lab)
    assert closed_rows(lab) == list(range(100))


def test_damaged_segments_are_read_again_from_the_cycler(lab, cycler, folder):
    """If what was kept cannot be used, the cycler's own rows are the recording."""
    cycler.rows = 100
    look(lab)
    (segment,) = (folder / "live").rglob("*.arrows")
    segment.write_bytes(b"ARROW1" * 1000)
    cycler.ended = True
    look(lab)
    assert closed_rows(lab) == list(range(100))
    assert list((folder / "live").iterdir()) == []


def test_what_a_killed_tick_left_is_swept(lab, cycler, folder, monkeypatch):
    """Segments whose removal did not come about go when the next process looks; those of a test nobody knows stay."""
    cycler.rows = 100
    look(lab)
    live = LiveRecordings(folder / "live")
    live.open("restored/7/1").append({"voltage_volt": np.ones(3)}, "3")
    monkeypatch.setattr("flows.collect.let_rows_go", lambda *_: None)
    cycler.ended = True
    look(lab)
    assert live.find(KEY) is not None
    monkeypatch.undo()
    with Lab.open(folder, cyclers=[Recorder()], clock=SystemClock()) as anew:
        start_campaign(anew, small_spec(name="next", budget=Budget(trials=1)))
        advance_campaign(anew, "next")
        advance_campaign(anew, "next")
    assert live.keys() == ["restored/7/1"]


def test_a_backup_holds_the_rows_of_running_tests(lab, cycler, folder, tmp_path):
    """A lab restored from a copy goes on behind the rows that were durable then."""
    cycler.rows = 100
    look(lab)
    back_up(folder, tmp_path / "copy")
    assert LiveRecordings(tmp_path / "copy" / "live").find(KEY).rows == 100


def test_virtual_time_writes_no_segments(folder, cycler):
    """Where a test is over when it has been computed, nothing is read or flushed while it runs."""
    with Lab.open(folder, cyclers=[cycler], clock=VirtualClock()) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=1)))
        cycler.rows = 100
        look(lab)
        look(lab)
        assert cycler.reads == []
        cycler.ended = True
        look(lab)
        assert closed_rows(lab) == list(range(100))
    assert not (folder / "live").exists()
