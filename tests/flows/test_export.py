"""`voltloop export`: a campaign as tables, recordings and an RO-Crate that a strict reader accepts."""

import hashlib
import json
import sys
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
from orchestrator.domain.errors import CampaignError, SpecError, StoreError
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
