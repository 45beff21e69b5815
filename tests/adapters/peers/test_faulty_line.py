"""A line with faults, around any cycler: what its caller sees, and what happened all the same."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from adapters.conformance import RULES, ConformanceError, check_cycler, short_request
from adapters.peers.faulty_line import FaultyLine
from adapters.replay import ReplayCycler
from orchestrator.domain import Candidate, Capabilities, Cycler, RunRef, RunState, RunStatus, VirtualClock
from orchestrator.domain.cycler import KnowsTruth, LabBound, VirtualTimeCycler
from orchestrator.domain.errors import ChannelBusyError, CyclerUnreachableError, SpecError

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "cyclers.md").read_text()
TABLE = [{"x": float(i), "result": 2.0 * i} for i in range(4)]
request_for = partial(short_request, candidate=Candidate({"x": 1.0}))


class RowsOnDemand:
    """A real-time device with one channel that has as many rows as it is told; nothing virtual about it."""

    capabilities = Capabilities(name="rows", channels=("1",))

    def __init__(self):
        self.rows, self.orders = 0, []

    def submit(self, request):
        """Started."""
        return RunRef("rows", request.key, request.channel, "1")

    def find(self, key):
        """Never heard of."""
        return

    def status(self, ref):
        """It runs for ever."""
        return RunStatus(RunState.RUNNING, started_h=0.0)

    def read(self, ref, cursor=None):
        """Rows are numbered."""
        new = np.arange(int(cursor or 0), self.rows, dtype=float)
        return ({"test_time_second": new}, str(self.rows)) if len(new) else ({}, cursor)

    def stop(self, ref, reason):
        """Note the order."""
        self.orders.append(reason)

    def emergency_stop(self, channel=None):
        """Note the order."""
        self.orders.append(channel)


@pytest.fixture
def clock():
    return VirtualClock(10.0)


@pytest.fixture
def replay(tmp_path, clock):
    return ReplayCycler(TABLE, "result", duration_h=5.0, channels=2, folder=tmp_path, clock=clock)


def line(cycler, *faults, clock=None):
    return FaultyLine(cycler, [{"at_h": 10.0, **fault} for fault in faults], clock)


def test_without_faults_a_line_is_not_there(replay):
    """The wrapped cycler keeps every rule that it kept by itself, and offers what it offered."""
    wrapped = line(replay)
    assert isinstance(wrapped, Cycler)
    assert isinstance(wrapped, LabBound)
    assert isinstance(wrapped, VirtualTimeCycler)
    assert isinstance(wrapped, KnowsTruth)
    assert wrapped.capabilities is replay.capabilities
    report = check_cycler(lambda: FaultyLine(ReplayCycler(TABLE, "result", channels=2), []), request_for)
    assert len(report.kept) + len(report.not_tried) == len(RULES)


def test_a_line_offers_nothing_that_its_cycler_has_not(clock):
    """A real device does not become virtual, or know the truth, by being wrapped."""
    wrapped = FaultyLine(RowsOnDemand(), [], clock)
    assert isinstance(wrapped, Cycler)
    assert not isinstance(wrapped, (LabBound, VirtualTimeCycler, KnowsTruth))
    assert not hasattr(wrapped, "physical_starts")


def test_an_unreachable_cycler_answers_nothing_until_it_does_again(replay, clock):
    """Every call raises, nothing is started, and virtual time knows when the line is back."""
    wrapped = line(replay, {"kind": "cycler_unreachable", "at_h": 11.0, "duration_h": 2.0})
    ref = wrapped.submit(request_for("a", "1"))
    assert wrapped.next_end_h() == 15.0
    clock.wait_until(11.0)
    calls = [
        lambda: wrapped.submit(request_for("b", "2")),
        lambda: wrapped.find("a"),
        lambda: wrapped.status(ref),
        lambda: wrapped.read(ref),
        lambda: wrapped.stop(ref, "please"),
        wrapped.emergency_stop,
    ]
    for call in calls:
        with pytest.raises(CyclerUnreachableError, match="replay does not answer: the line is down"):
            call()
    assert wrapped.next_end_h() == 13.0
    clock.wait_until(13.0)
    assert wrapped.status(ref).state is RunState.RUNNING
    assert wrapped.find("b") is None


def test_one_channel_can_be_out_of_reach_alone(replay):
    """Its neighbour answers, and so does the cycler as a whole."""
    wrapped = line(replay, {"kind": "cycler_unreachable", "channel": "1"})
    with pytest.raises(CyclerUnreachableError):
        wrapped.submit(request_for("a", "1"))
    assert wrapped.find("a") is None
    assert wrapped.submit(request_for("b", "2")).channel == "2"


def test_a_lost_acknowledgement_hides_a_test_that_runs(replay):
    """The test has started; whoever asks for the key finds it, whoever submits again starts nothing. It happens once."""
    wrapped = line(replay, {"kind": "acknowledgement_lost"})
    with pytest.raises(CyclerUnreachableError, match="the request a was sent; the answer was lost"):
        wrapped.submit(request_for("a", "1"))
    ref = wrapped.find("a")
    assert wrapped.status(ref).state is RunState.RUNNING
    assert wrapped.submit(request_for("a", "1")) == ref
    assert wrapped.submit(request_for("b", "2")).key == "b"
    assert wrapped.physical_starts() == {"a": 1, "b": 1}


def test_a_lost_refusal_is_lost_too(replay):
    """The caller cannot tell it from a lost acceptance; asking again tells."""
    wrapped = line(replay, {"kind": "acknowledgement_lost", "channel": "1", "at_h": 10.5})
    wrapped.submit(request_for("a", "1"))
    replay.clock.wait_until(10.5)
    with pytest.raises(CyclerUnreachableError):
        wrapped.submit(request_for("b", "1"))
    assert wrapped.find("b") is None
    with pytest.raises(ChannelBusyError):
        wrapped.submit(request_for("b", "1"))


def test_a_late_acknowledgement_comes_in_the_end(replay, clock):
    """Nothing is answered about that test until its time has come; then it is there, started once. Others are answered."""
    wrapped = line(replay, {"kind": "acknowledgement_late", "size": 0.5})
    with pytest.raises(CyclerUnreachableError, match="no answer came in time"):
        wrapped.submit(request_for("a", "1"))
    for call in (lambda: wrapped.find("a"), lambda: wrapped.submit(request_for("a", "1"))):
        with pytest.raises(CyclerUnreachableError, match="has not answered about a yet"):
            call()
    assert wrapped.submit(request_for("b", "2")).key == "b"
    assert wrapped.next_end_h() == 10.5
    clock.wait_until(10.5)
    assert wrapped.status(wrapped.find("a")).started_h == 10.0
    assert wrapped.physical_starts() == {"a": 1, "b": 1}


def test_a_result_delivered_twice_comes_under_the_same_cursor(clock):
    """Reading on gives the rows of the reading before once more; then reading goes on as it should."""
    device = RowsOnDemand()
    wrapped = line(device, {"kind": "result_twice"}, clock=clock)
    ref, device.rows = RunRef("rows", "a", "1", "1"), 3
    rows, cursor = wrapped.read(ref)
    again, same = wrapped.read(ref, cursor)
    assert np.array_equal(again["test_time_second"], rows["test_time_second"])
    assert same == cursor == "3"
    device.rows = 5
    assert wrapped.read(ref, cursor)[0]["test_time_second"].tolist() == [3.0, 4.0]
    assert wrapped.read(ref, "5") == ({}, "5")


@pytest.mark.parametrize("inside", [True, False], ids=["the cycler's own line", "a line around it"])
def test_what_has_struck_does_not_strike_again_when_the_lab_is_opened_again(tmp_path, clock, inside):
    """A lab that crashes after each lost answer still gets on: new objects, bound or given the folder, know what has struck."""
    plan = [{"kind": "acknowledgement_lost", "at_h": 10.0}] * 2

    def opened(bound):
        given = {} if bound else {"folder": tmp_path, "clock": clock}
        cycler = ReplayCycler(TABLE, "result", channels=3, faults=plan if inside else (), **given)
        cycler = cycler if inside else FaultyLine(cycler, plan, **given)
        if bound:
            cycler.bind(clock, tmp_path)
        return cycler

    for n, bound in ((1, False), (2, True)):
        with pytest.raises(CyclerUnreachableError, match="the answer was lost"):
            opened(bound).submit(request_for(f"k{n}", str(n)))
    for bound in (False, True):
        assert opened(bound).submit(request_for("k3", "3")).key == "k3"
    other = ReplayCycler(TABLE, "result", channels=3, faults=plan, folder=tmp_path, clock=clock, name="other")
    with pytest.raises(CyclerUnreachableError):
        other.submit(request_for("k4", "3"))


def test_processes_that_share_a_folder_share_what_has_struck(tmp_path, clock):
    """Two objects open at once: one occasion, one of them."""
    lost = [{"kind": "acknowledgement_lost", "at_h": 10.0}]
    first, second = (ReplayCycler(TABLE, "result", channels=3, faults=lost, folder=tmp_path, clock=clock) for _ in range(2))
    with pytest.raises(CyclerUnreachableError):
        first.submit(request_for("a", "1"))
    assert second.submit(request_for("b", "2")).key == "b"


def test_a_line_without_a_folder_forgets_and_its_faults_are_bounded_by_their_duration(clock):
    """A driver that no lab binds: each new object is struck, until the fault's time is over."""
    twice = [{"kind": "acknowledgement_lost", "at_h": 10.0, "duration_h": 1.0}]
    for _ in range(2):
        with pytest.raises(CyclerUnreachableError):
            FaultyLine(RowsOnDemand(), twice, clock).submit(request_for("a", "1"))
    clock.wait_until(11.0)
    assert FaultyLine(RowsOnDemand(), twice, clock).submit(request_for("a", "1")).key == "a"


def test_the_conformance_kit_sees_a_result_delivered_twice():
    """What the line does there, no driver may do."""
    shown: dict = {}
    exec(re.search(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)[1], shown)  # noqa: S102 - our own document
    device = shown["Device"]()
    with pytest.raises(ConformanceError) as caught:
        check_cycler(lambda: FaultyLine(shown["DeviceCycler"](device), [{"kind": "result_twice", "channel": "1"}]))
    assert caught.value.rule in {"reading_repeats", "reading_adds_up"}


def test_a_line_refuses_what_cannot_strike_it(replay):
    """Cells and sensors are at the other end."""
    with pytest.raises(SpecError, match=r"faults\[0\].kind: internal_short cannot strike a line"):
        line(replay, {"kind": "internal_short"})


def test_orders_go_through(clock):
    """Stop and emergency stop reach the device with what they were given."""
    device = RowsOnDemand()
    wrapped = FaultyLine(device, [], clock)
    wrapped.stop(RunRef("rows", "a", "1", "1"), "enough")
    wrapped.emergency_stop("1")
    assert device.orders == ["enough", "1"]
