"""The emergency stop: it needs no database, holds nobody up, stays in until lifted, and is recorded once."""

import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.peers.run_journal import RunJournal
from adapters.replay import ReplayCycler
from adapters.simulated import SimulatedCycler
from flows import Lab, advance_campaign, resume_campaign, start_campaign
from flows.cli import main
from flows.estop import emergency_stop, emergency_stop_folder, lift_emergency_stop, record_soon
from flows.estop_records import LIFTED, STOPPED, StopRecord, keep_record, take_in
from flows.latch import EmergencyLatch
from orchestrator.campaign import Campaign
from orchestrator.domain import Budget, RunState, TrialStatus
from orchestrator.domain.campaign_spec import CyclerSpec
from orchestrator.domain.errors import CyclerError, CyclerUnreachableError, StoreError
from orchestrator.proposal.history import read_history
from orchestrator.store import TrialStore
from tests.adapters.simulated.conftest import BenchCell
from tests.flows.conftest import ROWS, replay, small_spec
from tests.flows.test_faults import cells_spec

OPTIONS = {"table": list(ROWS), "target": "result", "duration_h": "hours", "channels": 2}
RUNNING = ["running", "running"]

HOLD_THE_DATABASE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5)
connection.execute("PRAGMA locking_mode=EXCLUSIVE")
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def at_work(folder) -> Path:
    """A lab whose campaign `small` has two tests running on the cycler `replay`, and no program that looks after it."""
    with Lab.open(folder) as lab:
        begin(lab)
    return folder


def begin(lab, **changes):
    start_campaign(lab, small_spec(**changes))
    advance_campaign(lab, "small")
    assert [str(t.status) for t in lab.store.trials("small")] == RUNNING


def journalled(folder, cycler="replay") -> list[str]:
    """How the device's own file says that its runs stand."""
    return [str(run.state) for run in RunJournal(folder / "cyclers" / cycler).runs()]


@contextmanager
def locked_by_another_process(folder):
    """Another program holds the database for itself: no reading, no writing."""
    command = [sys.executable, "-c", HOLD_THE_DATABASE, str(folder / "voltloop.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        yield
        other.communicate("\n")


def in_another_process(*arguments):
    """The command `voltloop`, as a person at another terminal gives it."""
    script = "import sys; from flows.cli import main; sys.argv[0] = 'voltloop'; main()"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `voltloop estop` in this process; gives exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["voltloop", "estop", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def recorded(folder, kind=STOPPED):
    with Lab.open(folder, create=False) as lab:
        return [event.data for event in lab.store.events(kinds=(kind,))]


class HangingCycler(ReplayCycler):
    """Its driver never comes back from an emergency stop."""

    never = threading.Event()

    def emergency_stop(self, channel=None):
        """Wait for what never happens."""
        self.never.wait(60)


class SilentCycler(ReplayCycler):
    """The first orders to stop do not reach it."""

    deaf_for = 1

    def emergency_stop(self, channel=None):
        """Answer when the line is back."""
        if self.deaf_for:
            self.deaf_for -= 1
            raise CyclerUnreachableError("no answer on the line.")
        super().emergency_stop(channel)


def test_the_stop_reaches_the_device_while_another_process_holds_the_database(at_work):
    """Exit code 0, the device's journal says stopped while the lock is still held; the log hears of it afterwards, once."""
    with locked_by_another_process(at_work):
        done = in_another_process("estop", "--lab", at_work, "--reason", "smoke")
        assert (done.returncode, journalled(at_work)) == (0, ["stopped", "stopped"]), done.stderr
        assert "replay: stopped" in done.stdout
        assert "enters the lab's log when the database answers" in done.stdout
    stops = recorded(at_work)
    assert [(s["reason"], s["cyclers"]) for s in stops] == [("smoke", {"replay": "stopped"})]
    assert recorded(at_work) == stops


def test_nothing_heavy_is_loaded_before_the_stop_is_sent():
    """What takes time to load would be time in which the cell burns."""
    heavy = ("torch", "ax", "prefect", "pybamm", "sqlmodel", "sqlalchemy", "alembic", "scipy", "polars")
    check = (
        "import sys, flows.cli, flows.estop, flows.cyclers, adapters.simulated, adapters.replay;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_a_broken_or_missing_database_does_not_matter(at_work, command, harm):
    """The folder names the cyclers; what was done stays in a file."""
    for file in at_work.glob("voltloop.db*"):
        file.unlink()
    if harm == "damaged":
        (at_work / "voltloop.db").write_bytes(b"not a database" * 1000)
    code, out, _ = command("--lab", at_work)
    assert (code, journalled(at_work)) == (0, ["stopped", "stopped"])
    assert "enters the lab's log when the database answers" in out
    assert len(list((at_work / "estop" / "pending").glob("*.json"))) == 1


def test_a_database_server_that_is_down_does_not_matter(at_work, command, monkeypatch):
    """Nobody answers at its port."""
    monkeypatch.setenv("VOLTLOOP_DATABASE_URL", "postgresql://lab@127.0.0.1:1/lab")
    code, out, _ = command("--lab", at_work)
    assert (code, journalled(at_work)) == (0, ["stopped", "stopped"])
    assert "enters the lab's log when the database answers" in out


@pytest.mark.parametrize("roster", ["missing", "damaged"])
def test_an_older_lab_without_a_roster_is_asked_for_its_specs(at_work, command, roster):
    """Also one whose roster was cut short; lab time is that of the log."""
    (at_work / "lab_time.json").unlink()
    (at_work / "cyclers.json").unlink() if roster == "missing" else (at_work / "cyclers.json").write_text('{"campaigns": {"sm')
    assert command("--lab", at_work)[0] == 0
    assert journalled(at_work) == ["stopped", "stopped"]
    with Lab.open(at_work) as lab:
        assert lab.now_h() < 100.0  # virtual time has not jumped to the system's


def test_neither_roster_nor_database_latches_the_whole_lab_and_calls_for_a_person(at_work, command):
    """What cannot be reached is said; no tick starts anything all the same."""
    (at_work / "cyclers.json").unlink()
    with locked_by_another_process(at_work):
        code, _, err = command("--lab", at_work)
    assert (code, journalled(at_work)) == (4, RUNNING)
    assert "every cycler did NOT confirm" in err
    assert "Go to the device now" in err
    assert EmergencyLatch(at_work).reason_for("replay")
    with Lab.open(at_work) as lab:  # and the first tick that can, does it
        assert resume_campaign(lab, "small").status == "needs_attention"
    assert journalled(at_work) == ["stopped", "stopped"]


def test_twice_is_harmless(at_work, command):
    """Each press is recorded, the first one stands in the latch."""
    assert command("--lab", at_work, "--reason", "smoke")[0] == 0
    assert command("--lab", at_work, "--reason", "again")[0] == 0
    assert "smoke" in EmergencyLatch(at_work).reason_for("replay")
    assert [stop["reason"] for stop in recorded(at_work)] == ["smoke", "again"]


def test_an_unknown_cycler_is_refused_with_the_names_there_are(at_work, command):
    """Bad input: nothing is stopped, nothing latched."""
    code, _, err = command("--lab", at_work, "--cycler", "replya")
    assert (code, "there is no cycler 'replya' in this lab. It has: replay" in err) == (2, True)
    assert journalled(at_work) == RUNNING
    assert not EmergencyLatch(at_work).latched()


def test_no_lab_is_said_so(tmp_path, command):
    """A misspelt folder is not taken for a lab without cyclers."""
    code, _, err = command("--lab", tmp_path / "nowhere")
    assert (code, "there is no lab in" in err, "cut its power" in err) == (2, True, True)


def test_a_cycler_that_hangs_keeps_nobody_waiting(folder):
    """The other one is stopped; the silent one is named after a bounded wait, with what to do."""
    cyclers = [HangingCycler(ROWS, "result", name="hangs", channels=1), replay(1, name="rack")]
    with Lab.open(folder, cyclers=cyclers) as lab:
        begin(lab)
        done = emergency_stop(lab, reason="smoke", by="ada", wait_s=0.2)
    assert done.answers == {"hangs": "no answer within 0.2 s", "rack": None}
    assert not done.confirmed
    assert done.faults == [
        "hangs did NOT confirm: no answer within 0.2 s. Go to the device now: make sure that it has stopped, or cut its power."
    ]
    assert (journalled(folder, "rack"), journalled(folder, "hangs")) == (["stopped"], ["running"])


def test_a_cycler_that_cannot_even_be_made_holds_up_no_other(at_work, command):
    """Its line says why; exit code 4, the others are stopped."""
    roster = json.loads((at_work / "cyclers.json").read_text())
    roster["campaigns"]["other"] = [{"name": "gone", "kind": "no_such_kind", "options": {}}]
    (at_work / "cyclers.json").write_text(json.dumps(roster))
    code, out, err = command("--lab", at_work)
    assert (code, "gone: NOT CONFIRMED" in out, "'no_such_kind' is no kind of cycler" in err) == (4, True, True)
    assert journalled(at_work) == ["stopped", "stopped"]


def test_cyclers_that_only_another_program_has_are_stopped_by_its_next_tick(folder, command):
    """The command says that it cannot reach them; the latch can."""
    with Lab.open(folder, cyclers=[replay()]) as lab:
        begin(lab)
        code, _, err = command("--lab", folder)
        assert (code, "given to a program as a Python object" in err, journalled(folder)) == (4, True, RUNNING)
        report = advance_campaign(lab, "small")
        assert (report.status, journalled(folder)) == ("needs_attention", ["stopped", "stopped"])


def test_a_stop_that_did_not_arrive_is_given_again_by_ticks(folder):
    """While it is latched, what runs is stopped, whoever looks."""
    with Lab.open(folder, cyclers=[SilentCycler(ROWS, "result", duration_h="hours", channels=2)]) as lab:
        begin(lab)
        assert emergency_stop(lab, reason="smoke", by="ada").answers == {"replay": "no answer on the line"}
        assert journalled(folder) == RUNNING
        advance_campaign(lab, "small")
        assert journalled(folder) == ["stopped", "stopped"]


def test_a_latched_cycler_starts_nothing_until_it_is_lifted(at_work, command):
    """The campaign asks for a person, says what happened and how to go on; lifted, it goes on by itself and finishes."""
    command("--lab", at_work, "--reason", "smoke")
    with Lab.open(at_work) as lab:
        for _ in range(3):
            report = advance_campaign(lab, "small")
        assert (report.status, len(journalled(at_work))) == ("needs_attention", 2)
        waits_for = lab.store.campaign("small").status_reason
        assert waits_for.startswith("emergency stop of replay at ")
        assert ": smoke; when it is safe again, lift it with `voltloop estop --lift" in waits_for
        assert resume_campaign(lab, "small").status == "needs_attention"
        assert len(journalled(at_work)) == 2
        code, out, _ = command("--lift", "--cycler", "replay", "--lab", at_work)
        assert (code, out.splitlines()[0]) == (0, "lifted: replay; tests may be started")
        advance_campaign(lab, "small")
        assert lab.store.campaign("small").status == "running"
        result = resume_campaign(lab, "small")
        assert result.status == "completed"
        assert sum(t.status == "completed" for t in result.trials) == 8  # the budget counts none of the stopped ones
    assert len(recorded(at_work, LIFTED)) == 1


def test_an_emergency_stop_costs_the_candidate_nothing(at_work):
    """Its trial is aborted with the reason, the candidate is not barred, and failures in a row are not counted."""
    emergency_stop_folder(at_work, reason="smoke", by="ada")
    with Lab.open(at_work) as lab:
        advance_campaign(lab, "small")
        trials = lab.store.trials("small")
        assert [(t.status, t.cause) for t in trials] == [(TrialStatus.ABORTED, "emergency_stop")] * 2
        assert all(t.stopped_because.startswith("emergency stop of replay") for t in trials)
        assert all(t.ended_h >= t.started_h for t in trials)
        assert {channel.state for channel in lab.store.channels()} == {"free"}
        assert not read_history(small_spec(), trials).failed
        assert Campaign(small_spec(), tuple(trials)).propose(12)


class FailingCycler(ReplayCycler):
    """Its runs end as failed: at once when stopped, or an hour after their start by themselves."""

    fails_alone = False

    def status(self, ref):
        """What it calls a failure."""
        status = super().status(ref)
        if self.fails_alone:
            return replace(status, state=RunState.FAILED, reason="the cell is short", ended_h=status.started_h + 1.0)
        return replace(status, state=RunState.FAILED, reason="output off") if status.state is RunState.STOPPED else status


@pytest.mark.parametrize("alone", [False, True])
def test_what_failed_before_the_stop_came_has_failed(folder, alone):
    """A device that calls the stop a failure is understood; a cell that had failed by itself is not excused."""
    with Lab.open(folder, cyclers=[FailingCycler(ROWS, "result", duration_h="hours", channels=2)]) as lab:
        begin(lab)
        lab.clock.wait_until(3.0)
        lab.cyclers[0].fails_alone = alone
        emergency_stop(lab, reason="smoke", by="ada")
        advance_campaign(lab, "small")
        first = lab.store.trial("small", 1)
    if alone:
        assert (str(first.status), first.cause, first.stopped_because) == ("failed", None, "the cell is short")
    else:
        assert (str(first.status), first.cause) == ("aborted", "emergency_stop")
        assert first.stopped_because.endswith("by ada: smoke (replay says: output off)")


def test_lifted_before_any_tick_has_looked_the_stop_is_still_known_for_what_it_was(at_work):
    """The log's order tells: the stop came after the dispatch."""
    emergency_stop_folder(at_work, reason="smoke", by="ada")
    lift_emergency_stop(at_work, by="ada")
    with Lab.open(at_work) as lab:
        advance_campaign(lab, "small")
        first, second = lab.store.trials("small")[:2]
        assert first.cause == second.cause == "emergency_stop"
        assert first.stopped_because.endswith("by ada: smoke")
        later = [t for t in lab.store.trials("small") if t.status is TrialStatus.RUNNING]
        lab.cyclers[0].emergency_stop()  # at the device itself, by nobody that the lab knows
        advance_campaign(lab, "small")
        assert {lab.store.trial("small", t.number).cause for t in later} == {None}


class PressedMeanwhile(ReplayCycler):
    """Somebody presses the button while a request is on its way, and the stop overtakes it."""

    def submit(self, request):
        """Stop first, start then."""
        if request.channel == "2":
            emergency_stop_folder(self.lab_folder, "replay", reason="smoke", by="ada")
        return super().submit(request)


def test_a_start_that_the_stop_has_overtaken_is_stopped_at_once(folder):
    """Between the last question and the start nobody can look; so the dispatch looks again after it."""
    cycler = PressedMeanwhile(ROWS, "result", duration_h="hours", channels=2)
    cycler.lab_folder = folder
    with Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, small_spec())
        advance_campaign(lab, "small")
        assert journalled(folder) == ["running", "stopped"]
        advance_campaign(lab, "small")
        assert journalled(folder) == ["stopped", "stopped"]


class AnswerLost(ReplayCycler):
    """Somebody presses the button while a request is on its way; the stop overtakes it, and the answer is lost.

    Orders that follow are lost too, `deaf_for` of them.
    """

    deaf_for = 0
    pressed = False

    def submit(self, request):
        """Stop first, start then, answer never."""
        emergency_stop_folder(self.lab_folder, "replay", reason="smoke", by="ada")
        self.pressed = True
        super().submit(request)
        raise CyclerUnreachableError("replay: the request was sent; the answer was lost.")

    def emergency_stop(self, channel=None):
        """Only when the line is back."""
        if self.pressed and self.deaf_for:
            self.deaf_for -= 1
            raise CyclerUnreachableError("replay: the line is down.")
        super().emergency_stop(channel)


@pytest.mark.parametrize("deaf_for", [0, 1])
@pytest.mark.parametrize("searchable", [True, False])
def test_a_start_whose_answer_was_lost_under_the_button_is_stopped_within_a_tick(folder, searchable, deaf_for):
    """Nobody knows that it runs, at a cycler that cannot be searched nobody can ask: it is ordered to stop all the same."""
    cycler = AnswerLost(ROWS, "result", duration_h="hours", channels=2)
    cycler.capabilities = replace(cycler.capabilities, searchable=searchable)
    cycler.lab_folder, cycler.deaf_for = folder, deaf_for
    with Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, small_spec())
        advance_campaign(lab, "small")
        first = lab.store.trial("small", 1)
        assert str(first.status) == ("dispatching" if searchable else "unknown")
        assert searchable or "the answer was lost" in first.stopped_because
        assert journalled(folder) == (["running"] if deaf_for else ["stopped"])
        for _ in range(3):
            assert advance_campaign(lab, "small").status == "needs_attention"
            assert journalled(folder) == ["stopped"]
        first = lab.store.trial("small", 1)
        assert (str(first.status), first.cause) == (("aborted", "emergency_stop") if searchable else ("unknown", None))


class DeafOnce(PressedMeanwhile):
    """The order that follows the start does not arrive."""

    deaf = True

    def emergency_stop(self, channel=None):
        """Not the first time for channel 2."""
        if channel == "2" and self.deaf:
            self.deaf = False
            raise CyclerUnreachableError("replay: the line is down.")
        super().emergency_stop(channel)


def test_a_start_that_was_answered_is_known_though_the_stop_after_it_did_not_arrive(folder):
    """The reference is kept; the next tick finds the test running under the latch and stops it."""
    cycler = DeafOnce(ROWS, "result", duration_h="hours", channels=2)
    cycler.lab_folder = folder
    with Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, small_spec())
        advance_campaign(lab, "small")
        assert lab.store.trial("small", 2).status is TrialStatus.RUNNING
        advance_campaign(lab, "small")
        assert journalled(folder) == ["stopped", "stopped"]


class PressedWhileAsked(ReplayCycler):
    """A tick that is stalled while it asks for the key: when it goes on, the button has been pressed."""

    def find(self, key):
        """The answer takes its time."""
        emergency_stop_folder(self.lab_folder, "replay", reason="smoke", by="ada")
        return super().find(key)


def test_a_stalled_tick_that_goes_on_under_the_latch_starts_nothing(folder):
    """The last look at the latch is right before the start; the channel is free again, the key is never used."""
    cycler = PressedWhileAsked(ROWS, "result", duration_h="hours", channels=2)
    cycler.lab_folder = folder
    with Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, small_spec())
        advance_campaign(lab, "small")
        assert journalled(folder) == []
        assert {channel.state for channel in lab.store.channels()} == {"free"}
        assert {str(t.status) for t in lab.store.trials("small")} == {"approved"}


def test_a_tick_of_another_process_starts_nothing_under_the_latch(folder):
    """Not even the first tick of a campaign that was started after the button was pressed, on a cycler of its own."""
    with Lab.open(folder) as lab:
        start_campaign(lab, small_spec())
        emergency_stop(lab, reason="smoke", by="ada")
        start_campaign(lab, small_spec(name="next", cyclers=(CyclerSpec("rack", "replay", OPTIONS),)))
    for campaign in ("small", "next"):
        done = in_another_process("tick", campaign, "--lab", folder)
        assert (done.returncode, "needs_attention" in done.stdout) == (4, True), done.stderr
    assert journalled(folder) == journalled(folder, "rack") == []


def test_lifting_one_of_two_leaves_the_other_stopped(folder):
    """The latch of the whole lab ends with the first that is lifted; each cycler has its own."""
    with Lab.open(folder) as lab:
        start_campaign(lab, small_spec(cyclers=(CyclerSpec("a", "replay", OPTIONS), CyclerSpec("b", "replay", OPTIONS))))
        emergency_stop(lab, reason="smoke", by="ada")
    latch = EmergencyLatch(folder)
    assert (bool(latch.reason_for("a")), bool(latch.reason_for("b")), bool(latch.reason_for("c"))) == (True, True, True)
    assert lift_emergency_stop(folder, "a", by="ada") == ["a"]
    assert (latch.reason_for("a"), latch.reason_for("c"), bool(latch.reason_for("b"))) == (None, None, True)


def test_simulated_cells_are_stopped_by_a_driver_of_another_process_at_the_lab_s_own_time(folder):
    """Virtual time is what the lab has noted; the run ends then, and its trial with it."""
    spec = cells_spec(budget=Budget(trials=2))
    with Lab.open(folder, cyclers=[SimulatedCycler(2, cell=BenchCell())]) as lab:
        start_campaign(lab, spec)
        advance_campaign(lab, "cells")
        lab.clock.wait_until(5.0)
        lab.note_time()
        roster = json.loads((folder / "cyclers.json").read_text())
        roster["campaigns"]["cells"] = [{"name": "sim", "kind": "simulated", "options": {"channels": 2}}]
        (folder / "cyclers.json").write_text(json.dumps(roster))
        assert emergency_stop_folder(folder, reason="smoke", by="ada").confirmed
        stops = [json.loads(line) for line in (folder / "cyclers" / "sim" / "stops.jsonl").read_text().splitlines()]
        assert [(stop["key"], stop["stopped_h"]) for stop in stops] == [("cells/1/1", 5.0), ("cells/2/1", 5.0)]
        advance_campaign(lab, "cells")
        assert [(t.cause, t.ended_h) for t in lab.store.trials("cells")] == [("emergency_stop", 5.0)] * 2


def test_an_intent_left_by_a_killed_process_is_not_started_under_the_latch(folder):
    """Another process's tick finds the intent: the trial waits again, its channel free, its key spent."""
    with Lab.open(folder) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=1)))
        lab.store.add_trials("small", campaign_of_one(), lab_time_h=0.0)
        lab.store.begin_dispatch("small", 1, cycler="replay", channel="1", lab_time_h=0.0)
    emergency_stop_folder(folder, reason="smoke", by="ada")
    with Lab.open(folder) as lab:
        advance_campaign(lab, "small")
        assert lab.store.trial("small", 1).status is TrialStatus.APPROVED
        assert journalled(folder) == []
        lift_emergency_stop(folder, by="ada")
        assert resume_campaign(lab, "small").status == "completed"
        assert lab.store.trial("small", 1).key == "small/1/2"


def campaign_of_one():
    from orchestrator.store import NewTrial

    proposal = Campaign(small_spec()).proposals(1)[0]
    return [NewTrial(proposal.candidate, proposal.origin, TrialStatus.APPROVED, proposal.decision)]


def test_one_of_several_cyclers_is_stopped_and_the_others_finish(folder):
    """Only what was asked for is stopped; the campaign starts nothing, yet takes in what ends elsewhere."""
    cyclers = (CyclerSpec("a", "replay", {**OPTIONS, "channels": 1}), CyclerSpec("b", "replay", {**OPTIONS, "channels": 1}))
    with Lab.open(folder) as lab:
        begin(lab, cyclers=cyclers)
        assert emergency_stop(lab, "a", reason="smoke", by="ada").answers == {"a": None}
        report = advance_campaign(lab, "small")
        assert report.status == "needs_attention"
    assert (journalled(folder, "a"), journalled(folder, "b")) == (["stopped"], ["running"])


def test_a_record_is_taken_in_once_whatever_is_killed_between(at_work):
    """Committed but not yet moved: the next one to look moves it and writes nothing."""
    emergency_stop_folder(at_work, reason="smoke", by="ada")
    pending = next((at_work / "estop" / "pending").glob("*.json"))
    content = pending.read_text()
    assert len(recorded(at_work)) == 1
    pending.write_text(content)
    assert len(recorded(at_work)) == 1
    assert not pending.exists()
    assert [path.name for path in (at_work / "estop" / "recorded").iterdir()] == [pending.name]


@pytest.mark.parametrize(("age_s", "events"), [(10, 0), (120, 1)])
def test_the_record_of_a_killed_command_is_taken_in_when_it_is_surely_dead(at_work, age_s, events):
    """A record whose answers are still coming in is left to its program, for a minute."""
    now = datetime.now(UTC)
    emergency_stop_folder(at_work, reason="smoke", by="ada")
    next((at_work / "estop" / "pending").glob("*.json")).unlink()
    at = (now - timedelta(seconds=age_s)).isoformat()
    keep_record(at_work, StopRecord("x", STOPPED, at, "ada", "smoke", 1.0, {"replay": "sent"}, finished=False))
    with Lab.open(at_work, now=lambda: now) as lab:
        assert len(lab.store.events(kinds=(STOPPED,))) == events
        lift_emergency_stop(at_work, by="ada")
        take_in(lab.store, at_work)
        assert len(lab.store.events(kinds=(STOPPED,))) == 1


def test_several_that_take_records_in_at_once_write_each_once(at_work):
    """Eight threads, each with a store of its own."""
    at = "2026-11-23T00:00:00+00:00"
    for n in range(5):
        keep_record(at_work, StopRecord(f"r{n}", STOPPED, at, "ada", "smoke", 1.0, {"replay": "stopped"}))
    stores = [TrialStore.open(at_work / "voltloop.db") for _ in range(8)]
    threads = [threading.Thread(target=take_in, args=(store, at_work)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(event.data["id"] for event in stores[0].events(kinds=(STOPPED,))) == [f"r{n}" for n in range(5)]
    for store in stores:
        store.close()


def test_a_folder_that_cannot_be_written_does_not_keep_the_stop_from_being_sent(at_work, command):
    """Without the latch a person must see to it that no tick starts anything: exit code 4."""
    (at_work / "estop").write_text("in the way")
    code, out, err = command("--lab", at_work)
    assert (code, journalled(at_work)) == (4, ["stopped", "stopped"])
    assert "NOT latched" in out
    assert "end `voltloop serve`" in err


def test_a_latch_that_cannot_be_read_holds(at_work):
    """Doubt is no permission."""
    emergency_stop_folder(at_work, reason="smoke", by="ada")
    next((at_work / "estop" / "latched").glob("*.json")).write_text('{"id": "cut sh')
    assert "cannot be read" in EmergencyLatch(at_work).reason_for("replay")
    with Lab.open(at_work) as lab:
        assert advance_campaign(lab, "small").status == "needs_attention"


def test_lifting_what_is_not_latched_says_what_is(at_work, command):
    """A misspelt name does not lift another cycler's latch."""
    assert command("--lift", "--lab", at_work)[:2] == (0, "nothing was latched\n")
    emergency_stop_folder(at_work, reason="smoke", by="ada")
    with pytest.raises(CyclerError, match=r"'replya' is not latched by itself. Latched: replay, \* "):
        lift_emergency_stop(at_work, "replya", by="ada")
    with pytest.raises(StoreError, match="there is no lab"):
        lift_emergency_stop(at_work / "nowhere", by="ada")


def test_the_roster_follows_the_campaigns(folder):
    """Cyclers of campaigns that have ended are no longer sent to, those of a new one are."""
    with Lab.open(folder) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=1)))
        assert resume_campaign(lab, "small").status == "completed"
        start_campaign(lab, small_spec(name="next", cyclers=(CyclerSpec("rack", "replay", OPTIONS),)))
    assert list(json.loads((folder / "cyclers.json").read_text())["campaigns"]) == ["next"]
    assert set(emergency_stop_folder(folder, reason="smoke", by="ada").answers) == {"rack"}


def test_recording_soon_says_why_it_could_not(at_work):
    """The reason is the database's own."""
    emergency_stop_folder(at_work, reason="smoke", by="ada")
    with sqlite3.connect(at_work / "voltloop.db", isolation_level=None) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert "is locked" in record_soon(at_work)
        connection.execute("ROLLBACK")
    assert record_soon(at_work) is None
    assert len(recorded(at_work)) == 1
