"""What a channel records of the truth."""

import numpy as np
import pytest

from adapters.simulated.instrument import Instrument, InstrumentSettings, as_columns, settings_of
from orchestrator.domain import SpecError
from orchestrator.domain.recording import CHECKUP_STEP_ID

QUIET = InstrumentSettings(
    voltage_noise_V=0, current_noise_A=0, temperature_noise_K=0, current_gain_sd=0, voltage_resolution_V=0,
    current_resolution_A=0, temperature_resolution_K=0, impedance_noise=0,
)  # fmt: skip


def quiet(**changes):
    return InstrumentSettings(**{**vars(QUIET), **changes})


def samples(steps):
    """A ramp of 1 mV/s under constant current in each step; `steps` are (number, seconds), sampled every 2 s."""
    parts, start_s = [], 0.0
    for number, seconds in steps:
        time_s = start_s + np.arange(0.0, seconds + 1, 2.0) + 1e-3
        parts.append((time_s, np.full(len(time_s), float(number))))
        start_s = time_s[-1]
    time_s, step = (np.concatenate(column) for column in zip(*parts, strict=True))
    return {
        "time_s": time_s,
        "voltage_V": 3.0 + 1e-3 * time_s,
        "current_A": np.ones(len(time_s)),
        "temperature_degC": np.full(len(time_s), 25.0),
        "step": step,
        "charged_Ah": time_s / 3600,
        "discharged_Ah": np.zeros(len(time_s)),
    }


def test_noise_has_its_size_and_does_not_change_with_reading():
    """Seeded by key and cycle; the spread is the instrument's."""
    truth = samples([(1, 40000)])
    every = InstrumentSettings(period_s=2.0, voltage_resolution_V=0, temperature_resolution_K=0)
    once, again = (Instrument(5, "a", 10, every).measure(truth) for _ in range(2))
    assert np.array_equal(once["voltage_V"], again["voltage_V"])
    true = Instrument(5, "a", 10, every).sampled(truth)
    assert (once["voltage_V"] - true["voltage_V"]).std() == pytest.approx(2e-4, rel=0.03)
    assert (once["temperature_degC"] - true["temperature_degC"]).std() == pytest.approx(0.05, rel=0.03)
    assert not np.array_equal(once["voltage_V"], Instrument(5, "a", 11, every).measure(truth)["voltage_V"])


def test_rows_come_at_the_period_and_where_a_step_begins_and_ends():
    """Each step keeps a time of its own."""
    rows = Instrument(0, "a", 1, quiet(period_s=30.0, delta_voltage_V=None, delta_current_A=None)).measure(
        samples([(1, 100), (2, 40)])
    )
    assert rows["time_s"] == pytest.approx(np.array([0, 30, 60, 90, 100, 100, 130, 140]) + 1e-3, abs=2e-3)
    assert rows["step"].tolist() == [1] * 5 + [2] * 3


def test_a_moving_voltage_calls_for_rows_of_its_own():
    """At 1 mV/s an interval of 10 mV is left every 10 s."""
    rows = Instrument(0, "a", 1, quiet(period_s=1000.0, delta_voltage_V=0.01)).measure(samples([(1, 100)]))
    assert np.diff(rows["time_s"])[1:-1] == pytest.approx(10.0, abs=2.0)
    assert len(rows["time_s"]) == 11


def test_converters_have_steps():
    """Values are whole multiples of the resolution, as near to the truth as these come."""
    chosen = quiet(period_s=2.0, voltage_resolution_V=5e-3, current_resolution_A=0.3, temperature_resolution_K=10.0)
    truth = samples([(1, 100)])
    rows = Instrument(0, "a", 1, chosen).measure(truth)
    in_steps = rows["voltage_V"] / 5e-3
    assert in_steps == pytest.approx(np.round(in_steps), abs=1e-6)
    assert np.abs(rows["voltage_V"] - truth["voltage_V"]).max() <= 2.5e-3 + 1e-9
    assert set(rows["current_A"].round(6)) == {0.9}
    assert set(rows["temperature_degC"]) == {20.0}


def test_a_spectrum_is_kept_point_by_point_with_noise_in_proportion():
    """Whatever the sampling period; the noise is a share of the modulus."""
    truth = samples([(CHECKUP_STEP_ID + 1, 4000)])
    n = len(truth["time_s"])
    truth.update(frequency_Hz=np.geomspace(1e4, 1e-2, n), Z_real_ohm=np.full(n, 0.03), Z_imag_ohm=np.full(n, -0.04))
    rows = Instrument(0, "a", 1, quiet(impedance_noise=0.01, period_s=500.0)).measure(truth)
    assert np.array_equal(rows["frequency_Hz"], truth["frequency_Hz"])
    assert (rows["Z_real_ohm"] - 0.03).std() == pytest.approx(0.01 * 0.05, rel=0.1)


def test_steps_of_a_check_up_are_counted_on_and_identified():
    """`step_count` goes on after the cycle's steps; `step_id` tells the check-up's, and is left out where there is none."""
    truth = samples([(1, 10), (2, 10), (CHECKUP_STEP_ID + 1, 10), (CHECKUP_STEP_ID + 2, 10)])
    columns = as_columns(truth, 100.0, 7, 25.0, checkups=True)
    assert sorted(set(columns["step_count"].tolist())) == [1, 2, 3, 4]
    assert sorted(set(columns["step_id"].tolist())) == [1, 2, CHECKUP_STEP_ID + 1, CHECKUP_STEP_ID + 2]
    assert "step_id" not in as_columns(truth, 100.0, 7, 25.0)


@pytest.mark.parametrize(
    "wrong", [{"period_s": -1.0}, {"period_s": 1e-6}, {"voltage_noise_V": -1e-3}, {"delta_voltage_V": 0.0}, {"noise": 1.0}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    """By name."""
    with pytest.raises(SpecError, match=next(iter(wrong))):
        settings_of(wrong)
