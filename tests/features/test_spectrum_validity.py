"""Spectra that obey Kramers and Kronig's relations pass, those of cells that drift or are driven too hard do not."""

import gzip

import numpy as np
import pytest

from orchestrator.domain import SpecError
from orchestrator.features import kramers_kronig
from orchestrator.features.impedance import randles_ohm

FREQUENCY_HZ = np.geomspace(1e4, 1e-2, 61)
CIRCUITS = [(0.010, 0.020, 0.5, 0.002), (0.050, 0.010, 2.0, 0.010), (1.0, 30.0, 2e-5, 5.0), (0.016, 0.023, 0.05, 0.0005)]


def noisy(Z, noise, seed=0):
    rng = np.random.default_rng(seed)
    return Z + noise * np.abs(Z) * (rng.normal(size=len(Z)) + 1j * rng.normal(size=len(Z)))


@pytest.mark.parametrize("circuit", CIRCUITS)
@pytest.mark.parametrize("noise", [1e-3, 5e-3])
def test_a_lawful_spectrum_leaves_its_noise(circuit, noise):
    """The residual's size is that of the noise (in two dimensions), with leads in series; mu stays below its limit."""
    Z = randles_ohm(FREQUENCY_HZ, *circuit) + 2j * np.pi * FREQUENCY_HZ * 1e-7 * circuit[0]
    order = np.random.default_rng(1).permutation(61)
    found = kramers_kronig(FREQUENCY_HZ[order], noisy(Z, noise)[order])
    assert 0.7 * np.sqrt(2) * noise < found.residual_rms < 1.4 * np.sqrt(2) * noise
    assert found.mu < 0.85
    assert found.elements < 40
    assert (np.diff(found.frequency_Hz) < 0).all()


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_without_noise_nothing_is_left(circuit):
    """A tenth of a per mille at most, whatever the size of the elements."""
    assert kramers_kronig(FREQUENCY_HZ, randles_ohm(FREQUENCY_HZ, *circuit)).residual_rms < 2e-4


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_drift_is_seen(circuit):
    """A cell whose resistances grow by 30 % while it is measured leaves more than ten times the noise of a steady one."""
    share = np.cumsum(1 / FREQUENCY_HZ) / np.sum(1 / FREQUENCY_HZ)
    R0, Rct, Cdl, Aw = circuit
    drifting = np.array(
        [randles_ohm([f], R0 * (1 + 0.3 * s), Rct * (1 + 0.3 * s), Cdl, Aw)[0] for f, s in zip(FREQUENCY_HZ, share, strict=True)]
    )
    steady = kramers_kronig(FREQUENCY_HZ, noisy(randles_ohm(FREQUENCY_HZ, *circuit), 5e-4))
    found = kramers_kronig(FREQUENCY_HZ, noisy(drifting, 5e-4))
    assert found.residual_rms > 8e-3 > 5 * steady.residual_rms
    assert found.residual_max > 0.03


def test_too_large_an_excitation_is_seen():
    """A charge transfer (Butler and Volmer's sinh) driven by a large current, and a small one at each frequency's own amplitude.

    The response to i sin(wt) is read at its fundamental. With one amplitude the error is a smaller resistance, which is
    lawful; with an amplitude that changes with frequency, as analysers' ranges do, it is not.
    """
    phase = np.linspace(0, 2 * np.pi, 400, endpoint=False)

    def transfer_ohm(drive):
        volts = np.arcsinh(drive * np.sin(phase)) / drive
        return 0.02 * 2 * np.mean(volts * np.sin(phase))

    def spectrum(R):
        return 0.01 + 1 / (1 / (R + 0.002 * (1 - 1j) / np.sqrt(2 * np.pi * FREQUENCY_HZ)) + 2j * np.pi * FREQUENCY_HZ * 0.5)

    ranges = np.where(FREQUENCY_HZ > 2.0, 0.1, 3.0)
    hard, small = spectrum(np.array([transfer_ohm(drive) for drive in ranges])), spectrum(transfer_ohm(0.1))
    assert kramers_kronig(FREQUENCY_HZ, noisy(hard, 5e-4)).residual_max > 0.02
    assert kramers_kronig(FREQUENCY_HZ, noisy(small, 5e-4)).residual_max < 4e-3


def test_real_spectra_obey_to_their_noise(public_data):
    """Spectra of commercial cells, inductive points and all: residuals below 1.5 %."""
    with gzip.open(public_data / "eis_denso.csv.gz", "rt") as stream:
        names = stream.readline().strip().split(",")
        table = np.genfromtxt(stream, delimiter=",")[::60]
    real = [i for i, name in enumerate(names) if name.startswith("Zreal_")]
    imaginary = [i for i, name in enumerate(names) if name.startswith("Zimag_")]
    frequency_Hz = np.array([float(names[i][6:-2]) for i in real])
    for row in table:
        assert kramers_kronig(frequency_Hz, row[real] + 1j * row[imaginary]).residual_rms < 0.015


@pytest.mark.parametrize(
    ("frequency_Hz", "Z_ohm", "words"),
    [
        (np.arange(1.0, 6), np.ones(5), r"needs 6 points .* \(got 5 points\)"),
        (np.ones(9), np.ones(9), "different frequencies"),
        (np.arange(1.0, 10), np.zeros(9), "no impedance of 0"),
        (np.arange(1.0, 10), np.full(9, np.nan), "finite impedances"),
        ([], [], "needs 6 points"),
    ],
)
def test_what_cannot_be_checked_is_refused(frequency_Hz, Z_ohm, words):
    """Too few points, one frequency, no impedance, no numbers."""
    with pytest.raises(SpecError, match=words):
        kramers_kronig(frequency_Hz, Z_ohm)
