"""dQ/dV, dV/dQ, and their peaks."""

import numpy as np
import pytest

from orchestrator.domain import SpecError
from orchestrator.features import curve_peaks, differential_voltage, incremental_capacity

PEAKS = [(3.2, 0.5, 0.03), (3.5, 0.3, 0.05)]  # centre V, charge Ah, standard deviation V


def plateaus(V):
    """Charge of two Gaussian plateaus and a slope of 0.2 Ah/V, and its derivative."""
    from scipy.special import ndtr

    Q = 0.2 * (V - V[0]) + sum(Ah * ndtr((V - at) / wide) for at, Ah, wide in PEAKS)
    slope = 0.2 + sum(Ah / (wide * np.sqrt(2 * np.pi)) * np.exp(-(((V - at) / wide) ** 2) / 2) for at, Ah, wide in PEAKS)
    return Q, slope


@pytest.mark.parametrize("turned", [False, True])
def test_plateaus_are_peaks(turned):
    """Position to 1 mV, height to 3 % and width to 15 % of the truth, in charge and discharge."""
    V = np.linspace(2.9, 3.8, 3000)
    Q, slope = plateaus(V)
    given = (V[::-1], (Q[-1] - Q)[::-1]) if turned else (V, Q)
    grid, found = incremental_capacity(*given, window_V=0.02)
    assert found[50:-50] == pytest.approx(np.interp(grid, V, slope)[50:-50], abs=0.03 * slope.max())
    peaks = curve_peaks(grid, found, least_prominence=0.5)
    assert [p.position for p in peaks] == pytest.approx([3.2, 3.5], abs=1e-3)
    assert [p.height for p in peaks] == pytest.approx(np.interp([3.2, 3.5], V, slope), rel=0.03)
    assert [p.width for p in peaks] == pytest.approx([2.355 * 0.03, 2.355 * 0.05], rel=0.15)


def test_steps_are_peaks_of_the_differential_voltage():
    """Between two plateaus the voltage rises fastest where dQ/dV is least."""
    V = np.linspace(2.9, 3.8, 3000)
    Q, slope = plateaus(V)
    charge, found = differential_voltage(Q, V, window_Ah=0.01)
    valley = np.argmin(np.where((V > 3.2) & (V < 3.5), slope, np.inf))
    between = [p for p in curve_peaks(charge, found, 0.5) if 0.3 < p.position < 0.8]
    assert [p.position for p in between] == pytest.approx([Q[valley]], abs=5e-3)
    assert between[0].height == pytest.approx(1 / slope[valley], rel=0.05)
    back, turned = differential_voltage(Q[-1] - Q, V, window_Ah=0.01)
    assert turned.min() > 0
    inner = slice(50, -50)
    assert turned[inner] == pytest.approx(np.interp(Q[-1] - back, charge, found)[inner], rel=0.02)


def test_noise_is_smoothed_by_the_window():
    """The same peaks at 0.2 mV of noise; rows at which the voltage turns back are skipped, NaN are left out."""
    rng = np.random.default_rng(0)
    V = np.linspace(2.9, 3.8, 3000)
    Q = plateaus(V)[0]
    noisy = V + 2e-4 * rng.normal(size=3000)
    noisy[::100] = np.nan
    grid, found = incremental_capacity(noisy, Q, window_V=0.05)
    assert [p.position for p in curve_peaks(grid, found, 1.0)] == pytest.approx([3.2, 3.5], abs=5e-3)


def test_a_straight_line_has_no_peak():
    """Its derivative is its slope everywhere."""
    V = np.linspace(3, 4, 200)
    grid, found = incremental_capacity(V, 2 * V)
    assert found == pytest.approx(2.0)
    assert curve_peaks(grid, found, 1e-3) == []
    assert curve_peaks([1.0], [2.0], 0.1) == []


@pytest.mark.parametrize(
    ("V", "Q", "words"),
    [
        (np.full(9, 3.3), np.arange(9.0), "one direction over three rows"),
        ([], [], "one direction over three rows"),
        (np.linspace(3.3, 3.305, 50), np.arange(50.0), "smaller than the range"),
        (np.arange(9.0), np.arange(8.0), "as many values"),
        (3.3, 1.0, "must be a vector"),
    ],
)
def test_what_has_no_derivative_is_refused(V, Q, words):
    """Constant, empty, too narrow, ragged, and no vector."""
    with pytest.raises(SpecError, match=words):
        incremental_capacity(V, Q)
    with pytest.raises(SpecError, match="one length"):
        curve_peaks(np.arange(3), np.arange(4), 1.0)
