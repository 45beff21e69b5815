"""Real files of seven instruments: rows, first and last values and sums are those of the vendors' own columns."""

import csv

import numpy as np
import pytest

from adapters.formats import open_cycler_file

FIGURES = {
    "arbin.csv": (
        "arbin",
        13,
        {
            "test_time_second": (30.0005, 301.214, 2551.9312),
            "unix_time_second": (1726821154.558, 1726821425.772, None),
            "voltage_volt": (3.534595, 3.599601, 46.074583),
            "current_ampere": (0.0, 2.650138, 5.297742),
            "charging_capacity_ah": (0.0, 0.000400839, 0.0004209794),
            "discharging_energy_wh": (0.0, 7.21224e-05, 0.0001442448),
            "step_time_second": (30.0005, 0.5173, 1650.5345),
            "temperature_t1_celsius": (24.66422, 24.68785, 321.14211637),
            "step_id": (1, 3, 18),
            "cycle_count": (1, 1, 13),
            "record_index": (1, 13, 91),
        },
    ),
    "maccor.csv": (
        "maccor",
        15,
        {
            "test_time_second": (0.0, 13.06, 101.24),
            "unix_time_second": (1700754971.0, 1700754984.0, None),
            "voltage_volt": (3.668, 3.716, 55.201),
            "current_ampere": (0.0, 28.798, 115.239),
            "step_cumulative_capacity_ah": (0.0, 0.024, 0.048),
            "step_cumulative_energy_wh": (0.0, 0.091, 0.185),
            "step_id": (1, 2, 19),
            "cycle_count": (1, 1, 15),
        },
    ),
    "novonix.csv": (
        "novonix",
        207,
        {
            "test_time_second": (0.0, 12287.48004, 1261371.58848),
            "unix_time_second": (1752938780.0, 1752951068.0, None),
            "voltage_volt": (3.84318331, 4.12864581, 830.41713894),
            "current_ampere": (0.0, 0.49999387, 102.99857),
            "net_capacity_ah": (0.0, 1.70652976, 175.17941604),
            "net_energy_wh": (0.0, 6.84854718, 694.6290361),
            "temperature_t1_celsius": (24.644, 24.792, 5121.994),
            "step_id": (1, 1, 207),
        },
    ),
    "landt.bdf.csv": (
        "bdf_csv",
        25162,
        {
            "test_time_second": (0.02, 262657.764, 3438656296.827),
            "voltage_volt": (2.9215, 0.1086, 12390.3205),
            "current_ampere": (0.0, -0.0002, -1.8894),
            "discharging_capacity_ah": (0.0, 0.0013, 42.4068),
            "charging_capacity_ah": (0.0, 0.0, 10.1138),
            "step_index": (1, 2, 53860),
        },
    ),
    "neware_nw4-120-1-6-53.ndax": (
        "neware_ndax",
        18700,
        {
            "test_time_second": (0.0, 173045.9, None),
            "unix_time_second": (1744022901.95, 1744195947.95, None),
            "voltage_volt": (1.6627951, 3.4967005, None),
            "current_ampere": (0.0, -0.0003900234, None),
            "step_net_capacity_ah": (0.0, -6.242504e-05, None),
            "step_net_energy_wh": (0.0, -0.00025671878, None),
            "cycle_count": (1, 150, 692487),
            "step_count": (1, 480, 2192743),
            "step_id": (1, 7, 90367),
            "record_index": (1, 18700, 18700 * 18701 // 2),
        },
    ),
    "biologic_GCPL-0.mpr": (
        "biologic_mpr",
        4,
        {
            "test_time_second": (0.0, 2.812999928937643, 5.812999853151268),
            "unix_time_second": (1725284972.494, 1725284975.307, None),
            "voltage_volt": (3.5150876, 3.5146868, 14.0593196),
            "current_ampere": (0.0, 0.0, 0.0),
            "net_capacity_ah": (0.0, 0.0, 0.0),
        },
    ),
    "biologic_PEIS-0.mpr": (
        "biologic_mpr",
        60,
        {
            "frequency_hertz": (10001.0, 0.009313226, 47905.99717727201),
            "real_impedance_ohm": (5.521314, 95.288635, 2050.0502526),
            "imaginary_impedance_ohm": (-1.5513071, -80.352745, -861.9881269),
            "absolute_impedance_ohm": (5.735108, 124.64545, 2252.6353232),
            "phase_degree": (-15.693611, -40.139473, -1244.041732),
            "voltage_volt": (3.0322132, 3.0462732, 182.8898518),
            "current_ampere": (-0.0010070825, 2.2382753e-05, -0.0026550223032),
            "cycle_count": (0, 0, 0),
        },
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_real_file_is_read_to_the_last_row(name, raw, read):
    """Format, rows, first and last values exactly, sums to rounding: nothing lost, nothing scaled wrongly."""
    kind, rows, figures = FIGURES[name]
    columns = read(raw / name)
    assert open_cycler_file(raw / name).format == kind
    assert {len(column) for column in columns.values()} == {rows}
    assert {column: (columns[column][0], columns[column][-1]) for column in figures} == {
        column: (first, last) for column, (first, last, _) in figures.items()
    }
    for column, (_, _, total) in figures.items():
        if total is not None:
            assert np.nansum(columns[column]) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("name", FIGURES)
def test_batches_of_any_size_give_the_same_rows(name, raw, read):
    """Where a batch ends changes no value."""
    whole, pieces = read(raw / name), read(raw / name, rows=7)
    for column, values in whole.items():
        np.testing.assert_array_equal(pieces[column], values)
    assert {len(next(iter(batch.values()))) for batch in open_cycler_file(raw / name).batches(3)} <= {1, 2, 3}


def test_neware_capacities_are_the_vendors(raw, read):
    """Capacities of all 480 steps add up to what the file's own column says, in mAh; each value names the same single float."""
    import fastnda

    theirs = fastnda.read(raw / "neware_nw4-120-1-6-53.ndax", cycle_mode="raw")
    ours = read(raw / "neware_nw4-120-1-6-53.ndax")
    ends = np.flatnonzero(np.diff(ours["step_count"], append=-1))
    assert len(ends) == 480
    for column, vendor, charged, discharged in (
        ("step_net_capacity_ah", "capacity_mAh", 7.1241809, -3.7609482),
        ("step_net_energy_wh", "energy_mWh", 34.7217406, -15.2297007),
    ):
        at_ends = ours[column][ends] * 1000
        assert at_ends[at_ends > 0].sum() == pytest.approx(charged, abs=1e-6)
        assert at_ends[at_ends < 0].sum() == pytest.approx(discharged, abs=1e-6)
        np.testing.assert_allclose(ours[column] * 1000, theirs[vendor].to_numpy(), rtol=1e-7)
    np.testing.assert_array_equal(ours["voltage_volt"].astype(np.float32), theirs["voltage_V"].to_numpy())


def test_time_that_falls_back_is_left_as_it_is(raw, public_data, read):
    """The .ndax keeps time within steps: it falls back 479 times, 340 times by more than a second; a GITT's test time once."""
    neware = read(raw / "neware_nw4-120-1-6-53.ndax")
    falls = np.diff(neware["step_time_second"])
    assert (falls < 0).sum() == 479
    assert (falls < -1).sum() == 340
    assert (np.diff(neware["test_time_second"]) < 0).sum() == 0
    gitt = read(public_data / "a123_gitt.csv.gz")
    assert np.flatnonzero(np.diff(gitt["test_time_second"]) < 0).size == 1
    assert np.diff(gitt["test_time_second"]).min() == pytest.approx(-78828.106)


def test_a_gitt_export_without_units_is_read_and_says_what_was_assumed(public_data, read):
    """Names without units are taken for SI, in so many words; what has no place is named."""
    file = open_cycler_file(public_data / "a123_gitt.csv.gz")
    assert file.format == "csv"
    assert file.unmapped == ("Aux_Voltage",)
    assert any("names no units" in note and "A for 'Current'" in note for note in file.notes)
    assert any("positive when charging" in note for note in file.notes)
    columns = read(public_data / "a123_gitt.csv.gz")
    assert len(columns["step_id"]) == 12139
    assert (columns["voltage_volt"][0], columns["voltage_volt"][-1]) == (2.84434, 3.41007)
    assert (columns["charging_capacity_ah"][-1], columns["discharging_capacity_ah"][-1]) == (0.220006, 4.69226e-06)
    assert np.isnan(columns["temperature_t1_celsius"][0])
    assert np.isnan(columns["temperature_t1_celsius"]).sum() == 1


@pytest.mark.parametrize(
    ("name", "header", "column", "scale"),
    [
        ("arbin.csv", "Voltage (V)", "voltage_volt", 1),
        ("arbin.csv", "Charge Energy (Wh)", "charging_energy_wh", 1),
        ("maccor.csv", "Current", "current_ampere", 1),
        ("novonix.csv", "Potential (V)", "voltage_volt", 1),
        ("novonix.csv", "Run Time (h)", "test_time_second", 3600),
    ],
)
def test_every_cell_is_the_nearest_float_of_its_text(name, header, column, scale, raw, read):
    """Each value is the float64 nearest to the decimal that stands in the file, converted: not one unit in the last place off."""
    from fractions import Fraction

    lines = (raw / name).read_text(encoding="utf-8-sig").splitlines()
    rows = list(csv.reader(lines))
    at = next(n for n, row in enumerate(rows) if header in row)
    cells = [row[rows[at].index(header)] for row in rows[at + 1 :]]
    assert read(raw / name)[column].tolist() == [float(Fraction(cell) * scale) for cell in cells]


def test_files_say_what_they_say_of_themselves(raw):
    """Metadata is the vendor's own: serial numbers, protocols, dates."""
    neware = open_cycler_file(raw / "neware_nw4-120-1-6-53.ndax").metadata
    assert neware["TestInfo"]["TestInfo"]["Barcode"] == "250403_kigr_gen9_06"
    novonix = open_cycler_file(raw / "novonix.csv").metadata
    assert novonix["Description"] == "LGM50LT-Co10-1C"
    assert novonix["protocol"]["Version"] == "UHPC Control: 2.13.0"
    assert open_cycler_file(raw / "maccor.csv").metadata["Date of Test"] == "23-Nov-23 3:56:08 PM"
    biologic = open_cycler_file(raw / "biologic_PEIS-0.mpr").metadata
    assert (biologic["start_date"], biologic["started"]) == ("2024-10-31", "2024-10-31T12:39:27.989000")


def test_what_was_assumed_is_said(raw):
    """Time zones, signs and numbering that a file leaves open are in its notes, and what was not mapped is named."""
    notes = {name: " ".join(open_cycler_file(raw / name).notes) for name in FIGURES}
    assert "UTC was taken" in notes["arbin.csv"]
    assert "may write without one" in notes["maccor.csv"]
    assert "counted from 0" in notes["biologic_PEIS-0.mpr"]
    assert "stores no current" in notes["biologic_GCPL-0.mpr"]
    assert not notes["landt.bdf.csv"]
    assert "Circuit Temperature (°C)" in open_cycler_file(raw / "novonix.csv").unmapped
    assert open_cycler_file(raw / "neware_nw4-120-1-6-53.ndax").unmapped == ("step_type",)
