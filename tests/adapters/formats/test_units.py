"""Units: every conversion of a decimal is the nearest float64, single precision keeps its bits, unknown units are not guessed."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.formats.units import conversion, convert, dimension, known_units, widened
from orchestrator.domain.recording import BDF_COLUMNS

decimals = st.decimals(min_value=-99_999, max_value=99_999, places=5, allow_nan=False, allow_infinity=False)


@given(st.lists(decimals, min_size=1, max_size=20), st.sampled_from(["mA", "uA", "nA", "kA", "A"]))
def test_a_converted_decimal_is_the_nearest_float(values, unit):
    """3412.7 mA is 3.4127 A to the last bit, not one unit in the last place beside."""
    how = conversion(unit, "current_ampere")
    found = convert(np.array([float(value) for value in values]), how)
    assert found.tolist() == [float(Fraction(value) * how.scale) for value in values]


@pytest.mark.parametrize(
    ("text", "unit", "column", "expected"),
    [
        ("3.3964806", "h", "test_time_second", "12227.33016"),
        ("1234567", "ms", "test_time_second", "1234.567"),
        ("12.5", "min", "test_time_second", "750"),
        ("298.15", "K", "ambient_temperature_celsius", "25"),
        ("293.2", "K", "ambient_temperature_celsius", "20.05"),
        ("77", "°F", "ambient_temperature_celsius", "25"),
        ("-4", "F", "ambient_temperature_celsius", "-20"),
        ("3600", "C", "charging_capacity_ah", "1"),
        ("2500", "mAh", "charging_capacity_ah", "2.5"),
        ("9250.5", "mWh", "charging_energy_wh", "9.2505"),
        ("22.1", "mOhm", "internal_resistance_ohm", "0.0221"),
        ("1.5", "bar", "applied_pressure_pa", "150000"),
    ],
)
def test_units_of_laboratories(text, unit, column, expected):
    """Each converts to the float64 nearest to the exact result."""
    assert convert(np.array([float(text)]), conversion(unit, column))[0] == float(Decimal(expected))


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=2, max_size=30))
def test_a_value_is_converted_alike_in_any_company(values):
    """Batches of any size give the same bits: no value's conversion depends on another."""
    how = conversion("mV", "voltage_volt")
    together = convert(np.array(values), how)
    alone = np.concatenate([convert(np.array([value]), how) for value in values])
    np.testing.assert_array_equal(together, alone)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50))
def test_single_precision_keeps_its_bits(values):
    """Rounding the wider value to single precision gives the file's own bits back."""
    single = np.array(values, dtype=np.float32)
    np.testing.assert_array_equal(widened(single).astype(np.float32), single)


def test_single_precision_becomes_the_decimal_it_came_from():
    """What an instrument measured to 0.1 mV and stored in single precision has four decimals again."""
    grid = np.arange(0, 50_000) / 10_000
    np.testing.assert_array_equal(widened(grid.astype(np.float32)), grid)
    assert np.isnan(widened(np.array([np.nan], dtype=np.float32))[0])


def test_missing_values_stay_missing():
    """NaN and infinity pass every conversion."""
    found = convert(np.array([np.nan, np.inf, 1.0]), conversion("mV", "voltage_volt"))
    assert np.isnan(found[0])
    assert np.isinf(found[1])
    assert found[2] == 0.001


@pytest.mark.parametrize(
    ("unit", "column"),
    [
        ("furlong", "voltage_volt"),
        ("A", "voltage_volt"),
        ("", "voltage_volt"),
        ("mAh/g", "charging_capacity_ah"),
        ("V", "cycle_count"),
    ],
)
def test_units_of_another_kind_are_not_guessed(unit, column):
    """An unknown unit, or one of another quantity, converts to nothing."""
    assert conversion(unit, column) is None


@pytest.mark.parametrize("bdf", BDF_COLUMNS)
def test_every_column_of_the_vocabulary_has_a_kind(bdf):
    """The unit in each name is known, and counts are the whole numbers."""
    assert (dimension(bdf) == "count") == (BDF_COLUMNS[bdf] == "i")
    assert known_units(bdf)
