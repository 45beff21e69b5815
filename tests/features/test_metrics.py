"""Recording -> cycle summaries -> estimates."""

import numpy as np
import pytest

from orchestrator.domain import Estimate, Objective, Recording, SpecError
from orchestrator.features import MetricUnavailableError, cycle_summary, measure
from orchestrator.features.metrics import capacity_retention, charge_time_min, cycle_life, resistance_growth, temperature_max_degC

NOMINAL_AH = 1.0


def cell_recording(capacities_Ah, cycles=None, rate_C=2.0, temperature=30.0, **changes) -> Recording:
    """A recording of 1C discharges of stated capacity and constant-current charges of the whole nominal capacity."""
    cycles = list(cycles or range(1, len(capacities_Ah) + 1))
    parts = []
    start = 0.0
    for cycle, capacity in zip(cycles, capacities_Ah, strict=True):
        down_s, up_s = 3600 * capacity, 3600 / rate_C
        time = start + np.r_[0, 1, down_s, down_s + 1, down_s + 61, down_s + 62, down_s + 62 + up_s, down_s + 63 + up_s]
        current = np.r_[0, -1, -1, 0, 0, rate_C, rate_C, 0] * NOMINAL_AH
        voltage = 3.3 + 0.02 * current
        parts.append((time, voltage, current, np.full(8, cycle), np.full(8, temperature) + 0.1 * cycle))
        start = (cycle + 1) * 20_000.0
    time, voltage, current, count, warm = (np.concatenate(column) for column in zip(*parts, strict=True))
    columns = {
        "test_time_second": time,
        "voltage_volt": voltage,
        "current_ampere": current,
        "cycle_count": count,
        "surface_temperature_celsius": warm,
    }
    return Recording(columns={**columns, **changes}, nominal_capacity_Ah=NOMINAL_AH, end_of_life=0.8)


def test_a_cycle_is_summed_up_by_trapezoid():
    """Capacities, energies, charge time, temperature and resistance of one cycle are what was put in."""
    row = cycle_summary(cell_recording([0.9])).row(0, named=True)
    assert row["discharge_capacity_Ah"] == pytest.approx(0.9, abs=3e-4)
    assert row["charge_capacity_Ah"] == pytest.approx(1.0, abs=6e-4)
    assert row["charge_time_to_80_soc_min"] == pytest.approx(24.0, abs=0.02)
    assert row["mean_discharge_voltage_V"] == pytest.approx(3.28, abs=1e-3)
    assert row["temperature_max_degC"] == pytest.approx(30.1)
    assert row["resistance_ohm"] == pytest.approx(0.02)


def test_life_is_interpolated_between_check_ups():
    """The crossing of 80 % lies between two recorded cycles; the error grows where the fade is slow."""
    steep = cycle_life(cell_recording([1.0, 0.9, 0.7], cycles=[1, 101, 201]))
    assert steep.mean == pytest.approx(151.0, abs=0.5)
    slow = cycle_life(cell_recording([1.0, 0.81, 0.79], cycles=[1, 101, 201]))
    assert slow.sem > steep.sem > 0


def test_a_cell_that_outlived_its_test_has_no_life():
    """What was not reached is refused with the figures, never invented."""
    with pytest.raises(MetricUnavailableError, match=r"outlived the test \(0.900 Ah at cycle 2, end of life 0.800 Ah\)"):
        cycle_life(cell_recording([1.0, 0.9]))


def test_charge_time_is_that_of_the_first_cycle():
    """Begin of life counts, not the aged cell."""
    assert charge_time_min(cell_recording([1.0, 0.5], rate_C=4.0)).mean == pytest.approx(12.0, abs=0.02)


def test_retention_temperature_and_resistance():
    """Each metric reads what its name says."""
    recording = cell_recording([1.0, 0.95, 0.9])
    assert capacity_retention(recording).mean == pytest.approx(0.9, abs=1e-3)
    assert capacity_retention(recording, at_cycle=2).mean == pytest.approx(0.95, abs=1e-3)
    assert temperature_max_degC(recording).mean == pytest.approx(30.3)
    assert resistance_growth(recording).mean == pytest.approx(1.0)


def test_measure_prefers_what_the_cycler_reports_and_explains_what_is_missing():
    """Reported results go before computed ones; the reason of a missing metric is kept."""
    recording = Recording(
        columns=cell_recording([1.0, 0.9]).columns, nominal_capacity_Ah=1.0, results={"charge_time_min": Estimate(11.0)}
    )
    found, missing = measure(recording, (Objective("capacity_retention", "maximize", at_cycle=1),),
                             ("charge_time_min", "capacity_retention", "cycle_life"))  # fmt: skip
    assert found["charge_time_min"].mean == 11.0
    assert found["capacity_retention"].mean == pytest.approx(1.0)
    assert "outlived" in missing["cycle_life"]


def test_what_nothing_computes_is_missing_with_its_reason():
    """A stopped run of a cycler that reports results itself has none, and that is said."""
    assert "the cycler reported none" in measure(cell_recording([1.0]), (), ("glory",))[1]["glory"]


def test_time_running_backwards_is_refused():
    """A summary of such a recording would be wrong without a word."""
    time = cell_recording([1.0]).column("test_time_second").copy()
    time[3] = time[1]
    with pytest.raises(SpecError, match="time runs backwards within cycle 1"):
        cycle_summary(cell_recording([1.0], test_time_second=time))


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"voltage_volt": np.ones(2)}, "test_time_second"),
        ({"test_time_second": np.ones(2), "voltage_volt": np.ones(3), "current_ampere": np.ones(2)}, "differ in length"),
        (
            {"test_time_second": np.ones(2), "voltage_volt": np.ones(2), "current_ampere": np.ones(2), "U": np.ones(2)},
            "Battery Data Format",
        ),
    ],
)
def test_a_recording_has_the_columns_its_name_promises(columns, named):
    """Unknown, missing and ragged columns are refused by name."""
    with pytest.raises(SpecError, match=named):
        Recording(columns=columns)
