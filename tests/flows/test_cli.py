"""The command `voltloop`: exit codes, one message per fault, nothing half-written."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import main
from flows.examples import TEMPLATES
from flows.lab import Lab
from tests.flows.conftest import ROWS


@pytest.fixture
def voltloop(tmp_path, monkeypatch, capsys):
    """Run the command in a folder of its own; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["voltloop", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def spec_file(tmp_path) -> Path:
    """A replayed campaign of four trials as a file."""
    table = tmp_path / "rows.csv"
    table.write_text("x,result,hours\n" + "".join(f"{r['x']},{r['result']},{r['hours']}\n" for r in ROWS))
    file = tmp_path / "small.toml"
    file.write_text("""\
name = "small"
[space]
table = "rows.csv"
features = ["x"]
[[objectives]]
metric = "result"
goal = "maximize"
threshold = -50.0
[budget]
trials = 4
[[cyclers]]
name = "replay"
kind = "replay"
table = "rows.csv"
target = "result"
noise_sd = 1.0
duration_h = "hours"
channels = 2
""")
    return file


def test_a_campaign_from_file_to_report(voltloop, spec_file, tmp_path):
    """check, run, status, recommend, report: each does what it says and exits 0."""
    assert voltloop("check", spec_file)[0] == 0
    code, out, _ = voltloop("run", spec_file, "--lab", "l", "--json")
    result = json.loads(out.splitlines()[-1])
    assert (code, result["status"], len(result["trials"])) == (0, "completed", 4)
    assert Path(result["report"]).is_file()
    code, out, _ = voltloop("status", "--lab", "l", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["front_predicted"]
    code, out, _ = voltloop("recommend", "small", "--lab", "l", "--epsilon", "result>=-60", "--json")
    assert (code, json.loads(out)["trial"] in range(1, 5)) == (0, True)
    assert voltloop("report", "small", "--lab", "l", "-o", tmp_path / "r.html")[0] == 0
    assert (tmp_path / "r.html").read_text().lstrip().lower().startswith("<!doctype html")


def test_a_name_that_is_taken_points_to_resume(voltloop, spec_file):
    """`run` of a campaign that is there exits 2; `resume` of one that ended changes nothing."""
    voltloop("run", spec_file, "--lab", "l")
    code, _, err = voltloop("run", spec_file, "--lab", "l")
    assert (code, "voltloop resume small" in err) == (2, True)
    assert "voltloop resume small --lab l" in voltloop("check", spec_file, "--lab", "l")[1]
    code, out, _ = voltloop("resume", "small", "--lab", "l", "--json")
    assert (code, json.loads(out.splitlines()[-1])["status"]) == (0, "completed")


def test_ticks_advance_a_started_campaign(voltloop, spec_file):
    """`start` registers, each `tick` does what is due."""
    assert voltloop("start", spec_file, "--lab", "l")[0] == 0
    for _ in range(6):
        assert voltloop("tick", "small", "--lab", "l")[0] == 0
    assert json.loads(voltloop("status", "small", "--lab", "l", "--json")[1].splitlines()[-1])["status"] == "completed"


def test_told_results_enter_whole_or_not_at_all(voltloop, spec_file, tmp_path):
    """A faulty row keeps the whole file out, and is named."""
    voltloop("start", spec_file, "--lab", "l")
    (tmp_path / "old.csv").write_text("id,x,result,result_sem\nrow7,7.0,9.5,0.5\nrow99,3.0,1.0,0.5\n")
    code, _, err = voltloop("tell", "small", "old.csv", "--lab", "l")
    assert (code, "old.csv: row 2" in err) == (2, True)
    (tmp_path / "old.csv").write_text("id,x,result,result_sem\nrow7,7.0,9.5,0.5\n")
    assert voltloop("tell", "small", "old.csv", "--lab", "l")[:2] == (0, "small: 1 results taken in as trials 1 to 1\n")


def test_stop_channels_and_approve_speak_to_the_store(voltloop, spec_file):
    """A stop is noted, a channel quarantined and released, a trial that waits for nobody cannot be approved."""
    voltloop("start", spec_file, "--lab", "l")
    voltloop("tick", "small", "--lab", "l")
    assert voltloop("channels", "quarantine", "replay", "2", "--reason", "smell", "--lab", "l")[0] in (0, 2)
    assert "replay/1" in voltloop("channels", "list", "--lab", "l")[1]
    assert voltloop("approve", "small", 1, "--lab", "l")[0] == 2
    assert voltloop("stop", "small", "--reason", "enough", "--lab", "l")[0] == 0
    voltloop("resume", "small", "--lab", "l")
    assert json.loads(voltloop("status", "--lab", "l", "--json")[1].splitlines()[-1])["status"] == "stopped"


BAD = {
    "unknown parameter": ('features = ["x"]', 'features = ["y"]', "'y' is not a column"),
    "objective nobody produces": ('metric = "result"', 'metric = "glory"', "nothing produces the metric 'glory'"),
    "objective this cycler cannot give": (
        'metric = "result"',
        'metric = "charge_time_min"',
        "nothing produces the metric 'charge_time_min'. Known: result",
    ),
    "missing table": ('table = "rows.csv"\nfeatures', 'table = "gone.csv"\nfeatures', "there is no file"),
    "unknown cycler": ('kind = "replay"', 'kind = "replya"', "'replya' is no kind of cycler. Known: replay, simulated"),
    "unknown keyword": ("channels = 2", "chanels = 2", "chanels: is not a setting of a replay cycler"),
    "no budget": ("trials = 4", "trials = 0", "trials: must be at least 1 (got 0)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_specs_exit_2_and_write_nothing(voltloop, spec_file, tmp_path, case):
    """One message that names the field, what was given and what to do; no lab folder appears."""
    old, new, message = BAD[case]
    spec_file.write_text(spec_file.read_text().replace(old, new))
    for command in (("check", spec_file), ("run", spec_file, "--lab", "l"), ("start", spec_file, "--lab", "l")):
        code, _, err = voltloop(*command)
        assert code == 2
        assert message in err
        assert "Traceback" not in err
    assert not (tmp_path / "l").exists()


CHARGING_BAD = {
    "reversed bounds": (
        "lower = 2.5\nupper = 8.0",
        "lower = 9.5\nupper = 8.0",
        "lower must be below upper (got lower = 9.5, upper = 8)",
    ),
    "infeasible constraints": (
        "[space]",
        '[space]\nconstraints = ["c1 >= 6", "c1 + c2 <= 5"]',
        "no point inside the bounds keeps all of",
    ),
    "unknown parameter": ("[space]", '[space]\nconstraints = ["c1 >= c9"]', "unknown parameter 'c9'"),
    "safe constraint without seed": ("[[safe_seed]]", "[[no_seed]]", "safe_seed: is missing"),
    "step past a limit": ("max_voltage_V = 3.65", "max_voltage_V = 3.5", "3.6 V is past the limit max_voltage_V = 3.5 V"),
}


@pytest.mark.parametrize("case", CHARGING_BAD)
def test_bad_charging_specs_name_the_field_and_the_line(voltloop, tmp_path, case):
    """The faults of a fast-charging spec that a scientist makes."""
    voltloop("init", "mine", "-o", "mine.toml")
    old, new, message = CHARGING_BAD[case]
    text = (tmp_path / "mine.toml").read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new))
    code, _, err = voltloop("run", "mine.toml", "--lab", "l")
    assert code == 2
    assert message in err
    assert not (tmp_path / "l").exists()


def test_a_missing_spec_and_a_missing_lab_are_named(voltloop):
    """Files that are not there get a message with their name."""
    assert "there is no spec file 'no.toml'" in voltloop("run", "no.toml")[2]
    code, _, err = voltloop("status", "--lab", "nowhere")
    assert (code, "there is no lab in" in err) == (2, True)


def test_a_lab_of_a_newer_schema_is_left_alone(voltloop, spec_file, tmp_path):
    """An older program neither reads nor changes what it does not understand."""
    voltloop("start", spec_file, "--lab", "l")
    database = tmp_path / "l" / "voltloop.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE voltloop_schema SET version_num = '9999'")
    before = database.read_bytes()
    code, _, err = voltloop("tick", "small", "--lab", "l")
    assert (code, "9999" in err, database.read_bytes() == before) == (2, True, True)


def test_a_locked_database_is_waited_for_and_then_named(spec_file, tmp_path):
    """Past its timeout the message says which file is locked."""
    from flows.control import start_campaign
    from flows.spec_check import check_file
    from orchestrator.domain.errors import StoreError

    with Lab.open(tmp_path / "l", busy_timeout_s=0.2) as lab:
        start_campaign(lab, check_file(spec_file))
        blocker = sqlite3.connect(tmp_path / "l" / "voltloop.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"voltloop\.db"):
            lab.store.log("anything", lab_time_h=0.0)
        blocker.execute("ROLLBACK")
        blocker.close()
        assert [c.name for c in lab.store.campaigns()] == ["small"]


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_check_without_a_fault(voltloop, template, public_data):
    """What `init` writes can run as it is, and is never written over."""
    assert voltloop("init", "mine", "--template", template)[0] == 0
    assert voltloop("check", "mine.toml")[0] == 0
    code, _, err = voltloop("init", "mine", "--template", template)
    assert (code, "is there already" in err) == (2, True)


def test_files_as_spreadsheets_save_them(voltloop, spec_file, tmp_path):
    """A byte order mark is no fault; semicolons are named."""
    spec_file.write_text("\ufeff" + spec_file.read_text(), encoding="utf-8")
    assert voltloop("check", spec_file)[0] == 0
    table = tmp_path / "rows.csv"
    table.write_text(table.read_text().replace(",", ";"))
    code, _, err = voltloop("check", spec_file)
    assert (code, "separates its columns by semicolons" in err) == (2, True)


def test_unknown_words_exit_2(voltloop):
    """Unknown commands, templates and options are bad input, not crashes."""
    assert voltloop("fly")[0] == 2
    assert voltloop("run")[0] == 2
    assert voltloop("init", "a b")[0] == 2
    assert voltloop("init", "a", "--template", "gold")[0] == 2


def test_an_interrupt_says_how_to_go_on(spec_file, tmp_path):
    """Ctrl-C during a run leaves it resumable and exits 130."""
    check = (
        "import sys, flows.control as c; sys.argv = ['voltloop', 'run', sys.argv[1], '--lab', sys.argv[2]]\n"
        "def stop(*a, **k): raise KeyboardInterrupt\n"
        "c.advance_campaign = stop\n"
        "from flows.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", check, str(spec_file), str(tmp_path / "l")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert "voltloop resume" in done.stderr
    assert "Traceback" not in done.stderr
