"""Spectrum -> Randles circuit."""

import gzip

import numpy as np
import pytest

from orchestrator.domain import SpecError
from orchestrator.features import characteristic_points, fit_randles
from orchestrator.features.impedance import RANDLES, randles_ohm

FREQUENCY_HZ = np.geomspace(1e4, 1e-2, 31)
CIRCUITS = [
    (0.010, 0.020, 0.5, 0.002),
    (0.050, 0.010, 2.0, 0.010),
    (0.016, 0.023, 0.05, 0.0005),
    (1.0, 30.0, 2e-5, 5.0),
]


def noisy(circuit, seed, noise=2e-3):
    Z = randles_ohm(FREQUENCY_HZ, *circuit)
    rng = np.random.default_rng(seed)
    return Z + noise * np.abs(Z) * (rng.standard_normal(len(Z)) + 1j * rng.standard_normal(len(Z)))


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_a_circuit_without_noise_is_found_exactly(circuit):
    """Whatever the size of its elements, and in whatever order the frequencies come."""
    order = np.random.default_rng(0).permutation(len(FREQUENCY_HZ))
    found = fit_randles(FREQUENCY_HZ[order], randles_ohm(FREQUENCY_HZ, *circuit)[order])
    assert [found[name] for name in RANDLES] == pytest.approx(circuit, rel=1e-5)
    assert found["residual"] < 1e-6


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_standard_errors_are_as_large_as_the_errors(circuit):
    """Over many noisy spectra the errors, in standard errors, have mean square one; none of the elements is biased."""
    in_standard_errors = []
    for seed in range(30):
        found = fit_randles(FREQUENCY_HZ, noisy(circuit, seed))
        in_standard_errors.append([(found[n] - true) / found[f"{n}_se"] for n, true in zip(RANDLES, circuit, strict=True)])
    scaled = np.array(in_standard_errors)
    assert np.abs(scaled).max() < 4.5
    assert 0.6 < np.sqrt((scaled**2).mean()) < 1.4
    assert (np.abs(scaled.mean(axis=0)) < 0.75).all()


def test_leads_do_not_count():
    """An inductance turns the highest frequencies; those points are left out, and the circuit is still found."""
    inductive = randles_ohm(FREQUENCY_HZ, *CIRCUITS[0]) + 2j * np.pi * FREQUENCY_HZ * 2e-8
    found = fit_randles(FREQUENCY_HZ, inductive)
    assert found["R0_ohm"] == pytest.approx(CIRCUITS[0][0], rel=0.02)
    assert found["Rct_ohm"] == pytest.approx(CIRCUITS[0][1], rel=0.05)


def test_what_a_spectrum_leaves_open_has_no_standard_error():
    """A circuit without a charge transfer of its own: nothing is claimed of the elements that it does not have."""
    found = fit_randles(FREQUENCY_HZ, 0.01 + 0.002 * (1 - 1j) / np.sqrt(2 * np.pi * FREQUENCY_HZ))
    assert found["R0_ohm"] == pytest.approx(0.01, rel=1e-3)
    assert found["Aw_ohm_s-0.5"] == pytest.approx(0.002, rel=1e-3)
    assert np.isfinite(found["R0_ohm_se"])
    assert found["Rct_ohm_se"] > found["Rct_ohm"] or found["Rct_ohm"] < 1e-5


def test_real_spectra_are_fitted(public_data):
    """Commercial cells from -10 to 25 degC: 2 to 13 % are left, the series resistance is where the spectrum crosses the axis.

    What the spectrum does not determine, the charge transfer of warm cells, says so by its standard error.
    """
    with gzip.open(public_data / "eis_denso.csv.gz", "rt") as stream:
        names = stream.readline().strip().split(",")
        table = np.genfromtxt(stream, delimiter=",")[::39]
    real = [i for i, name in enumerate(names) if name.startswith("Zreal_")]
    imaginary = [i for i, name in enumerate(names) if name.startswith("Zimag_")]
    frequency_Hz = np.array([float(names[i][6:-2]) for i in real])
    for row in table:
        Z = row[real] + 1j * row[imaginary]
        found = fit_randles(frequency_Hz, Z)
        assert 0.005 < found["residual"] < 0.13
        crossing = characteristic_points(frequency_Hz, Z).zero_crossing
        assert found["R0_ohm"] == pytest.approx(crossing.real_ohm, rel=0.35)
        assert found["R0_ohm_se"] < 0.1 * found["R0_ohm"]
        assert found["Rct_ohm"] > 1e-6 or found["Rct_ohm_se"] == np.inf


@pytest.mark.parametrize(
    ("frequency_Hz", "Z_ohm", "words"),
    [
        (FREQUENCY_HZ, np.ones(3), "as many frequencies as impedances"),
        (FREQUENCY_HZ, np.full(31, np.nan), "finite impedances"),
        (-FREQUENCY_HZ, np.ones(31) - 1j, "positive frequencies"),
        (FREQUENCY_HZ, np.ones(31) + 1j, r"needs 5 capacitive points \(got 0 of 31\)"),
    ],
)
def test_what_is_no_spectrum_is_refused(frequency_Hz, Z_ohm, words):
    """With what is wrong with it."""
    with pytest.raises(SpecError, match=words):
        fit_randles(frequency_Hz, Z_ohm)


@pytest.mark.parametrize("rows", [slice(None), slice(3, 4)])
def test_an_impedance_of_zero_is_refused(rows):
    """Nothing was measured where it is exactly zero, in all points or in one: said, rather than divided by."""
    Z = randles_ohm(FREQUENCY_HZ, *CIRCUITS[0])
    Z[rows] = 0
    with pytest.raises(SpecError, match="is zero at"):
        fit_randles(FREQUENCY_HZ, Z)
