"""Neware's .nda and .ndax, read by fastnda (BSD-3) and given the format's names, units and signs.

fastnda gives mA, mAh and mWh with the sign of the step (positive on charge), per step, in single precision.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adapters.formats.cycler_file import Batch, ColumnMapping, CyclerFile, slices, unreadable
from adapters.formats.units import Conversion, convert, widened
from orchestrator.domain.recording import BDF_COLUMNS, REQUIRED

if TYPE_CHECKING:
    import polars as pl

_LARGEST_INFLATED = 1 << 31
_SUSPICIOUS_INFLATED, _SUSPICIOUS_RATIO = 1 << 26, 200
_MILLI = Conversion(Fraction(1, 1000))
_COLUMNS = {
    "total_time_s": ("test_time_second", Conversion(), "the times of all steps added up: the file keeps the time in each step"),
    "voltage_V": ("voltage_volt", Conversion(), ""),
    "current_mA": ("current_ampere", _MILLI, "positive in steps that charge"),
    "unix_time_s": ("unix_time_second", Conversion(), "the cycler's clock"),
    "cycle_count": ("cycle_count", Conversion(), "as in the file"),
    "step_count": ("step_count", Conversion(), ""),
    "step_index": ("step_id", Conversion(), "the step of the program"),
    "index": ("record_index", Conversion(), ""),
    "step_time_s": ("step_time_second", Conversion(), "starts anew at each step"),
    "capacity_mAh": ("step_net_capacity_ah", _MILLI, "starts anew at each step; negative on discharge"),
    "energy_mWh": ("step_net_energy_wh", _MILLI, "starts anew at each step; negative on discharge"),
}
_REMEDY = "Export the test again with BTSDA, or copy the file again."


def open_neware(path: Path, kind: str) -> CyclerFile:
    """A Neware file, read whole (it cannot be read otherwise): `kind` is `neware_nda` or `neware_ndax`.

    Raises:
        FormatError: if it is damaged, of an unknown version, would fill the memory, or has no rows.
    """
    if kind == "neware_ndax":
        _check_inflation(path)
    frame, metadata, notes = _read(path, kind)
    columns, mapping, left_out = _translated(path, frame)
    unmapped = [name for name in frame.columns if name not in {one.vendor for one in mapping}]
    return CyclerFile(
        path=path,
        format=kind,
        metadata=metadata,
        mapping=tuple(mapping),
        unmapped=tuple(unmapped),
        notes=(*notes, *left_out, *_cycle_note(columns)),
        columns=tuple(columns),
        read=lambda rows: slices(columns, rows),
    )


def _check_inflation(path: Path) -> None:
    """A zip archive states how large its members become; more than that is never inflated."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise unreadable(path, f"the .ndax archive is cut off or damaged ({error}).", _REMEDY) from None
    inflated = sum(member.file_size for member in members)
    ratio = inflated / max(path.stat().st_size, 1)
    if inflated > _LARGEST_INFLATED or (inflated > _SUSPICIOUS_INFLATED and ratio > _SUSPICIOUS_RATIO):
        raise unreadable(
            path, f"would inflate to {inflated / 2**20:.0f} MiB, {ratio:.0f} times its size.", "No test does: check the file."
        )


def _read(path: Path, kind: str) -> tuple[pl.DataFrame, dict[str, Any], list[str]]:
    fastnda = _fastnda()
    with _named(path, "." + kind.removeprefix("neware_")) as file, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            frame = fastnda.read(file, cycle_mode="raw")
        except MemoryError:
            raise unreadable(path, "asks for more memory than there is.", _REMEDY) from None
        except Exception as error:  # noqa: BLE001 - of a damaged file fastnda may raise anything
            said = f"{type(error).__name__}: {error}".splitlines()[0][:160]
            raise unreadable(path, f"fastnda cannot read it ({said}).", _REMEDY) from None
        notes = sorted(
            {str(warning.message).split(" - ")[0] + "." for warning in caught if "fastnda" in warning.category.__module__}
        )
        return frame, _metadata(file, notes), notes


def _fastnda() -> Any:
    """fastnda, without what importing it does to the whole process: it puts another decompressor in the place of zlib's.

    That one raises errors that are not `zlib.error`, which nobody who reads a zip or gzip file expects.
    """
    kept = zlib.decompress, zlib.decompressobj
    try:
        import fastnda.nda  # type: ignore[import-untyped]
        import fastnda.ndax  # type: ignore[import-untyped]
    finally:
        zlib.decompress, zlib.decompressobj = kept
    return fastnda


@contextmanager
def _named(path: Path, suffix: str) -> Iterator[Path]:
    """The file under a name that ends as fastnda expects: renamed files are read as what they are."""
    if path.suffix.lower() == suffix:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="voltloop-") as folder:
        linked = Path(folder) / f"renamed{suffix}"
        try:
            linked.symlink_to(path.absolute())
        except OSError:
            shutil.copyfile(path, linked)
        yield linked


def _metadata(file: Path, notes: list[str]) -> dict[str, Any]:
    try:
        found = _fastnda().read_metadata(file)
    except Exception as error:  # noqa: BLE001 - of a damaged file fastnda may raise anything
        notes.append(f"the file's own metadata cannot be read ({type(error).__name__}).")
        return {}
    return {str(name): _json_ready(value) for name, value in found.items()}


def _json_ready(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _json_ready(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_ready(inner) for inner in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _translated(path: Path, frame: pl.DataFrame) -> tuple[Batch, list[ColumnMapping], list[str]]:
    columns: Batch = {}
    mapping: list[ColumnMapping] = []
    left_out: list[str] = []
    if frame.height == 0:
        raise unreadable(path, "has no rows.", _REMEDY)
    for name, (bdf, how, note) in {**_COLUMNS, **_temperatures(frame)}.items():
        if name not in frame.columns:
            continue
        found = frame[name]
        if BDF_COLUMNS[bdf] == "i" and found.null_count():
            left_out.append(f"'{name}' was left out: it is not known for {found.null_count()} rows.")
            continue
        columns[bdf] = _column(found, bdf, how)
        mapping.append(ColumnMapping(name, bdf, float(how.scale), note))
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise unreadable(path, f"has no {' and no '.join(missing)}.", _REMEDY)
    return columns, mapping, left_out


def _column(found: pl.Series, bdf: str, how: Conversion) -> Any:
    import polars as pl

    if BDF_COLUMNS[bdf] == "i":
        return found.cast(pl.Int64).to_numpy()
    single = found.dtype == pl.Float32
    values = found.fill_null(np.nan).to_numpy()
    return convert(widened(values) if single else values.astype(np.float64), how)


def _temperatures(frame: pl.DataFrame) -> dict[str, tuple[str, Conversion, str]]:
    """The first five auxiliary temperatures, in the order of the file."""
    names = [name for name in frame.columns if name.startswith("aux") and name.endswith("_temperature_degC")]
    return {name: (f"temperature_t{n}_celsius", Conversion(), "an auxiliary channel") for n, name in enumerate(names[:5], 1)}


def _cycle_note(columns: Batch) -> list[str]:
    cycles = columns.get("cycle_count")
    return ["cycles are counted from 0 in the file, and kept so."] if cycles is not None and cycles[0] == 0 else []
