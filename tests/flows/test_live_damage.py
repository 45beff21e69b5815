"""Durable rows outlive damaged segments, columns that come and go, and answers that are none."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from flows import Lab, advance_campaign, start_campaign
from flows.collect import COLUMNS
from flows.control import settle_trial
from flows.db_check import check_lab
from flows.live import PAUSED, SET_ASIDE
from orchestrator.domain import Budget, RunState, TrialStatus
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.cycler import RunRef, RunStatus
from orchestrator.store import LiveRecordings
from tests.flows.conftest import small_spec
from tests.flows.test_live import KEY, Recorder, closed_rows, look


@dataclass
class Odd(Recorder):
    """A recorder whose first test answers with what `spoil` makes of its rows; it does not know the runs that it has lost."""

    spoil: str = ""
    lost: bool = False

    def submit(self, request):
        """Start, on whichever channel."""
        return self.known.setdefault(request.key, RunRef("recorder", request.key, request.channel, request.key))

    def status(self, ref):
        """As told."""
        return RunStatus(RunState.UNKNOWN) if self.lost and ref.key == KEY else super().status(ref)

    def read(self, ref, cursor=None):
        """As told."""
        columns, following = super().read(ref, cursor)
        if columns and self.spoil and ref.key == KEY:
            if self.spoil == "two dimensions":
                columns["voltage_volt"] = np.stack([columns["voltage_volt"]] * 2, axis=1)
            elif self.spoil == "uneven":
                columns["voltage_volt"] = columns["voltage_volt"][:-1]
            elif self.spoil == "text":
                columns["voltage_volt"] = columns["voltage_volt"].astype(str)
            elif int(cursor or 0) >= 80:
                columns.pop(self.spoil)
        return columns, following


@pytest.fixture
def cycler():
    return Odd()


@pytest.fixture
def lab(folder, cycler, monkeypatch):
    """A lab in real time whose first test runs."""
    monkeypatch.setattr("flows.live.READ_EVERY_S", 0.0)
    with Lab.open(folder, cyclers=[cycler], clock=SystemClock()) as opened:
        start_campaign(opened, small_spec(budget=Budget(trials=1)))
        advance_campaign(opened, "small")
        yield opened


def keep(lab, cycler, segment_bytes=32 << 20):
    """Five answers durable, each a batch."""
    for rows in (40, 80, 120, 160, 200):
        cycler.rows = rows
        lab.archive.live.open(KEY, segment_bytes=segment_bytes)
        look(lab)


def flip(path, at):
    """Turn bits of one byte, at this part of the file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0xFF
    path.write_bytes(content)


def segments(folder):
    return sorted((folder / "live").rglob("*.arrows"))


@pytest.mark.parametrize("at", [0.05, 0.5, 0.9])
def test_a_damaged_segment_costs_its_own_rows_alone(lab, cycler, folder, at):
    """All other rows are in the closed recording, the trial and the log say which are not, and the segments are put aside."""
    keep(lab, cycler, segment_bytes=1)
    flip(segments(folder)[3], at)
    cycler.rows, cycler.ended, cycler.forgotten = 230, True, True
    ended = look(lab)
    left = closed_rows(lab)
    if len(left) < 230:
        assert left == [*range(120), *range(160, 230)]
        assert "rows 121 to 160" in ended.stopped_because
        (event,) = lab.store.events("small", kinds=[SET_ASIDE])
        assert (event.data["durable_rows"], event.data["stored_rows"]) == (230 - 30, 190)
        assert len(segments(folder / "live" / "damaged")) == 0
        assert len(list((folder / "live" / "damaged").rglob("*.arrows"))) == 5
        assert [finding.kind for finding in check_lab(folder).findings] == ["live_orphan"]


def test_what_is_damaged_is_read_again_from_the_cycler(lab, cycler, folder):
    """A cycler that still has the rows behind the damage gives them, and nothing is missing."""
    keep(lab, cycler, segment_bytes=1)
    flip(segments(folder)[3], 0.9)
    cycler.ended, cycler.reads = True, []
    assert look(lab).stopped_because is None
    assert cycler.reads[0] == "120"
    assert closed_rows(lab) == list(range(200))
    assert list((folder / "live").iterdir()) == []


def test_a_flipped_bit_in_the_last_segment_cuts_nothing_off(lab, cycler, folder):
    """Rows behind the damage are read, appending goes on in another segment, and the damaged one is left as it is."""
    keep(lab, cycler)
    (segment,) = segments(folder)
    flip(segment, 0.5)
    spoilt = segment.read_bytes()
    with Lab.open(folder, cyclers=[cycler], clock=SystemClock()) as anew:
        cycler.rows, cycler.reads = 230, []
        look(anew)
        assert cycler.reads[0] == "200"
        assert segment.read_bytes() == spoilt
        assert len(segments(folder)) == 2
        cycler.ended, cycler.forgotten = True, True
        ended = look(anew)
        left = closed_rows(anew)
    assert len(left) == 190
    assert left[-30:] == list(range(200, 230))
    assert "has these rows no more" in ended.stopped_because


@pytest.mark.parametrize("column", ["step_id", "cycle_count"])
def test_a_column_that_appears_costs_no_row(lab, cycler, column):
    """Rows of before it came stay; it is filled there, and the trial and the log say so."""
    everything = (*(name for name in cycler.columns if name != column), column)
    cycler.columns, cycler.rows = everything[:-1], 200
    look(lab)
    cycler.columns, cycler.rows, cycler.forgotten = everything, 230, True
    look(lab)
    cycler.ended = True
    ended = look(lab)
    assert closed_rows(lab) == list(range(230))
    assert f"200 of 230 rows came without the column '{column}'" in ended.stopped_because
    assert len(lab.store.events("small", kinds=[COLUMNS])) == 1
    found = lab.archive.read(lab.store.recording_of("small", 1))[column]
    if column == "cycle_count":
        assert found.dtype.kind == "i"
        assert set(found[:200]) == {21}
    else:
        assert np.isnan(found[:200]).all()


@pytest.mark.parametrize("column", ["voltage_volt", "cycle_count"])
def test_a_column_that_disappears_costs_no_row(lab, cycler, column):
    """The rest of its rows are NaN, cycles go on under the last number."""
    cycler.spoil, cycler.rows = column, 80
    look(lab)
    cycler.rows = 160
    look(lab)
    cycler.ended = True
    ended = look(lab)
    assert ended.status is TrialStatus.COMPLETED
    assert closed_rows(lab) == list(range(160))
    assert f"80 of 160 rows came without the column '{column}'" in ended.stopped_because
    found = lab.archive.read(lab.store.recording_of("small", 1))[column]
    assert set(found[80:]) == {8} if column == "cycle_count" else np.isnan(found[80:]).all()


@pytest.mark.parametrize("spoil", ["two dimensions", "uneven", "text"])
def test_an_answer_that_is_none_holds_up_its_own_trial_alone(folder, cycler, monkeypatch, spoil):
    """While the test runs the log says so once; then its trial is parked, the others go on; a mended driver ends it."""
    monkeypatch.setattr("flows.live.READ_EVERY_S", 0.0)
    cycler.capabilities = replace(Recorder.capabilities, channels=("1", "2"))
    cycler.spoil, cycler.rows = spoil, 100
    with Lab.open(folder, cyclers=[cycler], clock=SystemClock()) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=2)))
        for _ in range(3):
            look(lab)
        assert len(lab.store.events("small", kinds=[PAUSED])) == 1
        cycler.ended = True
        for _ in range(3):
            look(lab)
        first, second = lab.store.trials("small")
        assert (first.status, second.status) == (TrialStatus.UNKNOWN, TrialStatus.COMPLETED)
        assert all(word in first.stopped_because for word in ("'recorder'", "'voltage_volt'", "Mend the driver"))
        assert len(lab.store.events("small", kinds=["trial_unknown"])) == 1
        cycler.spoil = ""
        look(lab)
        assert look(lab).status is TrialStatus.COMPLETED
        assert closed_rows(lab) == list(range(100))


def test_rows_of_an_earlier_attempt_are_named(lab, cycler, folder):
    """A check of the lab says where they are, whose, and how many; those of the running test are nothing to speak of."""
    cycler.rows = 200
    look(lab)
    assert check_lab(folder).findings == ()
    cycler.lost = True
    look(lab)
    assert check_lab(folder).findings == ()
    settle_trial(lab, "small", 1, started=False)
    for _ in range(3):
        look(lab)
    (finding,) = check_lab(folder).findings
    assert finding.kind == "live_orphan"
    assert all(word in finding.problem for word in ("200 rows", "attempt 1", "trial 1 of 'small'"))
    assert LiveRecordings(folder / "live").find(KEY).rows == 200
