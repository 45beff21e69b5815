"""Neware files: archives that would fill the memory are refused unopened, and reading one changes nothing else in the process."""

import gzip
import subprocess
import sys
import zipfile

import pytest

from adapters.formats import open_cycler_file
from orchestrator.domain.errors import FormatError


def repacked(source, target, **replaced) -> None:
    """The archive again, some members replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name.replace(".", "_") not in replaced:
                new.writestr(name, old.read(name))
        for name, content in replaced.items():
            if content is not None:
                stem, _, suffix = name.rpartition("_")
                new.writestr(f"{stem}.{suffix}", content)


@pytest.fixture
def ndax(raw):
    return raw / "neware_nw4-120-1-6-53.ndax"


def test_an_archive_that_would_fill_the_memory_is_not_inflated(ndax, tmp_path):
    """300 MiB of zeros in 0.5 MiB: refused by what the archive says of itself."""
    bomb = tmp_path / "bomb.ndax"
    repacked(ndax, bomb, data_ndc=b"\1\0\x0e" + bytes(300 << 20))
    assert bomb.stat().st_size < 2 << 20
    with pytest.raises(FormatError, match=r"bomb\.ndax.*would inflate to 300 MiB"):
        open_cycler_file(bomb)


@pytest.mark.parametrize(
    ("member", "content", "said"),
    [
        ("data_ndc", b"", "fastnda cannot read it"),
        ("data_ndc", b"\1\0\xfe\0" + bytes(8192), "not yet supported"),
        ("data_runInfo_ndc", None, "fastnda cannot read it"),
        ("data_step_ndc", None, "fastnda cannot read it"),
    ],
)
def test_archives_with_members_missing_or_broken_are_refused(member, content, said, ndax, tmp_path):
    """What fastnda stumbles over is said with the file's name."""
    path = tmp_path / "broken.ndax"
    repacked(ndax, path, **{member: content})
    with pytest.raises(FormatError, match=r"broken\.ndax") as error:
        list(open_cycler_file(path).batches())
    assert said in str(error.value)


def test_metadata_that_cannot_be_read_costs_no_rows(ndax, tmp_path, read):
    """A broken XML file is noted; the numbers do not depend on it."""
    path = tmp_path / "broken.ndax"
    repacked(ndax, path, Step_xml=b"<root><config")
    file = open_cycler_file(path)
    assert any("metadata cannot be read" in note for note in file.notes)
    assert len(read(path)["voltage_volt"]) == 18700


def test_reading_neware_leaves_the_process_as_it_was(ndax):
    """Importing fastnda exchanges zlib's decompressor: damaged gzip files must go on to raise zlib's own errors."""
    program = (
        "import sys, zlib; before = zlib.decompress, zlib.decompressobj;"
        "from adapters.formats import open_cycler_file; next(open_cycler_file(sys.argv[1]).batches());"
        "assert 'fastnda' in sys.modules; assert (zlib.decompress, zlib.decompressobj) == before"
    )
    subprocess.run([sys.executable, "-c", program, str(ndax)], check=True)


def test_damaged_gzip_after_neware_is_refused(ndax, tmp_path):
    """The order in which files are opened makes no difference."""
    open_cycler_file(ndax)
    content = bytearray(gzip.compress(b"test_time_second,voltage_volt,current_ampere\n" + b"1,2,3\n" * 5000))
    content[len(content) // 2] ^= 255
    (tmp_path / "damaged.csv.gz").write_bytes(content)
    with pytest.raises(FormatError, match=r"damaged\.csv\.gz"):
        list(open_cycler_file(tmp_path / "damaged.csv.gz").batches())
