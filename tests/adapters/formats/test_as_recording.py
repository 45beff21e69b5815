"""From any file to features: the rows as they are read, an ingested file's flags and capacity with them."""

import numpy as np
import pytest

from adapters.formats import open_recording, write_bdf_csv, write_bdf_parquet
from orchestrator.domain.errors import FormatError, SpecError
from orchestrator.features import cycle_summary, discharge_curve, impedance_spectra

HOURS = np.linspace(0, 4, 401)
COLUMNS = {
    "test_time_second": 3600 * HOURS,
    "voltage_volt": np.where(HOURS <= 2, 3.0 + HOURS / 2, 5.0 - HOURS / 2),
    "current_ampere": np.where(HOURS <= 2, 1e-3, -1e-3),
    "cycle_count": np.ones(401, dtype=np.int64),
}


def test_a_file_becomes_features(tmp_path):
    """A coin cell's CSV, read and summed up without a word about its capacity."""
    write_bdf_csv(tmp_path / "coin.csv", [COLUMNS])
    recording = open_recording(tmp_path / "coin.csv")
    assert recording.nominal_capacity_Ah is None
    assert {name: values.tolist() for name, values in recording.columns.items()} == {n: v.tolist() for n, v in COLUMNS.items()}
    assert cycle_summary(recording)["discharge_capacity_Ah"].item() == pytest.approx(2e-3, rel=0.01)
    assert discharge_curve(recording, 1, [3.0]) == pytest.approx(2e-3, rel=0.01)


def test_an_ingested_file_brings_its_flags_and_its_capacity(tmp_path):
    """The argument goes before what the file says; a capacity that is none is not taken."""
    flags = np.zeros(401, dtype=np.int64)
    flags[7] = 1
    path = tmp_path / "coin.parquet"
    write_bdf_parquet(path, [{**COLUMNS, "quality_flags": flags}], {"nominal_capacity_Ah": 2e-3})
    recording = open_recording(path)
    assert recording.columns["quality_flags"].tolist() == flags.tolist()
    assert recording.nominal_capacity_Ah == 2e-3
    assert open_recording(path, 3e-3).nominal_capacity_Ah == 3e-3
    for said in (None, "unknown", -1.0, True):
        other = tmp_path / f"{said}.parquet"
        write_bdf_parquet(other, [COLUMNS], {"nominal_capacity_Ah": said})
        assert open_recording(other).nominal_capacity_Ah is None


def test_columns_are_told_as_to_the_reader(tmp_path):
    """Headers that say nothing are explained."""
    path = tmp_path / "own.csv"
    path.write_text("t,U,I\n0,3300,-1\n10,3200,-1\n20,3100,-1\n")
    said = {"t": "test_time_second", "U": "voltage_volt [mV]", "I": "-current_ampere [mA]"}
    recording = open_recording(path, 0.002, columns=said)
    assert recording.columns["voltage_volt"].tolist() == [3.3, 3.2, 3.1]
    assert recording.columns["current_ampere"].tolist() == [1e-3] * 3


@pytest.mark.parametrize("capacity", [0.0, -1.0, np.nan, "2"])
def test_a_capacity_that_is_none_is_refused(tmp_path, capacity):
    """Before the file is looked at."""
    with pytest.raises(SpecError, match="nominal_capacity_Ah"):
        open_recording(tmp_path / "nothing.csv", capacity)


def test_what_cannot_be_read_is_said_by_the_reader(tmp_path):
    """With the file's name."""
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(FormatError, match=r"empty\.csv"):
        open_recording(tmp_path / "empty.csv")


def test_a_spectrum_of_a_potentiostat_is_found(raw):
    """BioLogic's PEIS: sixty points under the file's cycle number, capacitive ones negative."""
    found = impedance_spectra(open_recording(raw / "biologic_PEIS-0.mpr"))
    assert list(found) == [0]
    assert len(found[0].frequency_Hz) == 60
    assert (found[0].Z_ohm.imag < 0).all()
