"""BioLogic files: an optional reader asked for by its install line, currents that a file does not store, spectra among rows."""

import sys

import numpy as np
import pytest

from adapters.formats import biologic, open_cycler_file
from orchestrator.domain.errors import FormatError


def test_without_galvani_the_install_line_is_said(raw, monkeypatch):
    """With its licence, which is why it is no requirement."""
    monkeypatch.setitem(sys.modules, "galvani", None)
    monkeypatch.setitem(sys.modules, "galvani.BioLogic", None)
    with pytest.raises(FormatError, match=r"GPL-3.*pip install 'voltloop\[biologic\]'"):
        open_cycler_file(raw / "biologic_PEIS-0.mpr")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_off_is_refused(share, raw, tmp_path):
    """Wherever the cut lies: the last module is not whole."""
    content = (raw / "biologic_PEIS-0.mpr").read_bytes()
    path = tmp_path / "cut.mpr"
    path.write_bytes(content[: max(30, int(share * len(content)))])
    with pytest.raises(FormatError, match=r"cut\.mpr.*cut off or damaged"):
        open_cycler_file(path)


def test_current_is_the_mean_since_the_row_before():
    """1 mAh in 36 s is 0.1 A; charge in no time is not known; no charge in no time is no current."""
    time = np.array([0.0, 36.0, 36.0, 36.0, 72.0])
    charge = np.array([0.0, 1.0, 0.5, 0.0, -1.0])
    np.testing.assert_array_equal(biologic._mean_current(time, charge), [0.0, 0.1, np.nan, 0.0, -0.1])


def test_rows_outside_a_spectrum_have_no_impedance():
    """EC-Lab writes zeros there, which are no measurement."""
    columns = {"frequency_hertz": np.array([0.0, 100.0]), "real_impedance_ohm": np.array([0.0, 5.0])}
    assert "1 rows have the frequency 0" in biologic._without_spectrum(columns)[0]
    np.testing.assert_array_equal(columns["frequency_hertz"], [np.nan, 100.0])
    np.testing.assert_array_equal(columns["real_impedance_ohm"], [np.nan, 5.0])


def test_impedance_has_the_vocabularys_sign(raw, read):
    """The file keeps -Im(Z); the imaginary part is negative where capacitive, and magnitude and phase agree with it."""
    columns = read(raw / "biologic_PEIS-0.mpr")
    impedance = columns["real_impedance_ohm"] + 1j * columns["imaginary_impedance_ohm"]
    np.testing.assert_allclose(np.abs(impedance), columns["absolute_impedance_ohm"], rtol=1e-5)
    np.testing.assert_allclose(np.degrees(np.angle(impedance)), columns["phase_degree"], rtol=1e-5)
