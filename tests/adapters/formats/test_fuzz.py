"""Readers against damaged files: a result, or one error that names the file; never another exception, a full memory or a hang."""

import gzip
import os
import resource
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.formats import open_cycler_file, write_bdf_parquet
from orchestrator.domain.errors import FormatError
from orchestrator.domain.recording import BDF_COLUMNS, OWN_COLUMNS

FILES = (
    "arbin.csv",
    "maccor.csv",
    "novonix.csv",
    "landt.bdf.csv",
    "biologic_GCPL-0.mpr",
    "biologic_PEIS-0.mpr",
    "neware_nw4-120-1-6-53.ndax",
    "a123_gitt.csv.gz",
    "parquet",
)
TEXT = {"arbin.csv", "maccor.csv", "novonix.csv", "landt.bdf.csv"}
EXAMPLES = int(os.environ.get("VOLTLOOP_FUZZ_EXAMPLES", "25"))
MOST_MEMORY_KIB = 1 << 20

OVERWRITTEN = [b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f", b"nan", b",", b'"', b"\n"]
MAGIC = [b"", b"PK\x03\x04", b"PAR1", b"NEWARE", b"BIO-LOGIC MODULAR FILE\x1a", b"\x1f\x8b\x08"]

position = st.floats(0.0, 1.0, exclude_max=True)
damage = st.one_of(
    st.tuples(st.just("cut"), position),
    st.tuples(st.just("flip"), position, st.integers(1, 255)),
    st.tuples(st.just("insert"), position, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("remove"), position, st.integers(1, 5000)),
    st.tuples(st.just("repeat"), position, st.integers(1, 5000)),
    st.tuples(
        st.just("overwrite"), position, st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f", b"nan", b",", b'"', b"\n"])
    ),
    st.tuples(st.just("swap"), position, position),
)


def damaged(content: bytes, kind: str, where: float, what=None) -> bytes:
    """Content after one accident."""
    at = int(where * len(content))
    if kind == "cut":
        return content[:at]
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ what]) + content[at + 1 :]
    if kind == "insert":
        return content[:at] + what + content[at:]
    if kind == "overwrite":
        return content[:at] + what + content[at + len(what) :]
    if kind == "remove":
        return content[:at] + content[at + what :]
    if kind == "repeat":
        return content[: at + what] + content[at:]
    lines = content.split(b"\n")
    one, other = int(where * len(lines)), int(what * len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


@cache
def original(name: str, folder: Path) -> bytes:
    """A sound file, small where it can be: the table of a long text is cut after 400 rows."""
    if name == "parquet":
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "x"
            write_bdf_parquet(path, open_cycler_file(folder / "raw" / "novonix.csv").batches(100), {"cell": "7"})
            return path.read_bytes()
    if name == "a123_gitt.csv.gz":
        return gzip.compress(b"\n".join(gzip.decompress((folder / name).read_bytes()).split(b"\n")[:400]), mtime=0)
    content = (folder / "raw" / name).read_bytes()
    return b"\n".join(content.split(b"\n")[:400]) + b"\n" if name in TEXT else content


def outcome(content: bytes) -> tuple[int, str]:
    """Read a file to its end: how many rows it has, or the message of the error that names it."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    rows, said = 0, ""
    try:
        path = folder / "damaged.dat"
        path.write_bytes(content)
        for length in lengths_of_batches(path):
            rows += length
    except FormatError as error:
        said = str(error)
    finally:
        shutil.rmtree(folder)
    assert "damaged.dat" in said if said else rows > 0
    return rows, said


def lengths_of_batches(path: Path):
    """Every batch's length, after a look at its columns and kinds."""
    file = open_cycler_file(path)
    for batch in file.batches(1000):
        assert tuple(batch) == file.columns
        assert {name: column.dtype for name, column in batch.items()} == {
            name: np.int64 if (BDF_COLUMNS | OWN_COLUMNS)[name] == "i" else np.float64 for name in batch
        }
        (length,) = {len(column) for column in batch.values()}
        yield length


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused_by_name(name, public_data):
    """Whatever one or two accidents do to a file: rows, or a FormatError that names it, in bounded memory."""
    sound = original(name, public_data)

    @settings(max_examples=EXAMPLES)
    @given(st.lists(damage, min_size=1, max_size=2))
    @example([("cut", 0.5)])
    @example([("cut", 0.0)])
    def survives(accidents):
        content = sound
        for accident in accidents:
            if content:
                content = damaged(content, *accident)
        outcome(content)

    survives()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 3 * MOST_MEMORY_KIB


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_anywhere_gives_no_row_that_was_not_there(name, public_data):
    """Cut at thirty places: an error, or a part of the rows (text that ends with a whole row shows no sign of it)."""
    sound = original(name, public_data)
    rows, said = outcome(sound)
    assert not said
    for share in np.linspace(0.0, 0.999, 30):
        found, _ = outcome(sound[: int(share * len(sound))])
        assert found <= rows
    if name not in TEXT:
        assert outcome(sound[: len(sound) // 2])[1]


@settings(max_examples=4 * EXAMPLES)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"PK\x03\x04", b"PAR1", b"NEWARE", b"BIO-LOGIC MODULAR FILE\x1a", b"\x1f\x8b\x08"]),
)
def test_garbage_is_refused(content, magic):
    """Bytes of no format, and such behind the first bytes of one, are refused with the file's name."""
    assert outcome(magic + content)[1]


@settings(max_examples=4 * EXAMPLES)
@given(st.text(max_size=400), st.sampled_from(["utf-8", "utf-16", "latin-1", "utf-8-sig"]))
def test_text_that_is_no_table_is_refused(text, encoding):
    """Any text, behind the header of a table or not, is a table of numbers or refused."""
    header = "test_time_second,voltage_volt,current_ampere\n"
    assert outcome(text.encode(encoding, "replace"))[1]
    outcome((header + text).encode(encoding, "replace"))


@pytest.mark.parametrize("letter", [" ", "1", "(", "/", ",", "a ", '"', ";", "\r", "[x", "1,", "0:", "\t "])
def test_a_megabyte_of_one_sign_is_refused_at_once(letter):
    """No pattern here takes more time than the text is long: alone, as a header, and as a cell far down."""
    header = "test_time_second,voltage_volt,current_ampere\n"
    assert outcome((letter * (1 << 20)).encode())[1]
    assert outcome((letter * (1 << 20) + "," + header).encode())[1]
    outcome((header + "1,2,3\n" + letter * (3 << 20) + "\n").encode())


def test_five_thousand_columns_are_read():
    """A table much wider than any cycler's costs no more than its size."""
    names = ["test_time_second", "voltage_volt", "current_ampere", *(f"x{n}" for n in range(5000))]
    rows = (",".join(["1"] * len(names)) + "\n") * 2
    assert outcome((",".join(names) + "\n" + rows).encode()) == (2, "")
