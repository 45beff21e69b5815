"""What the terminal tells a person: who asked for what, what holds a campaign up, which command goes on with it."""

import json
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from adapters.replay import ReplayCycler
from flows import Lab, advance_campaign, resume_campaign, start_campaign
from flows.campaign import TickReport
from flows.cli import main
from flows.control import request_stop
from flows.estop import emergency_stop, emergency_stop_folder, lift_emergency_stop
from flows.progress import following, summary
from flows.report import report_data
from flows.result import campaign_result
from flows.terminal import naming_lab
from orchestrator.domain import Approval, Budget, Objective
from tests.flows.conftest import ROWS, small_spec


@pytest.fixture
def at_work(folder):
    """A lab whose campaign `small` has tests running on both channels of its replay."""
    with Lab.open(folder) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=2)))
        advance_campaign(lab, "small")
    return folder


@pytest.fixture
def voltloop(at_work, monkeypatch, capsys):
    """The command in that lab: exit code, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["voltloop", *map(str, arguments), "--lab", str(at_work)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def shown(lab, width=80) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(summary(lab, campaign_result(lab, "small")), crop=False)
    return captured.get()


@pytest.mark.parametrize("named", [("replay", "2"), ("replay/2",)])
def test_a_channel_with_a_test_on_it_is_said_to_have_one(voltloop, named):
    """Quarantine says how to end the test, release that it still runs; both names of a channel will do."""
    _, out, _ = voltloop("channels", "quarantine", *named, "--reason", "smells")
    assert "small trial 2 runs on it and goes on; `voltloop stop small --trial 2" in out
    code, out, _ = voltloop("channels", "release", *named)
    assert (code, out) == (0, "replay/2 is back in use; small trial 2 still runs on it\n")
    code, _, err = voltloop("channels", "release", "replay")
    assert (code, "name the channel too: replay/CHANNEL" in err) == (2, True)


def test_a_channel_nobody_is_on_is_free(voltloop):
    """Once its test has ended."""
    voltloop("channels", "quarantine", "replay/1", "--reason", "smells")
    voltloop("resume", "small")
    assert voltloop("channels", "release", "replay/1")[1] == "replay/1 is free\n"


def test_stops_asked_for_are_seen_at_once_and_by_whom(voltloop, at_work):
    """Status shows what is pending, a second request which one stands, the end who asked for it."""
    voltloop("stop", "small", "--trial", 1, "--reason", "smells", "--by", "ada")
    assert "trial 1: stop asked for by ada: smells; not confirmed yet" in voltloop("status")[1]
    assert (
        "is to stop already, asked for by ada: smells: that stands"
        in voltloop("stop", "small", "--trial", 1, "--reason", "hot", "--by", "bob")[1]
    )
    voltloop("stop", "small", "--reason", "enough", "--by", "eve")
    assert "stop of the campaign asked for by eve: enough; not confirmed yet" in voltloop("status")[1]
    voltloop("tick", "small")
    _, out, _ = voltloop("status")
    assert "small: stopped (enough; asked for by eve)" in out
    assert "trial 1: smells (asked for by ada)" in out
    with Lab.open(at_work) as lab:
        assert report_data(lab, "small").status_reason == "enough; asked for by eve"
    code, _, err = voltloop("resume", "small")
    assert (code, "has ended (stopped: enough; asked for by eve) and cannot go on" in err) == (0, True)


def test_the_latch_is_shown_as_it_stands(voltloop, at_work):
    """Before any tick has looked, while the campaign waits, and no more once it is lifted."""
    emergency_stop_folder(at_work, reason="fire", by="ada")
    for command in (("channels", "list"), ("status",)):
        _, out, _ = voltloop(*command)
        assert out.count("by ada: fire") == 1
        assert f"`voltloop estop --lift [--cycler NAME] --lab {at_work}`" in out
    code, _, err = voltloop("tick", "small")
    assert (code, err.count("by ada: fire"), "lift it with" in err) == (4, 1, True)
    _, out, _ = voltloop("estop", "--lift")
    assert f"'small' waits: `voltloop resume small --lab {at_work}`" in out
    _, out, _ = voltloop("status")
    assert "it has been lifted" in out
    assert "lift it with" not in out
    assert "by ada" not in voltloop("channels", "list")[1]


def test_what_waits_for_a_person_says_how_to_go_on(folder, voltloop):
    """A tick that ends with exit code 4 gives the reason and the command that settles it."""
    voltloop("resume", "small")
    with Lab.open(folder) as lab:
        start_campaign(lab, replace(small_spec(budget=Budget(trials=2), approval=Approval("every")), name="asked"))
    voltloop("tick", "asked")
    code, _, err = voltloop("tick", "asked")
    assert code == 4
    assert "asked: 2 proposed trials wait for approval" in err
    assert f"asked: to do: `voltloop approve asked --all --lab {folder}`" in err


def test_progress_counts_what_the_budget_counts(folder):
    """A tick that was skipped has looked at no trial, and trials that an emergency stop ended cost nothing."""
    console = Console(width=200, force_terminal=False)
    with Lab.open(folder) as lab:
        start_campaign(lab, small_spec(budget=Budget(trials=4)))
        advance_campaign(lab, "small")
        emergency_stop(lab, reason="fire", by="ada")
        advance_campaign(lab, "small")
        lift_emergency_stop(folder, by="ada")
        with console.capture() as captured, following(lab, "small", console) as on_tick:
            with lab.store.campaign_lock("small", "vm:123"):
                on_tick(advance_campaign(lab, "small"))
                on_tick(TickReport("small", "running", skipped=True))
            resume_campaign(lab, "small", on_tick)
    said = captured.get().splitlines()
    assert said[0] == "small: another tick is at work (vm:123); this one takes over when that has ended"
    assert said[-1].startswith("small: 4/4 trials, 0 channels busy")


def test_a_lab_that_cannot_be_written_says_that_nothing_was_recorded(voltloop, at_work):
    """The stop is sent all the same; that it is on record would be a lie."""
    (at_work / "estop").write_text("in the way")
    code, out, _ = voltloop("estop", "--reason", "fire")
    assert (code, "nothing of it could be recorded" in out, "kept in" in out) == (4, True, False)
    assert voltloop("estop", "--lift")[:2] == (0, "nothing was latched\n")


def test_a_lab_whose_database_is_gone_is_not_begun_anew(voltloop, at_work, tmp_path):
    """Its tests may still run: every command says that a backup is to be restored, and nothing is made."""
    spec = tmp_path / "rows.csv"
    spec.write_text("x,result\n1,2\n2,3\n")
    (tmp_path / "new.toml").write_text(
        'name = "new"\n[space]\ntable = "rows.csv"\nfeatures = ["x"]\n[[objectives]]\nmetric = "result"\ngoal = "maximize"\n'
        '[budget]\ntrials = 1\n[[cyclers]]\nname = "replay"\nkind = "replay"\ntable = "rows.csv"\ntarget = "result"\n'
    )
    (at_work / "voltloop.db").rename(tmp_path / "kept.db")
    for file in at_work.glob("voltloop.db-*"):
        file.unlink()
    for command in (
        ("status",),
        ("db", "check"),
        ("tick", "small"),
        ("run", tmp_path / "new.toml"),
        ("start", tmp_path / "new.toml"),
    ):
        code, _, err = voltloop(*command)
        assert (code, "'voltloop.db' is missing" in err, "backup" in err) == (2, True, True)
    assert not (at_work / "voltloop.db").exists()
    (tmp_path / "kept.db").rename(at_work / "voltloop.db")
    assert voltloop("resume", "small")[0] == 0


def test_commands_name_the_lab_that_was_named(monkeypatch):
    """Those that name one already, and what is no command, stay as they are."""
    monkeypatch.setattr(sys, "argv", ["voltloop", "status", "--lab", "my lab"])
    assert naming_lab("`voltloop resume x` or `voltloop run S --lab l`; `x`") == (
        "`voltloop resume x --lab 'my lab'` or `voltloop run S --lab l`; `x`"
    )
    monkeypatch.setattr(sys, "argv", ["voltloop"])
    assert naming_lab("`voltloop resume x`") == "`voltloop resume x`"


def test_a_narrow_terminal_breaks_no_metric_in_the_middle(folder):
    """Names break at their underscores; without a front none is spoken of."""
    rows = tuple({"x": row["x"], "long_named_capacity_Ah": row["result"], "longer_named_capacity_retention": 1.0} for row in ROWS)
    cycler = ReplayCycler(rows, {m: m for m in ("long_named_capacity_Ah", "longer_named_capacity_retention")}, channels=1)
    objectives = tuple(Objective(m, "maximize") for m in ("long_named_capacity_Ah", "longer_named_capacity_retention"))
    with Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, small_spec(objectives=objectives, cyclers=(), budget=Budget(trials=1)))
        out = shown(lab, width=60)
    assert "front: none yet" in out
    assert all(part in out for part in ("long_named_", "capacity_Ah", "longer_", "named_", "retention"))


def test_a_stop_of_a_trial_is_not_hidden_by_the_campaign_s(at_work, voltloop):
    """Each is told by itself, and a trial may be asked to stop though its campaign is."""
    with Lab.open(at_work) as lab:
        request_stop(lab, "small", None, "enough", by="eve")
    assert voltloop("stop", "small", "--trial", 2, "--reason", "hot", "--by", "bob")[1].startswith("noted: small trial 2")
    out = voltloop("status")[1]
    assert "trial 2: stop asked for by bob: hot" in out
    assert json.loads(voltloop("status", "--json")[1].splitlines()[-1])["status"] == "running"
