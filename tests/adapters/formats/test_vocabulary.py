"""Names of the Battery Data Format: every one is understood as machines write it, as people do, and with other units."""

import pytest

from adapters.formats.units import conversion
from adapters.formats.vocabulary import as_bdf, label, parse_header
from orchestrator.domain.recording import BDF_COLUMNS, OWN_COLUMNS


@pytest.mark.parametrize("bdf", BDF_COLUMNS)
def test_machine_names_and_labels_are_the_same_columns(bdf):
    """`test_time_second` and `Test Time / s` name one column, without conversion."""
    for header in (bdf, label(bdf)):
        name, how = as_bdf(parse_header(header))
        assert name == bdf
        assert how.is_identity


def test_labels_are_those_of_the_published_vocabulary():
    """As the ontology prefers them."""
    assert label("test_time_second") == "Test Time / s"
    assert label("ambient_temperature_celsius") == "Ambient Temperature / degC"
    assert label("cycle_count") == "Cycle Count / 1"
    assert label("step_id") == "Step ID"
    assert label("temperature_t1_celsius") == "Temperature T1 / degC"
    assert label("ac_internal_resistance_ohm") == "AC Internal Resistance / ohm"
    assert label("discharging_capacity_ah") == "Discharging Capacity / Ah"
    assert label("applied_pressure_pa") == "Applied Pressure / Pa"
    assert label("phase_degree") == "Phase / deg"
    assert len({label(name) for name in BDF_COLUMNS}) == len(BDF_COLUMNS)
    assert all(label(name) == name for name in OWN_COLUMNS)


@pytest.mark.parametrize(
    ("header", "bdf", "unit"),
    [
        ("Current / mA", "current_ampere", "mA"),
        ("Test Time / h", "test_time_second", "h"),
        ("Surface Temperature T2 / K", "temperature_t2_celsius", "K"),
        ("test_time_millisecond", "test_time_second", "ms"),
        ("unix_time_millisecond", "unix_time_second", "ms"),
        ("current_a", "current_ampere", "A"),
    ],
)
def test_other_units_and_older_names_are_understood(header, bdf, unit):
    """Labels with another unit, and names of earlier versions."""
    assert as_bdf(parse_header(header)) == (bdf, conversion(unit, bdf))


@pytest.mark.parametrize("header", ["Voltage", "Voltage (V)", "Voltage / furlong", "voltage volt", "", "Step Type"])
def test_what_is_not_the_format_is_not_taken_for_it(header):
    """Other spellings are no Battery Data Format: they are read as a plain CSV, which says what it assumed."""
    assert as_bdf(parse_header(header)) is None


@pytest.mark.parametrize("header", ["Test Time / s", "Test_Time(s)", "test time [s]", '"Test Time (s)"', " TEST_TIME {s} "])
def test_headers_are_taken_apart(header):
    """Quantity and unit are found in every bracket."""
    assert (parse_header(header).base, parse_header(header).unit) == ("test time", "s")
