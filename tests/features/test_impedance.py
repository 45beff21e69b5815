"""Spectrum -> Randles circuit."""

import numpy as np
import pytest

from orchestrator.domain import SpecError
from orchestrator.features import fit_randles
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
