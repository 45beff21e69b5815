"""Files opened as what they are: by content, not by name, and everything else refused with what it is and what to do."""

import os
import shutil
import zipfile

import pytest

from adapters.formats import FORMATS, open_cycler_file
from orchestrator.domain.errors import FormatError, SpecError

REAL = ("arbin.csv", "maccor.csv", "novonix.csv", "landt.bdf.csv", "biologic_PEIS-0.mpr", "neware_nw4-120-1-6-53.ndax")


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("wrong", ["renamed.csv", "renamed.ndax", "renamed.mpr", "renamed.parquet", "renamed"])
def test_a_renamed_file_is_read_as_what_it_is(name, wrong, raw, tmp_path, read):
    """The same rows and format under any name; a name that says something else is noted."""
    path = tmp_path / wrong
    shutil.copy(raw / name, path)
    right, renamed = open_cycler_file(raw / name), open_cycler_file(path)
    assert renamed.format == right.format
    assert renamed.format in FORMATS
    assert len(read(path)["voltage_volt"]) == len(read(raw / name)["voltage_volt"])
    lies = path.suffix in (".ndax", ".mpr", ".parquet") and path.suffix != (raw / name).suffix
    lies |= (raw / name).suffix in (".ndax", ".mpr") and path.suffix != (raw / name).suffix
    assert any("the name ends with" in note for note in renamed.notes) == lies


def test_an_empty_file_is_refused(tmp_path):
    """Zero bytes, under any name."""
    for name in ("empty.csv", "empty.ndax", "empty.mpr", "empty.parquet"):
        (tmp_path / name).touch()
        with pytest.raises(FormatError, match=rf"{name}.*is empty \(0 bytes\)"):
            open_cycler_file(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0" * 5000, "is not text"),
        (bytes(range(256)) * 20, "is not text"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "an old Excel workbook"),
        (b"\0\1\0\0Standard Jet DB\0" + b"\0" * 600, "Arbin's .res"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 600, "HDF5"),
        (b"SQLite format 3\0" + b"\0" * 600, "SQLite"),
        (b"PAR1" + b"\0" * 600, "Parquet file is cut off or damaged"),
        (b"PK\x03\x04" + b"\0" * 600, "cut off or damaged"),
        (b"NEWARE" + b"\0" * 6000, "fastnda cannot read it"),
        (b"BIO-LOGIC MODULAR FILE\x1a" + b"\0" * 600, "cut off or damaged"),
        (b"\x1f\x8b\x08" + b"\0" * 600, "gzip file"),
        (b"   \n\n  \n", "no line of it is the header"),
    ],
)
def test_what_is_no_cyclers_file_is_refused_with_what_it_is(content, said, tmp_path):
    """Garbage, and files of other programs, each in one line with its name and a remedy."""
    path = tmp_path / "stranger.dat"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"stranger\.dat") as error:
        list(open_cycler_file(path).batches())
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_archives_of_other_programs_are_named(tmp_path):
    """An Excel workbook and any other zip are not taken for Neware's."""
    for member, said in (("xl/workbook.xml", "Excel workbook"), ("data.csv", "not one of Neware's")):
        with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
            archive.writestr(member, "x")
        with pytest.raises(FormatError, match=said):
            open_cycler_file(tmp_path / "archive")


def test_places_that_are_no_files_are_named(tmp_path):
    """A folder, a name that is not there, and a file that may not be read."""
    with pytest.raises(FormatError, match="is a folder"):
        open_cycler_file(tmp_path)
    with pytest.raises(FormatError, match=r"nowhere\.csv.*cannot be read: No such file"):
        open_cycler_file(tmp_path / "nowhere.csv")
    if os.geteuid() != 0:
        (tmp_path / "closed.csv").write_text("x")
        (tmp_path / "closed.csv").chmod(0)
        with pytest.raises(FormatError, match="Permission denied"):
            open_cycler_file(tmp_path / "closed.csv")


def test_statements_about_columns_are_for_tables(raw):
    """A binary file's columns are known."""
    with pytest.raises(FormatError, match="`columns` is for text and Parquet files"):
        open_cycler_file(raw / "biologic_PEIS-0.mpr", columns={"Ewe/V": "voltage_volt"})
    with pytest.raises(SpecError, match="time_zone"):
        open_cycler_file(raw / "biologic_PEIS-0.mpr", time_zone="nowhere")


def test_a_batch_needs_rows(raw):
    """Zero rows a batch would never end."""
    with pytest.raises(ValueError, match="at least one row"):
        open_cycler_file(raw / "arbin.csv").batches(0)
