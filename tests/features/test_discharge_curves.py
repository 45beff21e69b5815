"""Discharge curves and their change between cycles."""

import numpy as np
import pytest

from orchestrator.domain import Recording
from orchestrator.domain.errors import SpecError
from orchestrator.features import delta_q_features, discharge_curve

V = np.linspace(2.0, 3.6, 9)


def recording_of(capacity_Ah, cycle=1, hold=True):
    """A rest, a straight 1 A discharge from 3.6 to 2.0 V (then 0.1 Ah held at 2.0 V), and a charge."""
    hours = np.linspace(0, capacity_Ah, 101)
    volts = 3.6 - 1.6 * hours / capacity_Ah
    held_h, held_V = (hours[-1] + np.linspace(0.01, 1.0, 50), np.full(50, 2.0)) if hold else ([], [])
    charge_h = (held_h[-1] if hold else hours[-1]) + np.linspace(0.01, capacity_Ah, 100)
    time_h = np.r_[[-0.2, -0.1], hours, held_h, charge_h] + 0.2
    amps = np.r_[[0, 0], np.full(101, -1.0), np.full(len(held_h), -0.1), np.full(100, 1.0)]
    columns = {
        "test_time_second": 3600 * time_h,
        "voltage_volt": np.r_[[3.6, 3.6], volts, held_V, np.linspace(2.0, 3.6, 100)],
        "current_ampere": amps,
        "cycle_count": np.full(len(amps), cycle),
    }
    return Recording(columns=columns, nominal_capacity_Ah=1.0)


def test_features_are_the_moments_of_the_difference():
    """Hand-computed on a difference of -1, -2, -3, -4 mAh."""
    change = np.array([-1.0, -2.0, -3.0, -4.0]) * 1e-3
    found = delta_q_features([2.0, 2.5, 3.0, 3.5], np.ones(4), 1 + change)
    assert found["variance"] == pytest.approx(1.25e-6)
    assert found["log_variance"] == pytest.approx(np.log10(1.25e-6))
    assert found["minimum"] == pytest.approx(-4e-3)
    assert found["log_minimum"] == pytest.approx(np.log10(4e-3))
    assert found["at_lowest_voltage"] == pytest.approx(-1e-3)
    assert found["skewness"] == pytest.approx(0.0, abs=1e-9)
    assert found["kurtosis"] == pytest.approx(1.64)


def test_the_order_of_voltages_means_nothing():
    """Published grids run from 3.6 to 2.0 V."""
    rng = np.random.default_rng(0)
    early, late = rng.normal(size=9), rng.normal(size=9)
    assert delta_q_features(V[::-1], early[::-1], late[::-1]) == pytest.approx(delta_q_features(V, early, late))


def test_gaps_are_left_out_and_too_few_values_refused():
    """NaN at a voltage leaves it out; below 4 voltages nothing is made up."""
    early = np.r_[np.nan, np.zeros(8)]
    assert delta_q_features(V, early, np.arange(9.0))["mean"] == pytest.approx(4.5)
    with pytest.raises(SpecError, match="at 3 voltages; 4 are needed"):
        delta_q_features(V[:4], [0, 0, 0, np.nan], np.ones(4))
    with pytest.raises(SpecError, match="one length"):
        delta_q_features(V, np.zeros(9), np.zeros(8))


def test_equal_curves_have_no_logarithm():
    """A difference of 0 gives NaN logarithms, not minus infinity or a crash."""
    found = delta_q_features(V, np.ones(9), np.ones(9))
    assert found["variance"] == 0
    assert np.isnan(found["log_variance"])


def test_a_curve_is_read_from_a_recording():
    """A straight discharge gives a straight curve; what is held at the end counts at the end voltage."""
    assert discharge_curve(recording_of(1.0, hold=False), 1, V) == pytest.approx((3.6 - V) / 1.6, abs=1e-9)
    with_hold = discharge_curve(recording_of(1.0), 1, [1.9, 2.0, 2.4, 3.7])
    assert with_hold == pytest.approx([1.1, 1.1, 0.75, 0.0], abs=0.005)


def test_a_missing_cycle_is_named():
    """The message says which cycles there are."""
    with pytest.raises(SpecError, match=r"7 was not recorded. Recorded: 1"):
        discharge_curve(recording_of(1.0), 7, V)
