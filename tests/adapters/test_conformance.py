"""The conformance kit: what keeps the rules passes, and each rule catches a driver that breaks it."""

import re
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from adapters.conformance import RULES, ConformanceError, check_cycler, short_request
from adapters.replay import ReplayCycler
from orchestrator.domain import Candidate, Capabilities, Estimate, RunRef, RunState, RunStatus
from orchestrator.domain.errors import ChannelBusyError, CyclerUnreachableError, RequestRefusedError

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "cyclers.md").read_text()
TABLE = [{"x": float(i), "result": 2.0 * i, "hours": 5.0 + i} for i in range(4)]
on_the_table = partial(short_request, candidate=Candidate({"x": 1.0}))

# The driver that docs/cyclers.md shows; it keeps every rule, and each planted violation below breaks it in one place.
_shown: dict = {}
exec(re.search(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)[1], _shown)  # noqa: S102 - our own document
Device, DeviceCycler = _shown["Device"], _shown["DeviceCycler"]


class RevokesForAMoment(DeviceCycler):
    """Forgets with the driver object what it promised never to start."""

    def __init__(self, device):
        """A new driver knows of no promise."""
        super().__init__(device)
        device.revoked.clear()


class NoStop(DeviceCycler):
    """Lacks a method."""

    stop = None


class NamelessLimits(DeviceCycler):
    """Says that it enforces what no one can ask for."""

    capabilities = replace(DeviceCycler.capabilities, limits=frozenset({"max_pressure_bar"}))


class AnyChannel(DeviceCycler):
    """Starts on channels that it does not have, once somebody asks."""

    def submit(self, request):
        """Map what it does not know to a channel that it has."""
        return super().submit(request if request.channel in "12" else replace(request, channel="1"))


class FindsAnything(DeviceCycler):
    """Gives a reference for every key."""

    def find(self, key):
        """Without a look."""
        return RunRef("bench", key, "1", key)


class ThrowsOnStrangers(DeviceCycler):
    """Raises where it should say that it does not know."""

    def status(self, ref):
        """A bare KeyError."""
        _ = self.device.runs[ref.key]
        return super().status(ref)


class NeverStops(DeviceCycler):
    """Takes the order and goes on."""

    def stop(self, ref, reason):
        """Nothing."""


class StartsAgain(DeviceCycler):
    """A second physical start for a key that it knows."""

    def submit(self, request):
        """Order the start before looking."""
        if request.key in self.device.runs:
            self.device.starts.append(request.key)
        return super().submit(request)


class NewReference(DeviceCycler):
    """Another reference for the same run."""

    def submit(self, request):
        """Numbered by the call."""
        self.device.calls = getattr(self.device, "calls", 0) + 1
        return replace(super().submit(request), native_id=str(self.device.calls))


class TakesAnyContent(DeviceCycler):
    """Looks at the key alone."""

    def same(self, known, request):
        """Whatever the content."""
        return self.reference(known)


class Forgets(DeviceCycler):
    """Remembers in the driver what belongs on the device."""

    def __init__(self, device):
        super().__init__(device)
        self.mine = set()

    def submit(self, request):
        """Note the key."""
        self.mine.add(request.key)
        return super().submit(request)

    def find(self, key):
        """Only what this object started."""
        return super().find(key) if key in self.mine else None


class RestartsTheClock(DeviceCycler):
    """Counts from when the driver connected."""

    def __init__(self, device):
        super().__init__(device)
        device.drivers = getattr(device, "drivers", 0) + 1
        self.nth = device.drivers

    def status(self, ref):
        """With a start that moves."""
        said = super().status(ref)
        return said if said.started_h is None else replace(said, started_h=said.started_h - 0.001 * self.nth)


class BusyIsRefused(DeviceCycler):
    """Says no in the wrong words: the lab would cancel the trial instead of going elsewhere."""

    def submit(self, request):
        """Without saying busy."""
        try:
            return super().submit(request)
        except RequestRefusedError as error:
            raise RequestRefusedError(str(error)) from None


class Overwrites(DeviceCycler):
    """Starts on a busy channel."""

    def submit(self, request):
        """Whatever runs there."""
        try:
            return super().submit(request)
        except ChannelBusyError:
            return self.start(request)

    def start(self, request):
        """Without a look."""
        self.device.starts.append(request.key)
        self.device.runs[request.key] = {"request": request, "started_h": self.clock.now_h(), "stop": None}
        return self.reference(request)


class LooksAtKeysInOneThread(Overwrites):
    """What two threads do at once is not looked at: each starts the key."""

    def submit(self, request):
        """With a look by the main thread alone."""
        alone = threading.current_thread() is threading.main_thread()
        return DeviceCycler.submit(self, request) if alone else self.start(request)


class LooksAtChannelsInOneThread(Overwrites):
    """Keys are looked at, but whoever comes at the same moment finds the channel free."""

    def submit(self, request):
        """One look for all."""
        with self.device.lock:
            alone = threading.current_thread() is threading.main_thread()
            return DeviceCycler.submit(self, request) if alone or request.key in self.device.runs else self.start(request)


class NumbersItsRuns(DeviceCycler):
    """A reference that is not text alone."""

    def reference(self, request):
        """With the device's own number."""
        return replace(super().reference(request), native_id=7)


class SaysNoChannel(DeviceCycler):
    """A reference that does not say where."""

    def reference(self, request):
        """But for the key."""
        return replace(super().reference(request), channel="?")


class EarlyResults(DeviceCycler):
    """Reports what it cannot know yet."""

    def status(self, ref):
        """A result from the start."""
        return replace(super().status(ref), results={"cycle_life": Estimate(500.0)})


class BreaksItsPromise(DeviceCycler):
    """Promises a metric and reports none."""

    capabilities = replace(DeviceCycler.capabilities, metrics=frozenset({"cycle_life"}))


class EndsAsFailed(DeviceCycler):
    """Fails what nobody stopped."""

    def status(self, ref):
        """FAILED at the end."""
        said = super().status(ref)
        return replace(said, state=RunState.FAILED) if said.state is RunState.FINISHED else said


class CyclesGoBack(DeviceCycler):
    """Counts cycles down."""

    def status(self, ref):
        """Fewer with time."""
        said = super().status(ref)
        return replace(said, cycles=1000 - int(100 * (self.clock.now_h() - (said.started_h or 0))))


class NoisyReading(DeviceCycler):
    """Draws its noise at every reading."""

    noise = np.random.default_rng(0)

    def read(self, ref, cursor=None):
        """Other numbers each time."""
        rows, after = super().read(ref, cursor)
        return {n: c + 1e-3 * self.noise.random(len(c)) if n == "voltage_volt" else c for n, c in rows.items()}, after


class LosesARow(DeviceCycler):
    """The cursor leaps over a row whenever a reading ends early."""

    def read(self, ref, cursor=None):
        """One further than it read."""
        rows, after = super().read(ref, cursor)
        return rows, str(int(after) + 1) if after and cursor is None else after


class SpendsItsCursors(DeviceCycler):
    """A cursor is good once: what a crashed reader had not kept is lost."""

    def read(self, ref, cursor=None):
        """Nothing, the second time."""
        spent = self.device.__dict__.setdefault("spent", set())
        if (ref.key, cursor) in spent:
            return {}, cursor
        spent |= {(ref.key, cursor)} - {(ref.key, None)}
        return super().read(ref, cursor)


class NumbersItsRows(DeviceCycler):
    """A cursor that does not travel as text."""

    def read(self, ref, cursor=None):
        """A row number."""
        rows, after = super().read(ref, cursor)
        return rows, None if after is None else int(after)


class VendorNames(DeviceCycler):
    """Hands on the vendor's column names."""

    def read(self, ref, cursor=None):
        """`Ecell/V`."""
        rows, after = super().read(ref, cursor)
        return {n.replace("voltage_volt", "Ecell/V"): c for n, c in rows.items()}, after


class TimeRunsBack(DeviceCycler):
    """Every step's time begins at zero."""

    def read(self, ref, cursor=None):
        """A saw."""
        rows, after = super().read(ref, cursor)
        return {n: c % 1000 if n == "test_time_second" else c for n, c in rows.items()}, after


class RowsOfTheFuture(DeviceCycler):
    """Hands out what has not been measured yet."""

    def read(self, ref, cursor=None):
        """As if the run were over."""
        ahead = DeviceCycler(self.device)
        ahead.clock = SimpleNamespace(now_h=lambda: np.inf)
        return ahead.read(ref, cursor)


class RowsAfterTheEnd(DeviceCycler):
    """Goes on recording when the run has ended."""

    def read(self, ref, cursor=None):
        """An hour longer."""
        longer = DeviceCycler(self.device)
        longer.duration_h = self.duration_h + 1.0
        return longer.read(ref, cursor)


class RowsAfterTheStop(DeviceCycler):
    """Hands out what it would have measured, had nobody stopped it."""

    def read(self, ref, cursor=None):
        """Half an hour of it."""
        run = self.device.runs.get(ref.key, {"stop": None})
        kept, run["stop"] = run["stop"], run["stop"] and (run["stop"][0] + 0.5, "")
        try:
            return super().read(ref, cursor)
        finally:
            run["stop"] = kept


class DischargeIsPositive(DeviceCycler):
    """The other sign."""

    def read(self, ref, cursor=None):
        """As many vendors have it."""
        rows, after = super().read(ref, cursor)
        return {n: -c if n == "current_ampere" else c for n, c in rows.items()}, after


class StopsWhatHasEnded(DeviceCycler):
    """A late order rewrites history."""

    def stop(self, ref, reason):
        """Whatever the run's state."""
        run = self.device.runs.get(ref.key)
        if run is not None:
            run["stop"] = run["stop"] or (self.clock.now_h(), reason)


class DropsOldRows(DeviceCycler):
    """Keeps a channel's latest recording only."""

    def read(self, ref, cursor=None):
        """Nothing of runs before."""
        of_channel = [run["request"].key for run in self.device.runs.values() if run["request"].channel == ref.channel]
        return super().read(ref, cursor) if of_channel[-1:] == [ref.key] else ({}, cursor)


class LastReasonStands(DeviceCycler):
    """Each order to stop replaces the one before."""

    def stop(self, ref, reason):
        """As long as it was stopped at all."""
        run = self.device.runs.get(ref.key)
        if run is not None and run["stop"]:
            run["stop"] = (run["stop"][0], reason)
        super().stop(ref, reason)


class StopsEverything(DeviceCycler):
    """An emergency stop of one channel stops all."""

    def emergency_stop(self, channel=None):
        """Whatever the channel."""
        super().emergency_stop()


class StopsItsOwn(DeviceCycler):
    """An emergency stop reaches only what this driver started."""

    def __init__(self, device):
        super().__init__(device)
        self.mine = []

    def submit(self, request):
        """Note the reference."""
        self.mine.append(super().submit(request))
        return self.mine[-1]

    def emergency_stop(self, channel=None):
        """By memory."""
        for ref in self.mine:
            if channel in (None, ref.channel):
                self.stop(ref, "emergency stop")


PLANTED = {
    NoStop: "structure",
    NamelessLimits: "capabilities",
    AnyChannel: "unknown_channel",
    FindsAnything: "unknown_key",
    NumbersItsRuns: "submit_starts",
    SaysNoChannel: "submit_starts",
    ThrowsOnStrangers: "unknown_reference",
    NeverStops: "stop_ends",
    StartsAgain: "key_starts_once",
    NewReference: "key_starts_once",
    TakesAnyContent: "key_keeps_content",
    Forgets: "find_by_key",
    RestartsTheClock: "restart_disturbs_nothing",
    BusyIsRefused: "busy_channel",
    Overwrites: "busy_channel",
    RevokesForAMoment: "revoked_key",
    LooksAtKeysInOneThread: "threads_one_key",
    LooksAtChannelsInOneThread: "threads_one_channel",
    EndsAsFailed: "run_ends",
    CyclesGoBack: "status_goes_forward",
    EarlyResults: "results_at_the_end",
    BreaksItsPromise: "results_at_the_end",
    NoisyReading: "reading_repeats",
    LosesARow: "reading_adds_up",
    NumbersItsRows: "reading_resumes",
    SpendsItsCursors: "reading_resumes",
    VendorNames: "rows_are_a_recording",
    TimeRunsBack: "time_runs_forward",
    RowsOfTheFuture: "rows_are_of_the_past",
    RowsAfterTheEnd: "rows_are_of_the_past",
    RowsAfterTheStop: "rows_end_with_the_stop",
    DischargeIsPositive: "charging_is_positive",
    StopsWhatHasEnded: "end_is_final",
    DropsOldRows: "end_frees_the_channel",
    LastReasonStands: "stop_repeats",
    StopsEverything: "emergency_stop_of_one",
    StopsItsOwn: "emergency_stop_of_all",
}


def driver_of(kind):
    """What makes drivers of one device."""
    device = Device()
    return lambda: kind(device)


def test_the_driver_in_the_document_keeps_every_rule():
    """A device with two channels and rows leaves no rule untried."""
    report = check_cycler(driver_of(DeviceCycler))
    assert report.kept == tuple(RULES)
    assert report.not_tried == {}
    assert f"bench keeps {len(RULES)} of {len(RULES)} rules" in str(report)


def test_the_replay_cycler_keeps_every_rule_that_means_something_for_it():
    """It has no rows; everything else it keeps."""
    report = check_cycler(lambda: ReplayCycler(TABLE, "result", duration_h="hours", channels=2), on_the_table)
    assert set(report.not_tried.values()) == {"the run left no rows"}
    assert len(report.kept) >= 20


@pytest.mark.parametrize("kind", PLANTED, ids=lambda kind: kind.__name__)
def test_a_planted_violation_is_caught_by_its_rule(kind):
    """A guard that never fails guards nothing: the rule broken is named, with what was seen."""
    with pytest.raises(ConformanceError) as caught:
        check_cycler(driver_of(kind), keys="planted")
    assert caught.value.rule == PLANTED[kind], str(caught.value)
    assert caught.value.seen
    assert RULES[PLANTED[kind]] in str(caught.value)


def test_every_rule_is_seen_to_fail():
    """No rule without a planted violation."""
    assert set(PLANTED.values()) == set(RULES)


def test_rules_that_mean_nothing_are_named_with_the_reason():
    """One channel has no neighbour; a device that cannot be searched is not asked to be."""

    class Small(DeviceCycler):
        capabilities = Capabilities(name="bench", channels=("1",), searchable=False)

    report = check_cycler(driver_of(Small))
    assert report.not_tried["emergency_stop_of_one"] == "it has one channel"
    assert report.not_tried["find_by_key"] == "it says that it cannot be searched by key"


def test_a_request_that_does_not_fit_says_what_to_do():
    """The table has no such row; the author is told to give a request of their own."""
    with pytest.raises(ConformanceError, match="give make_request"):
        check_cycler(lambda: ReplayCycler(TABLE, "result", channels=2))


def test_a_driver_that_does_not_answer_breaks_the_rule_being_tried():
    """The device must answer while it is checked."""

    class Silent(DeviceCycler):
        def status(self, ref):
            raise CyclerUnreachableError("no answer in 30 s")

    with pytest.raises(ConformanceError, match="CyclerUnreachableError was raised: no answer in 30 s") as caught:
        check_cycler(driver_of(Silent))
    assert caught.value.rule == "submit_starts"


def test_what_a_broken_rule_left_running_is_stopped():
    """A real device is not left with tests on it."""
    make = driver_of(TakesAnyContent)
    with pytest.raises(ConformanceError):
        check_cycler(make)
    cycler = make()
    assert not any(cycler.running(run) for run in cycler.device.runs.values())


def test_time_can_be_the_author_s():
    """A driver without a clock, and an `advance` that lets its time pass."""
    device = Device()

    class Timeless(DeviceCycler):
        def __init__(self):
            self.device, self.clock = device, SimpleNamespace(now_h=device.clock.now_h)

    report = check_cycler(Timeless, advance=lambda hours: device.clock.wait_until(device.clock.now_h() + hours))
    assert report.kept == tuple(RULES)


def test_the_document_shows_every_rule():
    """docs/cyclers.md has the table of rules, word for word."""
    shown = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", DOCUMENT[DOCUMENT.index("## The rules") :], re.MULTILINE))
    assert {name: text for name, text in shown.items() if name in RULES} == RULES


def test_the_kit_needs_no_pytest():
    """Drivers are checked on lab PCs."""
    check = "import sys, adapters.conformance; sys.exit(any(n in sys.modules for n in ('pytest', 'torch', 'pybamm', 'polars')))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_unknown_states_are_not_mistaken_for_ends():
    """A run that the device forgets in mid-test does not count as ended."""

    class Amnesiac(DeviceCycler):
        def status(self, ref):
            said = super().status(ref)
            return RunStatus(RunState.UNKNOWN) if said.state is RunState.FINISHED else said

    with pytest.raises(ConformanceError) as caught:
        check_cycler(driver_of(Amnesiac), longest_h=10.0)
    assert caught.value.rule == "run_ends"
