"""A cycler's file opened as what it is: the format is found in the content, and a name that says otherwise is only noted."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from adapters.formats.bdf_parquet import open_parquet
from adapters.formats.biologic import open_biologic
from adapters.formats.cycler_file import FORMATS, CyclerFile, unreadable
from adapters.formats.neware import open_neware
from adapters.formats.override import Override, overrides
from adapters.formats.text_file import open_text
from adapters.formats.text_head import begins_as_gzip, read_head
from adapters.formats.timestamps import known_time_zone
from orchestrator.domain.errors import Fault, FormatError, SpecError

_SUFFIXES = {"neware_nda": ".nda", "neware_ndax": ".ndax", "biologic_mpr": ".mpr", "bdf_parquet": ".parquet"}
# Files that laboratories have and that are not read: what they begin with, what they are, what to do.
_STRANGERS = (
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "Save its table as CSV."),
    (b"\0\1\0\0Standard", "an Access data base, as Arbin's .res", "Export the test as CSV with Arbin's software."),
    (b"\x89HDF", "an HDF5 file", "Export the test as CSV."),
    (b"MATLAB", "a MATLAB file", "Save its table as CSV."),
    (b"SQLite format 3", "an SQLite data base", "Export the test as CSV."),
    (b"%PDF", "a PDF", "Export the test as CSV."),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it first."),
    (b"Rar!", "a RAR archive", "Unpack it first."),
    (b"BZh", "a bzip2 file", "Unpack it first."),
    (b"\xfd7zXZ", "an xz file", "Unpack it first."),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "Unpack it first."),
)


def open_cycler_file(path: str | Path, *, columns: Mapping[str, str] | None = None, time_zone: str = "UTC") -> CyclerFile:
    """Open a file that a cycler or its software wrote.

    Args:
        path: the file; its content says what it is, whatever its name.
        columns: what columns mean where the file does not say, by header: a Battery Data Format name, with the file's unit in
            brackets if it is another one, with a minus if the sign is the other one; `ignore` leaves a column out. For example
            `{"U": "voltage_volt [mV]", "I": "-current_ampere [mA]"}`. Text and Parquet files only.
        time_zone: IANA name of the zone of dates that name none.

    Returns:
        The file, ready to be read in batches. Only the beginning of text was read; damage further on shows in `batches`.

    Raises:
        FormatError: if it cannot be read as what it is, with its name, the place and what to do.
        SpecError: if `columns` or `time_zone` are not understood.
    """
    stated = overrides(columns)
    if not known_time_zone(time_zone):
        raise SpecError(Fault("time_zone", f"'{time_zone}' is not a time zone.", "Take an IANA name, such as Europe/Berlin."))
    path = Path(path)
    try:
        start = _start(path)
        if stated and not start.startswith(b"PAR1") and _binary(path, start):
            raise unreadable(path, "its columns are known: `columns` is for text and Parquet files.", "Leave `columns` out.")
        return _noted(_opened(path, start, stated, time_zone))
    except OSError as error:
        raise unreadable(path, f"cannot be read: {error.strerror or error}.", "Check the path and its permissions.") from error


def _opened(path: Path, start: bytes, stated: Mapping[str, Override], time_zone: str) -> CyclerFile:
    if kind := _binary(path, start):
        return open_biologic(path, time_zone) if kind == "biologic_mpr" else open_neware(path, kind)
    if start.startswith(b"PAR1"):
        return open_parquet(path, stated)
    head = read_head(path)
    if head is None:
        raise _unknown(path, begins_as_gzip(start))
    return open_text(head, stated, time_zone)


def _start(path: Path) -> bytes:
    if path.is_dir():
        raise unreadable(path, "is a folder.", "Name the files in it.")
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise unreadable(path, "is empty (0 bytes).", "Export or copy it again.")
    return start


def _binary(path: Path, start: bytes) -> str | None:
    """The binary format of a file, if it is one that is read."""
    if start.startswith(b"NEWARE"):
        return "neware_nda"
    if start.startswith(b"BIO-LOGIC MODULAR FILE"):
        return "biologic_mpr"
    return _in_zip(path) if start.startswith(b"PK") else None


def _in_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise unreadable(
            path, f"is a zip archive (as .ndax files are), cut off or damaged ({error}).", "Copy it again."
        ) from None
    if "data.ndc" in names:
        return "neware_ndax"
    if any(name.startswith("xl/") for name in names):
        raise unreadable(path, "is an Excel workbook.", "Save its table as CSV.")
    raise unreadable(path, "is a zip archive, and not one of Neware's.", "Unpack it first.")


def _unknown(path: Path, compressed: bool) -> FormatError:
    with path.open("rb") as file:
        start = file.read(64)
    for mark, what, remedy in _STRANGERS:
        if start.startswith(mark):
            return unreadable(path, f"is {what}, which is not read.", remedy)
    if compressed:
        return unreadable(path, "is a gzip file of something that is not text.", "Unpack it first.")
    return unreadable(
        path, "is not text, and begins like no format that is known here.", f"Known are: {', '.join(FORMATS.values())}."
    )


def _noted(file: CyclerFile) -> CyclerFile:
    """The file, with a note where its name says that it is something else."""
    said = file.path.suffix.lower()
    belongs = _SUFFIXES.get(file.format)
    if (
        said == belongs
        or (belongs is None and said not in _SUFFIXES.values())
        or (belongs == ".parquet" and said in (".bdf", ".pq"))
    ):
        return file
    return replace(
        file, notes=(f"the name ends with '{said}', and the content is {FORMATS[file.format]}: read as that.", *file.notes)
    )
