"""Discharge curves and their change between cycles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain import Recording
from orchestrator.domain.errors import SpecError
from orchestrator.domain.quality import QualityFlag
from orchestrator.domain.recording import CHECKUP_STEP_ID
from orchestrator.features import delta_q_features, delta_q_of, delta_q_statistics, discharge_curve, discharge_curves

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


def noisy_cycles(numbers, seed, points=60):
    """Noisy discharges of unequal length between charges, some with a hold, under the numbers given."""
    rng, parts, start_s = np.random.default_rng(seed), [], 0.0
    for number in numbers:
        rows = int(rng.integers(4, points))
        hours = np.sort(rng.uniform(0, 1, 2 * rows))
        volts = np.r_[np.linspace(3.6, 2.0, rows), np.linspace(2.0, 3.6, rows)] + 0.03 * rng.normal(size=2 * rows)
        amps = np.r_[np.full(rows, -1.0), np.full(rows, 1.0)] * rng.uniform(0.5, 1.5, 2 * rows)
        parts.append(np.stack([start_s + 3600 * hours, volts, amps, np.full(2 * rows, number)]))
        start_s += 4000
    names = ("test_time_second", "voltage_volt", "current_ampere", "cycle_count")
    return dict(zip(names, np.concatenate(parts, axis=1), strict=True))


def one_by_one(columns, cycle, grid):
    """The curve as its definition says, with numpy's own interpolation."""
    time_s, volts, amps = (values[columns["cycle_count"] == cycle] for values in list(columns.values())[:3])
    out = np.flatnonzero(amps < -1e-3)
    time_s, volts, amps = time_s[out], volts[out], amps[out]
    passed = np.r_[0.0, np.cumsum(-np.diff(time_s) * (amps[1:] + amps[:-1]) / 7200)]
    falling = np.minimum.accumulate(volts)
    last = np.r_[np.flatnonzero(np.diff(falling) < 0), len(falling) - 1]
    return np.interp(-grid, -falling[last], passed[last], left=0.0)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12, unique=True), st.integers(0, 999), st.randoms(use_true_random=False))
def test_many_cycles_at_once_are_each_by_itself(numbers, seed, shuffle):
    """In any order and more than once, on any voltages, as the definition says."""
    columns, grid = noisy_cycles(numbers, seed), np.random.default_rng(seed).uniform(1.5, 4.0, 50)
    wanted = shuffle.sample(numbers, len(numbers)) + numbers[:1]
    found = discharge_curves(columns, wanted, grid)
    for cycle, curve in zip(wanted, found, strict=True):
        assert curve == pytest.approx(one_by_one(columns, cycle, grid), abs=1e-12)
        assert discharge_curve(Recording(columns), cycle, grid) == pytest.approx(curve, abs=1e-12)
    assert delta_q_of(columns, numbers[0], numbers[-1], grid) == pytest.approx(
        one_by_one(columns, numbers[-1], grid) - one_by_one(columns, numbers[0], grid), abs=1e-12
    )


def test_twice_the_current_is_twice_the_curve():
    """Capacities scale with the current; the order of cycles in the recording means nothing."""
    columns = noisy_cycles([5, 2, 9], 0)
    twice = {**columns, "current_ampere": 2 * columns["current_ampere"]}
    assert discharge_curves(twice, [2, 5], V) == pytest.approx(2 * discharge_curves(columns, [2, 5], V))


def test_rows_that_say_nothing_are_no_part_of_a_curve():
    """No numbers, flagged as back in time, or of a check-up: the curve is that of the other rows."""
    columns, rng = noisy_cycles([1, 2], 3), np.random.default_rng(0)
    rows = len(columns["cycle_count"])
    kind = rng.choice(4, rows, p=[0.7, 0.1, 0.1, 0.1])
    broken = {
        **columns,
        "voltage_volt": np.where(kind == 1, np.nan, columns["voltage_volt"]),
        "quality_flags": np.where(kind == 2, int(QualityFlag.TIME_BACKWARDS), 0),
        "step_id": np.where(kind == 3, CHECKUP_STEP_ID + 1, 1),
    }
    broken["test_time_second"] = np.where(kind == 2, -5.0, columns["test_time_second"])
    left = {name: values[kind == 0] for name, values in columns.items()}
    assert discharge_curves(broken, [1, 2], V).tolist() == discharge_curves(left, [1, 2], V).tolist()
    backwards = {**columns, "test_time_second": columns["test_time_second"][::-1]}
    with pytest.raises(SpecError, match="time runs backwards within cycle 1"):
        discharge_curves(backwards, [1], V)


def test_curves_of_any_number_type_and_of_no_cycle():
    """Single precision does; no cycles give no rows; unknown voltages no capacity."""
    columns = noisy_cycles([1], 1)
    single = {name: values.astype(np.float32) for name, values in columns.items()}
    assert discharge_curves(single, [1], V) == pytest.approx(discharge_curves(columns, [1], V), abs=1e-4)
    assert discharge_curves(columns, [], V).shape == (0, 9)
    assert np.isnan(discharge_curves(columns, [1], [np.nan, 3.0])[0]).tolist() == [True, False]
    with pytest.raises(SpecError, match="vector of voltages"):
        discharge_curves(columns, [1], 3.0)
    with pytest.raises(SpecError, match="cycle_count: is missing"):
        discharge_curves({n: v for n, v in columns.items() if n != "cycle_count"}, [1], V)
    charging = {**columns, "current_ampere": np.abs(columns["current_ampere"])}
    with pytest.raises(SpecError, match="1 holds no discharge"):
        discharge_curves(charging, [1], V)


def test_cells_that_are_not_known_have_no_statistics():
    """Three voltages are too few: NaN for that cell alone; shapes that do not fit are refused."""
    change = np.random.default_rng(0).normal(size=(3, 9))
    change[1, 3:] = np.nan
    found = delta_q_statistics(V, change)
    for values in found.values():
        assert np.isnan(values).tolist() == [False, True, False]
    assert len(delta_q_statistics(V, np.zeros((0, 9)))["variance"]) == 0
    with pytest.raises(SpecError, match=r"\(n,\) and \(cells, n\)"):
        delta_q_statistics(V, change.T)


@pytest.mark.parametrize("scale", [1e-6, 2e-3, 1.0, 500.0])
def test_without_a_capacity_the_current_itself_is_the_measure(scale):
    """Cells of any size have the same curve, to scale; a slow discharge after a fast charge is one."""
    columns = noisy_cycles([1, 2], 0)
    slow = np.where(columns["current_ampere"] > 0, 6.0, 0.05) * columns["current_ampere"]
    for amps in (columns["current_ampere"], slow):
        known = discharge_curves({**columns, "current_ampere": amps}, [1, 2], V, 1.0)
        small = {**columns, "current_ampere": scale * amps}
        assert discharge_curves(small, [1, 2], V) == pytest.approx(scale * known, rel=1e-9)
        assert delta_q_of(small, 1, 2, V) == pytest.approx(scale * (known[1] - known[0]), rel=1e-9, abs=1e-12 * scale)
