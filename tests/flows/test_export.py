"""`voltloop export`: a campaign as tables, recordings and an RO-Crate that a strict reader accepts."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import polars as pl
import pytest

from adapters.formats import open_cycler_file
from adapters.simulated import SimulatedCycler
from flows import Lab, run_campaign
from flows.cli import main
from flows.examples import demo_spec
from flows.export import export_campaign
from flows.unfinished import PREFIX
from orchestrator.domain.errors import CampaignError, SpecError, StoreError
from orchestrator.store.process import this_process
from tests.adapters.simulated.conftest import BenchCell
from tests.flows.conftest import replay, small_spec

CREATED = "https://w3id.org/ro/crate/1.1"


@pytest.fixture(scope="module")
def cycled(tmp_path_factory):
    """A finished campaign of two cells with recordings, on the bench cell."""
    folder = tmp_path_factory.mktemp("cycled") / "lab"
    with Lab.open(folder, cyclers=[SimulatedCycler(2, cell=BenchCell())]) as lab:
        spec = demo_spec(trials=2, channels=2, seed=0)
        run_campaign(lab, spec)
        yield lab, spec.name


def crate_faults(folder: Path) -> list[str]:
    """Every rule of RO-Crate 1.1 that a folder breaks."""
    said = json.loads((folder / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    graph = said["@graph"]
    ids = [entity["@id"] for entity in graph]
    by_id = {entity["@id"]: entity for entity in graph}
    faults = [] if said["@context"] == f"{CREATED}/context" else ["context"]
    faults += [f"twice: {i}" for i in set(ids) if ids.count(i) > 1]
    faults += [f"no type: {entity['@id']}" for entity in graph if "@type" not in entity]
    descriptor, root = by_id.get("ro-crate-metadata.json", {}), by_id.get("./", {})
    if descriptor.get("conformsTo") != {"@id": CREATED} or descriptor.get("about") != {"@id": "./"}:
        faults.append("descriptor")
    faults += [f"root has no {key}" for key in ("name", "description", "datePublished", "license") if not root.get(key)]
    if root.get("@type") != "Dataset":
        faults.append("root is no Dataset")
    for entity in graph:
        faults += [f"{entity['@id']} -> {target}" for target in _targets(entity) if not _resolves(target, by_id)]
    files = {entity["@id"]: entity for entity in graph if entity["@type"] == "File"}
    parts = [part["@id"] for part in root["hasPart"]]
    faults += [] if sorted(parts) == sorted(files) else ["hasPart is not the files"]
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {"ro-crate-metadata.json"}
    if there != {unquote(i) for i in files}:
        faults.append(f"files differ: {there ^ {unquote(i) for i in files}}")
    for i, entity in files.items():
        content = (folder / unquote(i)).read_bytes()
        if entity["sha256"] != hashlib.sha256(content).hexdigest() or entity["contentSize"] != str(len(content)):
            faults.append(f"{i} is another")
        if not entity["encodingFormat"]:
            faults.append(f"{i} has no format")
    return faults


def _targets(entity):
    for key, given in entity.items():
        for one in given if isinstance(given, list) else [given]:
            if isinstance(one, dict):
                assert set(one) == {"@id"}, f"{key} is nested: RO-Crate is flat"
                yield one["@id"]


def _resolves(target, by_id):
    return target in by_id or target == CREATED or target.startswith("http://schema.org/")


def test_an_export_is_a_sound_crate_with_recordings(cycled, tmp_path):
    """Every file is listed with its hash and nothing else is there; recordings are those of the lab, to the last bit."""
    lab, name = cycled
    made = export_campaign(
        lab, name, tmp_path / "out", csv=True, licence="CC-BY-4.0", authors=("Ada B <https://orcid.org/0>", "C D")
    )
    folder = made.folder
    assert crate_faults(folder) == []
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert made.files == len(names)
    assert {
        "trials.parquet",
        "trials.csv",
        "events.csv",
        "cycle_summaries.parquet",
        "specs/version_1.json",
        "report.html",
    } <= names
    for number in (1, 2):
        recorded = lab.recording(name, number).columns
        for suffix in ("parquet", "csv"):
            file = open_cycler_file(folder / f"recordings/trial_{number:04d}.bdf.{suffix}")
            read = [*file.batches()]
            for column, values in recorded.items():
                assert np.array_equal(np.concatenate([b[column] for b in read]), values, equal_nan=True)
    graph = {e["@id"]: e for e in json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]}
    assert graph["https://spdx.org/licenses/CC-BY-4.0"]["name"] == "CC-BY-4.0"
    assert graph["./"]["author"] == [{"@id": "https://orcid.org/0"}, {"@id": "#author-2"}]
    assert graph["#column-voltage_volt"]["unitCode"] == "V"
    assert graph["#campaign"]["@type"] == "CreateAction"
    assert "synthetic" in graph["./"]["keywords"]


def test_the_trials_table_says_what_the_store_knows(cycled, tmp_path):
    """Parameters, outcomes with their standard errors and sources, channels; Parquet and CSV alike."""
    lab, name = cycled
    folder = export_campaign(lab, name, tmp_path / "out").folder
    table, text = pl.read_parquet(folder / "trials.parquet"), pl.read_csv(folder / "trials.csv")
    trials = lab.store.trials(name)
    assert table["trial"].to_list() == text["trial"].to_list() == [1, 2]
    for row, trial in zip(table.to_dicts(), trials, strict=True):
        assert row["status"] == trial.status
        for parameter, value in trial.candidate.parameters.items():
            assert row[f"parameter {parameter}"] == value
        for metric, estimate in trial.outcome.items():
            assert (row[f"{metric} mean"], row[f"{metric} sem"]) == (estimate.mean, estimate.sem)
            assert row[f"{metric} source"] == "measured"
    assert pl.read_parquet(folder / "cycle_summaries.parquet").height == sum(
        len(lab.store.cycle_summaries(name, n)) for n in (1, 2)
    )
    assert pl.read_parquet(folder / "events.parquet").height == len(lab.store.events(name))


def test_the_same_campaign_gives_the_same_bytes(cycled, tmp_path):
    """Two exports of one campaign do not differ."""
    lab, name = cycled
    one, two = (export_campaign(lab, name, tmp_path / n).folder for n in ("one", "two"))
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert [(one / f).read_bytes() for f in files] == [(two / f).read_bytes() for f in files]


def test_a_campaign_without_recordings_or_trials_is_exported_too(lab, tmp_path):
    """A replayed campaign has no time series, one just registered has no trials: the crate is sound all the same."""
    lab.store.register_campaign(small_spec(name="empty"), lab_time_h=0.0)
    assert crate_faults(export_campaign(lab, "empty", tmp_path / "empty").folder) == []
    run_campaign(lab, small_spec())
    made = export_campaign(lab, "small", tmp_path / "small")
    assert crate_faults(made.folder) == []
    assert pl.read_csv(made.folder / "trials.csv")["result source"].to_list()[0] == "measured"


def test_bad_requests_leave_nothing(cycled, tmp_path):
    """A folder that is used, one inside the lab, an unknown campaign, an author that is none: one error, nothing written."""
    lab, name = cycled
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty"):
        export_campaign(lab, name, tmp_path / "used")
    with pytest.raises(StoreError, match="inside the lab"):
        export_campaign(lab, name, lab.folder / "out")
    with pytest.raises(CampaignError):
        export_campaign(lab, "nobody", tmp_path / "out")
    with pytest.raises(SpecError, match="--author"):
        export_campaign(lab, name, tmp_path / "out", authors=("<<>>",))
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="Nothing was left"):
        export_campaign(lab, name, tmp_path / "file" / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "used"]
    assert [p.name for p in (tmp_path / "used").iterdir()] == ["thesis.txt"]


def test_a_lost_recording_is_said_and_the_rest_exported(tmp_path):
    """An export without one recording is still a sound crate, and says which trial lacks it."""
    with Lab.open(tmp_path / "lab", cyclers=[SimulatedCycler(2, cell=BenchCell())]) as lab:
        spec = demo_spec(trials=2, channels=2, seed=0)
        run_campaign(lab, spec)
        file = lab.store.recording_of(spec.name, 1)
        lab.archive.path(file).unlink()
        made = export_campaign(lab, spec.name, tmp_path / "out")
    assert [text.split(" is ")[0] for text in made.left_out] == ["trial 1"]
    assert crate_faults(made.folder) == []
    assert (made.folder / "recordings/trial_0002.bdf.parquet").is_file()


def recorded_by_hand(lab, number, **columns):
    """Put another recording in the place of a trial's."""
    length = len(next(iter(columns.values())))
    time = np.arange(length) * 1.0
    made = {"test_time_second": time, "voltage_volt": 3.0 + 0.001 * time, "current_ampere": np.ones(length), **columns}
    return lab.archive.write(f"by hand {number}", made, {})


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """A finished lab whose first trial's recording can be replaced: gives the lab, the campaign and how."""
    with Lab.open(tmp_path / "lab", cyclers=[SimulatedCycler(2, cell=BenchCell())]) as lab:
        spec = demo_spec(trials=2, channels=2, seed=0)
        run_campaign(lab, spec)
        plain = lab.store.recording_of

        def replace(**columns):
            file = recorded_by_hand(lab, 1, **columns)
            monkeypatch.setattr(lab.store, "recording_of", lambda name, number: file if number == 1 else plain(name, number))

        yield lab, spec.name, replace


def test_columns_that_the_format_does_not_have_stand_beside_and_nothing_is_lost(odd, tmp_path):
    """A chamber's humidity, cycles that are no whole numbers: in a file of their own, row for row, described, and said."""
    lab, name, replace = odd
    humidity, cycles = np.linspace(20, 60, 9), np.array([1, 1, 1, 2, 2, 2, np.nan, 3, 3])
    humidity[2] = np.nan
    replace(chamber_humidity=humidity, cycle_count=cycles, door_open=np.arange(9) % 2 == 0)
    made = export_campaign(lab, name, tmp_path / "out", csv=True)
    assert crate_faults(made.folder) == []
    assert made.left_out == ()
    said = "\n".join(made.notes)
    assert all(column in said for column in ("trial 1: chamber_humidity is not part", "cycle_count should be whole", "door_open"))
    beside = pl.read_parquet(made.folder / "recordings/trial_0001.other.parquet")
    assert np.array_equal(beside["chamber_humidity"].to_numpy(), humidity, equal_nan=True)
    assert np.array_equal(beside["cycle_count"].to_numpy(), cycles, equal_nan=True)
    assert beside["door_open"].to_list() == [True, False] * 4 + [True]
    assert beside["test_time_second"].to_list() == list(range(9))
    assert pl.read_csv(made.folder / "recordings/trial_0001.other.csv")["chamber_humidity"].to_list()[2] is None
    kept = pl.read_parquet(made.folder / "recordings/trial_0001.bdf.parquet")
    assert sorted(kept.columns) == ["current_ampere", "test_time_second", "voltage_volt"]
    assert (made.folder / "recordings/trial_0002.bdf.parquet").is_file()
    graph = {e["@id"]: e for e in json.loads((made.folder / "ro-crate-metadata.json").read_text())["@graph"]}
    assert "not part of the Battery Data Format" in graph["#column-chamber_humidity"]["description"]


def test_whole_numbers_that_came_as_floats_are_whole_numbers_again(odd, tmp_path):
    """A cycler that counts in floats is exported as the format has it, with nothing beside."""
    lab, name, replace = odd
    replace(cycle_count=np.arange(9.0) // 3)
    made = export_campaign(lab, name, tmp_path / "out")
    assert (made.left_out, made.notes) == ((), ())
    kept = pl.read_parquet(made.folder / "recordings/trial_0001.bdf.parquet")["cycle_count"]
    assert (kept.dtype, kept.to_list()) == (pl.Int64, [0, 0, 0, 1, 1, 1, 2, 2, 2])


@pytest.mark.parametrize("fault", [ValueError("no"), OSError(5, "Input/output error"), KeyError("column")])
def test_whatever_is_wrong_with_one_recording_stops_no_other(cycled, tmp_path, monkeypatch, fault):
    """A recording that cannot be read, for whatever reason, is left out and said."""
    lab, name = cycled
    read, bad = lab.archive.read_batches, lab.store.recording_of(name, 1)

    def broken(file, columns=None):
        yield next(iter(read(file, columns)))
        if file == bad:
            raise fault

    monkeypatch.setattr(lab.archive, "read_batches", broken)
    made = export_campaign(lab, name, tmp_path / "out")
    assert [text.split(" is ")[0] for text in made.left_out] == ["trial 1"]
    assert crate_faults(made.folder) == []
    assert [p.name for p in (made.folder / "recordings").iterdir()] == ["trial_0002.bdf.parquet"]


def test_a_full_disk_stops_the_export_and_leaves_nothing(cycled, tmp_path, monkeypatch):
    """What the disk does not take is no fault of one recording."""
    lab, name = cycled

    def full(*_arguments):
        raise StoreError("cannot be written") from OSError(28, "No space left on device")

    monkeypatch.setattr("flows.export_recording.write_bdf_parquet", full)
    with pytest.raises(StoreError, match="cannot be written"):
        export_campaign(lab, name, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_is_swept(cycled, tmp_path):
    """The next export beside it removes what a process that is certainly dead had begun, and nothing of the living."""
    lab, name = cycled
    dead = replace(this_process(), started="1")
    for process in (dead, this_process()):
        (tmp_path / f"{PREFIX}{process.to_text()}-0a0a0a0a" / "recordings").mkdir(parents=True)
    folder = export_campaign(lab, name, tmp_path / "out").folder
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{PREFIX}{this_process().to_text()}-0a0a0a0a", folder.name]
    assert export_campaign(lab, name, tmp_path / ("o" * 250)).folder.is_dir()


def test_the_command_exports(tmp_path, monkeypatch, capsys):
    """`voltloop export CAMPAIGN -o DIR --json` ends with one object; a second one into the same folder exits 2."""
    with Lab.open(tmp_path / "lab", cyclers=[replay()]) as lab:
        run_campaign(lab, small_spec())

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["voltloop", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    arguments = ("export", "small", "-o", tmp_path / "out", "--lab", tmp_path / "lab", "--json")
    code, out, _ = run(*arguments)
    assert (code, json.loads(out.splitlines()[-1])["folder"]) == (0, str(tmp_path / "out"))
    assert crate_faults(tmp_path / "out") == []
    code, _, err = run(*arguments)
    assert (code, "not empty" in err, err.count("error:")) == (2, True, 1)
