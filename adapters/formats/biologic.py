"""BioLogic's .mpr, read by galvani and given the format's names, units and signs.

galvani is GPL-3 and therefore an optional extra: `pip install 'voltloop[biologic]'`. The format is unpublished.
"""

from __future__ import annotations

import io
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from adapters.formats.cycler_file import Batch, ColumnMapping, CyclerFile, slices, unreadable
from adapters.formats.units import Conversion, convert, widened
from orchestrator.domain.errors import FormatError
from orchestrator.domain.recording import BDF_COLUMNS, REQUIRED

INSTALL = "pip install 'voltloop[biologic]'"
_LARGEST = 1 << 31
_SAME, _MINUS, _MILLI = Conversion(), Conversion(Fraction(-1)), Conversion(Fraction(1, 1000))
_STEP = "starts anew at each step"
_COLUMNS: tuple[tuple[str, str, Conversion, str], ...] = (
    ("time/s", "test_time_second", _SAME, ""),
    ("Ewe-Ece/V", "voltage_volt", _SAME, "between the electrodes"),
    (
        "Ewe/V",
        "voltage_volt",
        _SAME,
        "the working electrode against the reference: the cell's voltage where both leads are on the cell",
    ),
    ("<Ewe>/V", "voltage_volt", _SAME, "averaged by the instrument; the working electrode against the reference"),
    ("I/mA", "current_ampere", _MILLI, ""),
    ("<I>/mA", "current_ampere", _MILLI, "averaged by the instrument"),
    ("cycle number", "cycle_count", _SAME, "as in the file"),
    ("z cycle", "cycle_count", _SAME, "as in the file"),
    ("Ns", "step_id", _SAME, "the sequence of the technique"),
    ("step time/s", "step_time_second", _SAME, ""),
    ("(Q-Qo)/mA.h", "net_capacity_ah", _MILLI, "since the start of the test"),
    ("(Q-Qo)/C", "net_capacity_ah", Conversion(Fraction(1, 3600)), "since the start of the test"),
    ("Q charge/mA.h", "step_charging_capacity_ah", _MILLI, _STEP),
    ("Q discharge/mA.h", "step_discharging_capacity_ah", _MILLI, _STEP),
    ("P/W", "power_watt", _SAME, ""),
    ("Temperature/°C", "temperature_t1_celsius", _SAME, ""),
    ("freq/Hz", "frequency_hertz", _SAME, ""),
    ("Re(Z)/Ohm", "real_impedance_ohm", _SAME, ""),
    ("-Im(Z)/Ohm", "imaginary_impedance_ohm", _MINUS, "negative where capacitive"),
    ("|Z|/Ohm", "absolute_impedance_ohm", _SAME, ""),
    ("Phase(Z)/deg", "phase_degree", _SAME, ""),
    ("Rdc/Ohm", "dc_internal_resistance_ohm", _SAME, ""),
)
_SPECTRUM = ("frequency_hertz", "real_impedance_ohm", "imaginary_impedance_ohm", "absolute_impedance_ohm", "phase_degree")
_CHARGE_SINCE_ROW_BEFORE = ("dq/mA.h", "dQ/mA.h")
_REMEDY = "Copy the file again, or export it as text with EC-Lab."


def open_biologic(path: Path, time_zone: str) -> CyclerFile:
    """A BioLogic file, read whole (it cannot be read otherwise); dates are taken for local time in `time_zone`.

    Raises:
        FormatError: if galvani is not installed, or the file is damaged, of an unknown version, or has no rows.
    """
    file = _read(path)
    names = list(file.data.dtype.names or ())
    if len(file.data) == 0:
        raise unreadable(path, "has no rows.", "The technique recorded nothing: take another file of the test.")
    columns, mapping, notes = _translated(path, file.data, names)
    notes += _without_spectrum(columns)
    notes += _add_dates(columns, mapping, file, time_zone)
    used = {one.vendor for one in mapping} | {"flags"}
    return CyclerFile(
        path=path,
        format="biologic_mpr",
        metadata=_metadata(file),
        mapping=tuple(mapping),
        unmapped=(*(name for name in names if name not in used), *file.flags_dict),
        notes=tuple(notes),
        columns=tuple(columns),
        read=lambda rows: slices(columns, rows),
    )


def _read(path: Path) -> Any:
    try:
        from galvani.BioLogic import MPRfile  # type: ignore[import-untyped]
    except ImportError:
        raise unreadable(
            path,
            "is a BioLogic .mpr file, and galvani, which reads it, is not installed.",
            f"Install it (licence: GPL-3): {INSTALL}",
        ) from None
    if path.stat().st_size > _LARGEST:
        raise unreadable(path, "is larger than 2 GiB, and .mpr files are read whole.", "Export it as text with EC-Lab.")
    try:
        return MPRfile(io.BytesIO(path.read_bytes()))
    except MemoryError:
        raise unreadable(path, "asks for more memory than there is.", _REMEDY) from None
    except Exception as error:  # noqa: BLE001 - of a damaged file galvani may raise anything
        raise _refused(path, error) from None


def _refused(path: Path, error: Exception) -> FormatError:
    said = " ".join(f"{type(error).__name__}: {error}".split())[:160]
    unknown = isinstance(error, NotImplementedError) or "Unrecognised version" in said
    problem = "holds columns or a version that galvani does not know" if unknown else "is cut off or damaged"
    return unreadable(path, f"{problem} ({said}).", _REMEDY)


def _translated(path: Path, data: Any, names: list[str]) -> tuple[Batch, list[ColumnMapping], list[str]]:
    columns: Batch = {}
    mapping: list[ColumnMapping] = []
    notes: list[str] = []
    for name, bdf, how, note in _COLUMNS:
        if name not in names or bdf in columns:
            continue
        columns[bdf] = _column(path, name, data[name], bdf, how)
        mapping.append(ColumnMapping(name, bdf, float(f"{float(how.scale):.7g}"), note))
    charge = next((name for name in _CHARGE_SINCE_ROW_BEFORE if name in names), None)
    if "current_ampere" not in columns and "test_time_second" in columns and charge:
        columns["current_ampere"] = _mean_current(columns["test_time_second"], data[charge].astype(np.float64))
        mapping.append(ColumnMapping(charge, "current_ampere", 0.001, "charge since the row before, by the time since then"))
        notes.append(f"the file stores no current: '{charge}' gives the mean since the row before, as EC-Lab's <I>.")
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        has = f"It has: {', '.join(names)}."
        raise unreadable(path, f"has no column for {' and '.join(f'`{name}`' for name in missing)}.", has)
    if "cycle_count" in columns and columns["cycle_count"][0] == 0:
        notes.append("cycles are counted from 0 in the file, and kept so.")
    return dict(sorted(columns.items(), key=lambda item: list(BDF_COLUMNS).index(item[0]))), mapping, notes


def _column(path: Path, name: str, found: NDArray[Any], bdf: str, how: Conversion) -> NDArray[Any]:
    if BDF_COLUMNS[bdf] == "i":
        values = found.astype(np.float64)
        if not (np.isfinite(values) & (np.rint(values) == values) & (np.abs(values) < 2.0**53)).all():
            raise unreadable(path, f"'{name}' is not whole numbers throughout.", _REMEDY)
        return values.astype(np.int64)
    return convert(widened(found) if found.dtype == np.float32 else found.astype(np.float64), how)


def _mean_current(time_s: NDArray[np.float64], charge_mAh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Current in A between each row and the one before, shape (n,); NaN where charge flowed in no time."""
    passed = np.diff(time_s, prepend=np.nan)
    with np.errstate(all="ignore"):
        current = charge_mAh * 3.6 / passed
    return np.where(passed > 0, current, np.where(charge_mAh == 0, 0.0, np.nan))


def _without_spectrum(columns: Batch) -> list[str]:
    """Rows at frequency zero are no part of a spectrum: impedance belongs to none there."""
    frequency = columns.get("frequency_hertz")
    if frequency is None or not (frequency == 0).any():
        return []
    outside = frequency == 0
    for name in _SPECTRUM:
        if name in columns:
            columns[name] = np.where(outside, np.nan, columns[name])
    return [f"{int(outside.sum())} rows have the frequency 0: they are no part of a spectrum, and have no impedance."]


def _add_dates(columns: Batch, mapping: list[ColumnMapping], file: Any, time_zone: str) -> list[str]:
    start = getattr(file, "timestamp", None)
    if not isinstance(start, datetime):
        return ["the file has no start date: there is no unix_time_second."]
    began = start.replace(tzinfo=ZoneInfo(time_zone)).timestamp()
    columns["unix_time_second"] = began + columns["test_time_second"]
    mapping.append(ColumnMapping("time/s", "unix_time_second", 1.0, f"added to the start, {start.isoformat()}"))
    return [f"the start date names no time zone: {time_zone} was taken."]


def _metadata(file: Any) -> dict[str, Any]:
    """What the file says of itself: dates, version, and its modules."""
    started = getattr(file, "timestamp", None)
    modules = [
        {"name": _text(m["longname"]), "version": int(m["version"]), "date": _text(m["date"]), "bytes": int(m["length"])}
        for m in file.modules
    ]
    loops = file.loop_index
    return {
        "start_date": str(file.startdate),
        "end_date": str(getattr(file, "enddate", "")),
        "started": started.isoformat() if isinstance(started, datetime) else "",
        "data_version": int(file.version),
        "modules": modules,
        "loop_index": [] if loops is None else [int(n) for n in loops],
    }


def _text(raw: bytes) -> str:
    return bytes(raw).decode("latin-1").strip()
