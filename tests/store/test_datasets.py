"""Public datasets: opened in this project's words, with what is known to be wrong said and kept."""

import numpy as np
import polars as pl
import pytest

from orchestrator.domain.errors import FormatError, SpecError
from orchestrator.domain.quality import QualityFlag
from orchestrator.domain.recording import BDF_COLUMNS
from orchestrator.store.datasets import dataset_card, known_datasets, open_dataset


@pytest.mark.parametrize("name", known_datasets())
def test_every_dataset_opens_as_what_its_card_says(name, public_data):
    """Each opens from the data folder; tables have rows, recordings Battery Data Format names, cards a source and a licence."""
    opened = open_dataset(name)
    assert all(path.is_relative_to(public_data) for path in opened.paths.values())
    assert opened.card.licence
    assert opened.card.repository in str(opened.card)
    assert all(table.height for table in opened.tables.values())
    assert all(set(recording.columns) <= set(BDF_COLUMNS) for recording in opened.recordings.values())
    named = set(opened.tables) | set(opened.curves)
    assert all(f"`{word}`" in opened.card.inside for word in named)


def test_a_name_with_a_slip_is_answered_with_near_ones():
    """Whoever mistypes a dataset's name is told what was meant, or all there are."""
    with pytest.raises(SpecError, match=r"severson_qq: is no dataset that is known\. Did you mean severson_qv"):
        open_dataset("severson_qq")
    with pytest.raises(SpecError, match="Known: a123_gitt, attia_campaign"):
        dataset_card("nothing like it")


def test_the_impossible_curves_of_severson_are_flagged_and_kept(public_data):
    """Exactly the seven curves that break the rule are flagged, with their values as they were measured."""
    curves = open_dataset("severson_qv").curves
    shapes = {split: each.discharge_capacity_Ah.shape for split, each in curves.items()}
    assert shapes == {"train": (41, 99, 200), "test1": (43, 99, 200), "test2": (40, 99, 200)}
    flagged = []
    for each in curves.values():
        broken = (each.discharge_capacity_Ah.max(axis=2) > 1.3) | (each.discharge_capacity_Ah.min(axis=2) < -0.05)
        assert np.array_equal(broken, ~each.sound)
        assert set(np.unique(each.quality_flags)) <= {0, QualityFlag.IMPOSSIBLE_CAPACITY}
        flagged += [(each.cell_ids[k], int(each.cycle_count[c])) for k, c in np.argwhere(~each.sound)]
    assert flagged == [
        ("train_02", 12), ("train_09", 13), ("train_16", 73),
        ("test1_01", 12), ("test1_03", 12), ("test1_09", 13), ("test1_39", 74),
    ]  # fmt: skip
    assert curves["train"].discharge_capacity_Ah.max() > 30


def test_severson_s_figures_are_those_of_the_paper(public_data):
    """Lives, protocols and capacities of the datasets agree with one another and with what was published."""
    opened = open_dataset("severson_qv")
    lives = opened.tables["cells"]
    assert lives.group_by("split").len().sort("split")["len"].to_list() == [43, 40, 41]
    assert lives.filter(pl.col("split") == "test2")["cycle_life"].null_count() == 40
    protocols = open_dataset("severson_protocols").tables["cells"]
    both = lives.join(protocols, on="cell_id")
    assert both.height == 124
    assert both["cycle_life"].drop_nulls().to_list() == both["cycle_life_right"].drop_nulls().to_list()
    assert lives.row(by_predicate=pl.col("cell_id") == "test1_22", named=True)["cycle_life"] == 148
    capacity = {row[:2]: row[2] for row in open_dataset("severson_capacity").tables["train_and_test1"].iter_rows()}
    held_Ah = [
        capacity[name, cycle] - curve[-1]
        for each in (opened.curves["train"], opened.curves["test1"])
        for name, both in zip(each.cell_ids, each.fine_discharge_capacity_Ah, strict=True)
        for cycle, curve in zip(each.fine_cycle_count.tolist(), both, strict=True)
        if (name, cycle) in capacity
    ]
    assert len(held_Ah) == 164
    assert min(held_Ah) > 0.0136
    assert max(held_Ah) < 0.0422


def test_a_time_series_comes_row_by_row(public_data):
    """The titration has the cycler's rows in its order, its one jump back in time among them; a missing temperature is NaN."""
    recording = open_dataset("a123_gitt").recordings["a123"]
    times = recording.column("test_time_second")
    assert len(recording) == 12139
    assert np.flatnonzero(np.diff(times) < 0).tolist() == [8061]
    assert times[8062] == -84.806
    assert (np.diff(times) == 0).sum() == 2217
    assert np.isnan(recording.column("surface_temperature_celsius")).sum() == 1
    assert recording.column("current_ampere").min() == pytest.approx(-1.10047)
    assert recording.column("charging_capacity_ah").max() == pytest.approx(0.220198)


def test_pulses_are_recordings_of_their_own(public_data):
    """Each pulse of the LG M50 cells is a recording whose first temperature is near the chamber's, discharge being negative."""
    opened = open_dataset("lgm50_pulse")
    rows = opened.tables["recordings"]
    assert len(opened.recordings) == rows.height == 216
    for key, chamber in rows.select("key", "temperature_degC").iter_rows():
        recording = opened.recordings[key]
        assert np.nanmin(recording.column("surface_temperature_celsius")) == pytest.approx(chamber, abs=3)
        assert (np.diff(recording.column("test_time_second")) >= 0).all()
        assert -7.6 < recording.column("current_ampere").min() < -2.4


def test_spectra_belong_to_the_rows_of_their_table(public_data):
    """Every spectrum has 69 falling frequencies, a positive real part, and a row that says what it was measured at."""
    opened = open_dataset("eis_denso")
    table = opened.tables["spectra"]
    assert list(opened.spectra) == table["spectrum"].to_list()
    assert all((np.diff(each.frequency_Hz) < 0).all() and len(each.Z_ohm) == 69 for each in opened.spectra.values())
    assert opened.spectra[0].Z_ohm[0].real == pytest.approx(0.0013636)
    assert table["held_out"].sum() == table["relative_capacity"].null_count() == 108
    assert table["cell"].n_unique() == 31


def test_what_was_not_measured_is_null_and_what_is_infinite_stays_so(public_data):
    """Withheld and missing values are null, never zero; infinite features are not taken out."""
    validation = open_dataset("attia_campaign").tables["validation"]
    assert validation.height == 45
    assert validation["cycle_life"].null_count() == 20
    assert validation["predicted_cycle_life"].null_count() == 1
    features = open_dataset("xjtu_features").tables
    assert features["cycles"]["cell_id"].n_unique() + features["held_out"]["cell_id"].n_unique() == 55
    assert features["cycles"]["voltage_entropy"].is_infinite().sum() == 131
    tests = open_dataset("failure_databank").tables["tests"]
    assert tests.height == 365
    assert tests["heater_power_W"].null_count() == 54
    assert tests.schema["pre_test_cell_mass_g"] == pl.Float64


def test_the_ablation_is_counted_in_rounds_tested(public_data):
    """The published ablation has rounds 0 to 4 of the optimal design and 1 to 4 of random search."""
    ablation = open_dataset("attia_campaign").tables["ablation"]
    one = ablation.filter((pl.col("channels") == 48) & (pl.col("rounds") == 4))
    assert dict(one.select("strategy", "cycle_life_mean").iter_rows()) == {"optimal_design": 1142.97, "random": 1104.05}


def test_a_changed_file_is_refused_with_both_hashes(tmp_path, monkeypatch):
    """A file of another content is not read, whoever changed it: the message names it, both hashes and the variable."""
    (tmp_path / "attia_policies_sim.csv").write_text("C1,C2,C3,C4,sim_life\n1,2,3,4,5\n")
    monkeypatch.setenv("VOLTLOOP_DATA_DIR", str(tmp_path))
    known = dataset_card("attia_policies").files[0].sha256
    with pytest.raises(
        FormatError, match=rf"(?s)attia_policies_sim\.csv.*sha256 is \w{{64}}, expected was {known}.*VOLTLOOP_DATA_DIR"
    ):
        open_dataset("attia_policies")


def test_what_is_nowhere_to_be_had_is_said(tmp_path, monkeypatch):
    """A file that is not in the folder and not public as it is: where it came from, and which variable to set."""
    monkeypatch.setenv("VOLTLOOP_DATA_DIR", str(tmp_path))
    with pytest.raises(
        SpecError, match=r"severson_qv\.npz: is not in .* derived from github.com/petermattia.* Set VOLTLOOP_DATA_DIR"
    ):
        open_dataset("severson_qv")


def test_a_data_folder_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    """A wrong variable is not answered by a download."""
    monkeypatch.setenv("VOLTLOOP_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(SpecError, match=r"there is no data folder .*nowhere"):
        open_dataset("attia_policies")
