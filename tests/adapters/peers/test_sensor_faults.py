"""What broken sensors make of a recording, column by column."""

import numpy as np
import pytest

from adapters.peers.injected_faults import FaultKind, InjectedFault
from adapters.peers.sensor_faults import CONTACT_NOISE_V, JUMP_FACTOR, as_recorded

HOUR_S = 3600.0


def piece(first_h, last_h, n=101, current_A=4.0):
    """Rows of a healthy channel: a temperature that rises by a degree an hour."""
    time_s = np.linspace(first_h, last_h, n) * HOUR_S
    return {
        "test_time_second": time_s,
        "voltage_volt": np.full(n, 3.3),
        "current_ampere": np.full(n, current_A),
        "surface_temperature_celsius": 30.0 + time_s / HOUR_S,
        "cycle_count": np.full(n, int(first_h) + 1),
    }


def seen(pieces, *faults, started_h=0.0, seed=(1, 2)):
    return as_recorded(pieces, faults, started_h, seed)


def test_an_open_thermocouple_reads_not_a_number_or_its_rail():
    """From the fault on, until it is mended; lab time counts, not test time."""
    open_one = InjectedFault(FaultKind.THERMOCOUPLE_OPEN, 100.5, duration_h=0.25)
    (rows,) = seen([piece(0, 1)], open_one, started_h=100.0)
    time_h = rows["test_time_second"] / HOUR_S
    assert (np.isnan(rows["surface_temperature_celsius"]) == ((time_h >= 0.5) & (time_h < 0.75))).all()
    (rows,) = seen([piece(0, 1)], InjectedFault(FaultKind.THERMOCOUPLE_OPEN, 0.5, size=1372.0))
    assert set(rows["surface_temperature_celsius"][51:]) == {1372.0}


def test_a_stuck_thermocouple_repeats_its_last_reading():
    """The last before the fault, in a later piece of the recording too."""
    stuck = InjectedFault(FaultKind.THERMOCOUPLE_STUCK, 0.505)
    first, second = seen([piece(0, 1), piece(5, 6)], stuck)
    assert set(first["surface_temperature_celsius"][51:]) == {30.5}
    assert first["surface_temperature_celsius"][50] == 30.5
    assert first["surface_temperature_celsius"][49] == pytest.approx(30.49)
    assert set(second["surface_temperature_celsius"]) == {30.5}


def test_a_thermocouple_stuck_between_recordings_repeats_the_recording_before():
    """It struck when nothing was recorded; and one that was stuck from the start repeats its first reading."""
    _, second = seen([piece(0, 1), piece(5, 6)], InjectedFault(FaultKind.THERMOCOUPLE_STUCK, 3.0))
    assert set(second["surface_temperature_celsius"]) == {31.0}
    (only,) = seen([piece(0, 1)], InjectedFault(FaultKind.THERMOCOUPLE_STUCK, 2.0), started_h=10.0)
    assert set(only["surface_temperature_celsius"]) == {30.0}


def test_a_drop_out_loses_rows_and_nothing_else():
    """All rows while it lasts, or a share of them; what is left is as it was."""
    healthy = piece(0, 1)
    (rows,) = seen([healthy], InjectedFault(FaultKind.SENSOR_DROPOUT, 0.2, duration_h=0.3))
    time_h = rows["test_time_second"] / HOUR_S
    assert len(rows["voltage_volt"]) == 101 - 30
    assert not ((time_h >= 0.2) & (time_h < 0.5)).any()
    (rows,) = seen([piece(0, 1, 10_001)], InjectedFault(FaultKind.SENSOR_DROPOUT, 0.0, size=0.3))
    assert len(rows["voltage_volt"]) == pytest.approx(7000, abs=200)


def test_a_bad_contact_adds_resistance_jumps_and_noise():
    """The median is I R above the truth, some rows jump to three times that, and the rest scatters by the noise."""
    (rows,) = seen([piece(0, 1, 20_001)], InjectedFault(FaultKind.CONTACT_LOSS, 0.0, size=0.02))
    added_V = rows["voltage_volt"] - 3.3
    jumping = added_V > 4.0 * 0.02 * (1 + JUMP_FACTOR) / 2
    assert np.median(added_V) == pytest.approx(0.08, abs=2e-3)
    assert jumping.mean() == pytest.approx(0.1, abs=0.02)
    assert added_V[jumping].mean() == pytest.approx(0.08 * JUMP_FACTOR, rel=0.02)
    assert added_V[~jumping].std() == pytest.approx(CONTACT_NOISE_V, rel=0.1)


def test_a_bad_contact_adds_its_resistance_to_a_spectrum():
    """Where impedance was measured; the rows without stay without."""
    healthy = {**piece(0, 1), "real_impedance_ohm": np.where(np.arange(101) < 50, np.nan, 0.01)}
    (rows,) = seen([healthy], InjectedFault(FaultKind.CONTACT_LOSS, 0.0, size=0.02))
    assert np.isnan(rows["real_impedance_ohm"][:50]).all()
    assert rows["real_impedance_ohm"][50:] == pytest.approx(0.03)


def test_a_clock_that_jumps_shifts_all_later_rows():
    """Backwards by default: time that runs back is for the reader to notice."""
    first, second = seen([piece(0, 2), piece(5, 6)], InjectedFault(FaultKind.CLOCK_JUMP, 1.0))
    healthy = piece(0, 2)["test_time_second"]
    assert np.array_equal(first["test_time_second"][:50], healthy[:50])
    assert np.allclose(first["test_time_second"][50:], healthy[50:] - HOUR_S)
    assert (np.diff(first["test_time_second"]) < 0).sum() == 1
    assert second["test_time_second"][0] == 4 * HOUR_S


@pytest.mark.parametrize("kind", [k for k in FaultKind if k in ("contact_loss", "sensor_dropout", "thermocouple_stuck")])
def test_more_of_a_run_changes_nothing_of_what_was_read(kind):
    """Reading on as a test goes on gives what reading it at its end gives."""
    fault = InjectedFault(kind, 0.4, size=0.5) if kind != "thermocouple_stuck" else InjectedFault(kind, 0.4)
    early = seen([piece(0, 1)], fault)
    late = seen([piece(0, 1), piece(2, 3)], fault)
    assert all(np.array_equal(early[0][name], late[0][name]) for name in early[0])


def test_other_faults_leave_a_recording_as_it_is():
    """What strikes the cell or the line is none of the sensors' business; and the pieces given are not changed."""
    healthy = piece(0, 1)
    before = {name: column.copy() for name, column in healthy.items()}
    (rows,) = seen([healthy], InjectedFault(FaultKind.INTERNAL_SHORT, 0.0), InjectedFault(FaultKind.CYCLER_UNREACHABLE, 0.0))
    assert all(np.array_equal(rows[name], before[name]) for name in before)
    seen([healthy], InjectedFault(FaultKind.THERMOCOUPLE_OPEN, 0.0), InjectedFault(FaultKind.CLOCK_JUMP, 0.0))
    assert all(np.array_equal(healthy[name], before[name]) for name in before)
