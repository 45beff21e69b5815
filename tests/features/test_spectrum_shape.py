"""Where a spectrum crosses the axis, where its arc is highest, and where the tail begins."""

import gzip

import numpy as np
import pytest

from adapters.formats import open_recording
from orchestrator.domain import SpecError
from orchestrator.features import arc_tops, characteristic_points, impedance_spectra
from orchestrator.features.impedance import randles_ohm

FREQUENCY_HZ = np.geomspace(1e4, 1e-2, 61)


def test_an_arc_is_highest_where_its_circuit_says():
    """1/(2 pi R C), with half the arc's width as height, and no foot without a tail."""
    Z = 0.01 + 0.02 / (1 + 2j * np.pi * FREQUENCY_HZ * 0.02 * 0.5)
    found = characteristic_points(FREQUENCY_HZ[::-1], Z[::-1])
    assert found.arc_top.frequency_Hz == pytest.approx(1 / (2 * np.pi * 0.01), rel=0.01)
    assert found.arc_top.minus_imaginary_ohm == pytest.approx(0.01, rel=1e-3)
    assert found.arc_top.real_ohm == pytest.approx(0.02, rel=0.01)
    assert found.foot is found.zero_crossing is None


def test_leads_cross_the_axis_and_diffusion_makes_a_foot():
    """The crossing is where both reactances cancel; the foot lies between arc and tail."""
    inductance_H = 1e-7
    Z = randles_ohm(FREQUENCY_HZ, 0.01, 0.02, 0.5, 0.002) + 2j * np.pi * FREQUENCY_HZ * inductance_H
    found = characteristic_points(FREQUENCY_HZ, Z)
    assert found.zero_crossing.frequency_Hz == pytest.approx(1 / (2 * np.pi * np.sqrt(0.5 * inductance_H)), rel=0.05)
    assert found.zero_crossing.real_ohm == pytest.approx(0.01, rel=0.02)
    assert found.zero_crossing.frequency_Hz > found.arc_top.frequency_Hz > found.foot.frequency_Hz
    fine = np.geomspace(found.arc_top.frequency_Hz, 1e-2, 20_000)
    tail = randles_ohm(fine, 0.01, 0.02, 0.5, 0.002) + 2j * np.pi * fine * inductance_H
    assert found.foot.frequency_Hz == pytest.approx(fine[np.argmin(-tail.imag)], rel=0.02)


def test_single_noisy_points_make_no_top():
    """A tail alone has neither, and a spectrum of few points none."""
    Z = 0.01 + 0.002 * (1 - 1j) / np.sqrt(FREQUENCY_HZ)
    Z[30] -= 2e-5j
    assert characteristic_points(FREQUENCY_HZ, Z)[1:] == (None, None)
    assert characteristic_points([10.0, 1.0], [1 - 1j, 2 - 1j]) == (None, None, None)
    assert characteristic_points([], []) == (None, None, None)


def test_the_arc_is_the_most_prominent_one():
    """Of two arcs the larger, whichever comes first; the other one is told beside it; a plateau is none."""
    omega = 2 * np.pi * FREQUENCY_HZ
    for small, large in ((1e-4, 0.1), (0.1, 1e-4)):
        Z = 0.01 + 0.005 / (1 + 1j * omega * small) + 0.02 / (1 + 1j * omega * large)
        first, second = arc_tops(FREQUENCY_HZ, Z)
        assert first == characteristic_points(FREQUENCY_HZ, Z).arc_top
        assert first.frequency_Hz == pytest.approx(1 / (2 * np.pi * large), rel=0.1)
        assert second.frequency_Hz == pytest.approx(1 / (2 * np.pi * small), rel=0.1)


def test_a_plateau_before_the_arc_of_a_real_spectrum_is_passed_over(public_data):
    """BioLogic's PEIS has 1e-4 of its range at 3.9 kHz, and its arc of 25.6 ohm at 1.3 Hz."""
    spectrum = impedance_spectra(open_recording(public_data / "raw" / "biologic_PEIS-0.mpr"))[0]
    found = characteristic_points(spectrum.frequency_Hz, spectrum.Z_ohm)
    assert 1 < found.arc_top.frequency_Hz < 2
    assert found.arc_top.minus_imaginary_ohm == pytest.approx(25.6, abs=0.1)
    assert found.foot.frequency_Hz == pytest.approx(0.153, abs=0.01)
    assert arc_tops(spectrum.frequency_Hz, spectrum.Z_ohm) == [found.arc_top]


def test_real_spectra_cross_the_axis(public_data):
    """Each of 467 spectra of 31 cells has a crossing, between 20 Hz and 2 kHz; most have a top and a foot below it."""
    with gzip.open(public_data / "eis_denso.csv.gz", "rt") as stream:
        names = stream.readline().strip().split(",")
        table = np.genfromtxt(stream, delimiter=",")
    real = [i for i, name in enumerate(names) if name.startswith("Zreal_")]
    imaginary = [i for i, name in enumerate(names) if name.startswith("Zimag_")]
    frequency_Hz = np.array([float(names[i][6:-2]) for i in real])
    found = [characteristic_points(frequency_Hz, row[real] + 1j * row[imaginary]) for row in table]
    assert len(found) == 467
    assert all(20 < points.zero_crossing.frequency_Hz < 2e3 for points in found)
    assert np.mean([points.foot is not None for points in found]) > 0.8


def test_what_is_no_spectrum_is_refused():
    """With what is wrong with it."""
    with pytest.raises(SpecError, match="as many frequencies"):
        characteristic_points([1.0], [1j, 2j])
    with pytest.raises(SpecError, match="positive frequencies"):
        characteristic_points([0.0], [1j])
