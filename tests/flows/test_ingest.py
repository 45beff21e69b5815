"""`voltloop ingest`: each file whole or not there, what was found said, nothing repaired that nobody asked for."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from adapters.formats import open_cycler_file
from flows.cli import main
from orchestrator.domain.quality import QualityFlag

ROWS = 40


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
    assert (mended["quality_flags"] & 1).sum() == 9
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
    assert (written("in/milli.parquet")["quality_flags"] & QualityFlag.UNIT_SUSPECT).all()
    assert (written("in/turned.parquet")["current_ampere"] == -1.0).all()
    assert written("in/mv.parquet")["voltage_volt"].max() == 4.0
    assert len(written("in/twice.parquet")["voltage_volt"]) == ROWS // 2 == result(out)["ingested"][3]["rows_written"]


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
        "import resource, sys; sys.argv = ['voltloop', 'ingest', 'long.csv', '--to', 'in']\n"
        "from flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(ran.stdout.splitlines()[-1]) < 600
    assert pq.read_metadata(tmp_path / "in" / "long.parquet").num_rows == 4_000_000
