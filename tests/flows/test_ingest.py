"""`voltloop ingest`: each file whole or not there, what was found said, nothing repaired that nobody asked for."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from adapters.formats import open_cycler_file
from flows.cli import main
from flows.ingest import Ingested, ingest_files
from orchestrator.domain.quality import QualityFlag
from orchestrator.domain.recording import Recording
from orchestrator.features import cycle_summary

ROWS = 40
ROOT = Path(__file__).parents[2]


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


def csv(path: Path, **replaced) -> Path:
    """A short sound discharge with its counters, as Battery Data Format CSV."""
    time = np.arange(ROWS) * 10.0
    columns = {
        "test_time_second": time,
        "voltage_volt": 4.0 - 0.01 * np.arange(ROWS),
        "current_ampere": np.full(ROWS, -1.0),
        "net_capacity_ah": -time / 3600,
        "cycle_count": np.full(ROWS, 3),
        **replaced,
    }
    lines = [",".join(columns), *(",".join(repr(v.item()) for v in row) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


def result(out):
    return json.loads(out.splitlines()[-1])


def written(path):
    return {name: column.to_numpy() for name, column in zip(pq.read_schema(path).names, pq.read_table(path).columns, strict=True)}


def metadata(path):
    return json.loads(pq.read_schema(path).metadata[b"battery_data_format"])


def test_all_real_files_are_taken_in(voltloop, public_data, tmp_path):
    """Seven files give seven Parquet files with every row, every value and a flag, and the summary says what was mapped."""
    files = sorted((public_data / "raw").iterdir())
    code, out, err = voltloop("ingest", *files, "--to", "in", "--json")
    assert (code, err) == (0, "")
    taken = result(out)["ingested"]
    assert [one["rows"] for one in taken] == [13, 4, 60, 25162, 15, 18700, 207]
    assert sorted(p.name for p in Path("in").iterdir()) == sorted(f"{f.stem}.parquet" for f in files)
    for file, one in zip(files, taken, strict=True):
        read = list(open_cycler_file(file).batches())
        kept = written(one["output"])
        assert kept.pop("quality_flags").tolist() == [0] * one["rows"]
        for name, values in kept.items():
            assert np.array_equal(values, np.concatenate([batch[name] for batch in read]), equal_nan=True)
        said = metadata(one["output"])
        assert said["source"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest() == one["source_sha256"]
        assert said["mapping"] == one["mapping"]
        assert one["mapping"]
    ndax = next(one for one in taken if one["format"] == "neware_ndax")
    assert ndax["step_time"] == {"falls": 479, "falls_over_1_s": 340, "within_a_step": 0}


def test_the_summary_is_readable(voltloop, public_data):
    """Rows, cycles, capacities, mapping, what was left out, and findings stand in the text."""
    code, out, _ = voltloop("ingest", public_data / "raw" / "neware_nw4-120-1-6-53.ndax", "--to", "in")
    assert code == 0
    mapped = ("voltage_V -> voltage_volt", "not mapped: step_type")
    for words in ("18700 rows", "150 cycles", "Ah charged", *mapped, "340 by more than", "nothing wrong"):
        assert words in out


def test_it_goes_into_the_lab_and_again_changes_nothing(voltloop, tmp_path):
    """Without --to the lab's folder takes it; the same once more is no fault; other content is, unless forced."""
    file = csv(tmp_path / "cell.csv")
    assert voltloop("ingest", file, "--lab", "l")[0] == 0
    output = tmp_path / "l" / "ingested" / "cell.parquet"
    before = output.read_bytes()
    code, out, _ = voltloop("ingest", file, "--lab", "l", "--json")
    assert (code, result(out)["ingested"][0]["unchanged"], output.read_bytes() == before) == (0, True, True)
    csv(file, current_ampere=np.full(ROWS, -1.01))
    code, _, err = voltloop("ingest", file, "--lab", "l")
    assert (code, "--force" in err, output.read_bytes() == before) == (2, True, True)
    assert voltloop("ingest", file, "--lab", "l", "--force")[0] == 0
    assert written(output)["current_ampere"][0] == -1.01
    assert [p.name for p in output.parent.iterdir()] == ["cell.parquet"]


def test_what_was_taken_in_can_be_taken_in_again(voltloop, tmp_path):
    """Battery Data Format Parquet with flags keeps its flags."""
    voltage = 4.0 - 0.01 * np.arange(ROWS)
    voltage[7] = 9.0
    voltloop("ingest", csv(tmp_path / "cell.csv", voltage_volt=voltage), "--to", "one")
    assert voltloop("ingest", "one/cell.parquet", "--to", "two")[0] == 0
    assert np.array_equal(written("one/cell.parquet")["quality_flags"], written("two/cell.parquet")["quality_flags"])
    assert np.flatnonzero(written("two/cell.parquet")["quality_flags"]).tolist() == [7]


def test_nothing_is_repaired_unasked_and_what_is_asked_is_noted(voltloop, tmp_path):
    """Faulty rows stay where they are, flagged; with repairs they are mended, and the metadata say what was done."""
    time = np.arange(ROWS) * 10.0
    time[20:30] = time[20:30][::-1]
    file = csv(tmp_path / "cell.csv", test_time_second=time, net_capacity_ah=-time / 3600)
    voltloop("ingest", file, "--to", "asis")
    kept = written("asis/cell.parquet")
    assert np.array_equal(kept["test_time_second"], time)
    assert np.flatnonzero(kept["quality_flags"] & 1).tolist() == list(range(21, 30))
    assert metadata("asis/cell.parquet")["quality"]["findings"][0]["count"] == (np.diff(time) < 0).sum() == 9
    code, out, _ = voltloop("ingest", file, "--to", "mended", "--repair", "time-order", "--repair", "drop-duplicates", "--json")
    mended = written("mended/cell.parquet")
    assert (code, np.array_equal(mended["test_time_second"], np.sort(time))) == (0, True)
    assert not mended["quality_flags"].any()
    repairs = metadata("mended/cell.parquet")["repairs"]
    assert [(r["repair"], r["rows"]) for r in repairs] == [("time-order", 10), ("drop-duplicates", 0)]
    assert result(out)["ingested"][0]["repairs"] == repairs
    assert (mended["cycle_count"] == 3).all()


def test_units_signs_and_repeated_rows_are_mended_when_asked(voltloop, tmp_path):
    """MA taken for A, a sign turned, mV taken for V, repeated rows: each has its repair."""
    csv(tmp_path / "milli.csv", current_ampere=np.full(ROWS, -1000.0))
    csv(tmp_path / "turned.csv", current_ampere=np.full(ROWS, 1.0))
    csv(tmp_path / "mv.csv", voltage_volt=4000.0 - 10 * np.arange(ROWS))
    twice = np.repeat(np.arange(ROWS // 2), 2)
    csv(tmp_path / "twice.csv", test_time_second=twice * 10.0, voltage_volt=4.0 - 0.01 * twice, net_capacity_ah=-twice / 360.0)
    names = ("milli", "turned", "mv", "twice")
    every = [part for name in ("current-unit", "current-sign", "voltage-unit", "drop-duplicates") for part in ("--repair", name)]
    code, out, _ = voltloop("ingest", *(f"{n}.csv" for n in names), "--to", "in", *every, "--json")
    assert code == 0
    done = [{r["repair"]: r["rows"] for r in one["repairs"] if r["rows"]} for one in result(out)["ingested"]]
    assert done == [{"current-unit": ROWS}, {"current-sign": ROWS}, {"voltage-unit": ROWS}, {"drop-duplicates": ROWS // 2}]
    assert (written("in/milli.parquet")["current_ampere"] == -1.0).all()
    assert not any(written(f"in/{name}.parquet")["quality_flags"].any() for name in names)
    assert (written("in/turned.parquet")["current_ampere"] == -1.0).all()
    assert written("in/mv.parquet")["voltage_volt"].max() == 4.0
    assert len(written("in/twice.parquet")["voltage_volt"]) == ROWS // 2 == result(out)["ingested"][3]["rows_written"]


def cycled():
    """Five sound cycles of a 1 Ah cell without counters, as Battery Data Format columns."""
    up = 3.0 + 0.001 * np.arange(361)
    current = np.tile(np.repeat([1.0, -1.0], 361), 5)
    return {
        "test_time_second": np.arange(len(current)) * 10.0,
        "voltage_volt": np.tile(np.concatenate([up, up[::-1]]), 5) + 0.02 * current,
        "current_ampere": current,
        "cycle_count": np.repeat(np.arange(1, 6), 722),
    }


def swapped(columns):
    """Two blocks of rows in each other's place."""
    order = np.r_[0:800, 1000:1200, 800:1000, 1200 : len(columns["cycle_count"])]
    return {name: values[order] for name, values in columns.items()}


def milliampere(columns):
    """Current a thousand times too large."""
    return {**columns, "current_ampere": columns["current_ampere"] * 1000.0}


SPOILED = {  # how rows are spoiled, the repair, a check that finds it, the rows it touches
    "mA": (milliampere, "current-unit", "current_unit", 3610),
    "mV": (lambda c: {**c, "voltage_volt": c["voltage_volt"] * 1000.0}, "voltage-unit", "voltage_unit", 3610),
    "order": (swapped, "time-order", "time_backwards", 400),
    "sign": (lambda c: {**c, "current_ampere": -c["current_ampere"]}, "current-sign", "current_sign", 3610),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_a_repaired_file_gives_the_features_of_the_sound_one(voltloop, tmp_path, fault):
    """Rows are checked again after a repair: no flag stays, every cycle is summed up, both reports are kept and shown."""
    spoil, repair, check, touched = SPOILED[fault]
    csv(tmp_path / "sound.csv", **cycled(), net_capacity_ah=np.zeros(3610))
    csv(tmp_path / "spoiled.csv", **spoil(cycled()), net_capacity_ah=np.zeros(3610))
    stated = ["--nominal-capacity-Ah", "1.0", "--column", "net_capacity_ah=ignore"]
    assert voltloop("ingest", "sound.csv", "--to", "in", *stated)[0] == 0
    code, out, err = voltloop("ingest", "spoiled.csv", "--to", "in", *stated, "--repair", repair, "--json")
    assert (code, err) == (0, "")
    sound, kept = written("in/sound.parquet"), written("in/spoiled.parquet")
    assert not kept["quality_flags"].any()
    summaries = [cycle_summary(Recording(columns=c, nominal_capacity_Ah=1.0)) for c in (sound, kept)]
    assert summaries[1].height == 5
    assert summaries[1]["rows_left_out"].sum() == 0
    assert_frame_equal(summaries[1], summaries[0], rel_tol=1e-12)
    one, said = result(out)["ingested"][0], metadata("in/spoiled.parquet")
    assert [(r["repair"], r["rows"]) for r in one["repairs"]] == [(repair, touched)]
    assert check in [finding["check"] for finding in one["findings"]]
    assert one["after_repair"]["findings"] == []
    assert said["quality_after_repair"] == one["after_repair"]
    assert said["quality"]["findings"] == one["findings"]
    assert "found after repair: nothing wrong" in voltloop("ingest", "spoiled.csv", "--to", "in", *stated, "--repair", repair)[1]


def test_flags_that_a_file_brought_along_go_with_the_repair_that_answers_them(voltloop, tmp_path):
    """Ingested as it is, then again with the repair: flags of the unit go, those of rows that are still wrong stay."""
    columns = milliampere(cycled())
    columns["voltage_volt"][7] = 9.0
    csv(tmp_path / "c.csv", **columns, net_capacity_ah=np.zeros(3610))
    stated = ["--nominal-capacity-Ah", "1.0", "--column", "net_capacity_ah=ignore"]
    voltloop("ingest", "c.csv", "--to", "one", *stated)
    first = written("one/c.parquet")["quality_flags"]
    assert ((first & QualityFlag.IMPOSSIBLE_CURRENT) > 0).all()
    assert voltloop("ingest", "one/c.parquet", "--to", "two", "--nominal-capacity-Ah", "1.0", "--repair", "current-unit")[0] == 0
    mended = written("two/c.parquet")["quality_flags"]
    assert np.flatnonzero(mended).tolist() == [7]
    assert mended[7] == QualityFlag.IMPOSSIBLE_VOLTAGE


def test_rows_repeated_out_of_order_are_left_out_once_they_are_in_order(voltloop, tmp_path):
    """Two downloads that overlap, one behind the other: sorted, then what repeats is left out."""
    columns = cycled()
    order = np.r_[0:800, 600:3610]
    csv(tmp_path / "c.csv", **{n: v[order] for n, v in columns.items()}, net_capacity_ah=np.zeros(3810))
    repairs = ("--column", "net_capacity_ah=ignore", "--repair", "time-order", "--repair", "drop-duplicates")
    code, out, _ = voltloop("ingest", "c.csv", "--to", "in", *repairs, "--json")
    kept = written("in/c.parquet")
    assert (code, result(out)["ingested"][0]["repairs"][1]["rows"]) == (0, 200)
    assert np.array_equal(kept["test_time_second"], columns["test_time_second"])
    assert np.array_equal(kept["current_ampere"], columns["current_ampere"])
    assert not kept["quality_flags"].any()


def test_a_killed_ingest_leaves_nothing_for_good(tmp_path):
    """What a process that was killed in the middle has left is gone after the next one into that folder."""
    csv(tmp_path / "cell.csv")
    script = (
        "import os, signal; from pathlib import Path; import flows.ingest as ingest\n"
        "ingest._put = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "list(ingest.ingest_files([Path('cell.csv')], Path('in')))"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    (left,) = (tmp_path / "in").iterdir()
    assert (ended.returncode, left.name.startswith(".voltloop-")) == (-signal.SIGKILL, True)
    assert next(iter(ingest_files([tmp_path / "cell.csv"], tmp_path / "in"))).rows == ROWS
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["cell.parquet"]


def test_a_name_as_long_as_a_file_s_can_be(tmp_path):
    """The temporary name does not grow with the stem: 241 characters are what all its neighbours take."""
    for length in (209, 241):
        file = csv(tmp_path / f"{'c' * length}.csv")
        (one,) = ingest_files([file], tmp_path / "in")
        assert isinstance(one, Ingested)
        assert one.output.is_file()
    assert len(list((tmp_path / "in").iterdir())) == 2


def test_columns_can_be_stated(voltloop, tmp_path):
    """A table whose headers say nothing is read as told."""
    (tmp_path / "odd.csv").write_text("when,U,J\n" + "".join(f"{10 * i},{4000 - i},{5}\n" for i in range(20)))
    stated = ["--column", "when=test_time_second [s]", "--column", "U=voltage_volt [mV]", "--column", "J=-current_ampere [mA]"]
    assert voltloop("ingest", "odd.csv", "--to", "in", *stated)[0] == 0
    assert written("in/odd.parquet")["current_ampere"][0] == -0.005
    assert written("in/odd.parquet")["voltage_volt"][0] == 4.0


def test_one_bad_file_does_not_stop_the_others(voltloop, tmp_path):
    """Good files are written, each bad one gets one message, and the exit code is 2."""
    csv(tmp_path / "good.csv")
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "garbage.ndax").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "folder").mkdir()
    code, out, err = voltloop("ingest", "empty.csv", "good.csv", "garbage.ndax", "gone.csv", "folder", "--to", "in", "--json")
    assert code == 2
    assert [Path(one["file"]).name for one in result(out)["failed"]] == ["empty.csv", "garbage.ndax", "gone.csv", "folder"]
    assert [line.split("'")[1] for line in err.splitlines()] == ["empty.csv", "garbage.ndax", "gone.csv", "folder"]
    assert "Traceback" not in err
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["good.parquet"]


BAD = {
    "one stem twice": (("a.csv", "b/a.csv", "--to", "in"), "as would"),
    "its own output": (("in.parquet", "--to", "."), "would be replaced"),
    "an unknown repair": (("a.csv", "--to", "in", "--repair", "everything"), "is no repair"),
    "a capacity below zero": (("a.csv", "--to", "in", "--nominal-capacity-Ah", "-2"), "positive number"),
    "a statement without meaning": (("a.csv", "--to", "in", "--column", "U"), "is not understood"),
    "a column stated twice": (("a.csv", "--to", "in", "--column", "U=ignore", "--column", "U=ignore"), "twice"),
    "a folder that is a file": (("a.csv", "--to", "a.csv"), "cannot be made"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_exit_2_and_write_nothing(voltloop, tmp_path, case):
    """One message that names the fault, before anything is written."""
    arguments, message = BAD[case]
    (tmp_path / "b").mkdir()
    csv(tmp_path / "a.csv"), csv(tmp_path / "b" / "a.csv"), csv(tmp_path / "in.parquet")
    before = sorted(p.as_posix() for p in tmp_path.rglob("*"))
    code, _, err = voltloop("ingest", *arguments)
    assert (code, message in err, "Traceback" in err) == (2, True, False)
    assert sorted(p.as_posix() for p in tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_a_long_csv_is_taken_in_with_bounded_memory(tmp_path):
    """80 MB of text stay far below what holding them as columns would take."""
    line = b"%d,3.7,-0.5,1\n"
    with (tmp_path / "long.csv").open("wb") as file:
        file.write(b"test_time_second,voltage_volt,current_ampere,cycle_count\n")
        for start in range(0, 4_000_000, 100_000):
            file.write(b"".join(line % i for i in range(start, start + 100_000)))
    script = (
        "import re, sys; sys.argv = ['voltloop', 'ingest', 'long.csv', '--to', 'in']\n"
        "from flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        # Not ru_maxrss: a child begins with its parent's.
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024)"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(ran.stdout.splitlines()[-1]) < 600
    assert pq.read_metadata(tmp_path / "in" / "long.parquet").num_rows == 4_000_000
