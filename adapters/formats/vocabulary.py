"""Names of the Battery Data Format, as machines and people write them, and what a header says: quantity and unit.

Source: Battery Data Format ontology 1.2.0, https://w3id.org/battery-data-alliance/ontology/battery-data-format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from adapters.formats.units import Conversion, conversion, dimension
from orchestrator.domain.recording import BDF_COLUMNS, OWN_COLUMNS

_UNIT_IN_LABEL = {
    "time": "s",
    "voltage": "V",
    "current": "A",
    "capacity": "Ah",
    "energy": "Wh",
    "power": "W",
    "resistance": "ohm",
    "temperature": "degC",
    "frequency": "Hz",
    "angle": "deg",
    "pressure": "Pa",
    "count": "1",
}
_CAPITALS = {"id": "ID", "ac": "AC", "dc": "DC", "t1": "T1", "t2": "T2", "t3": "T3", "t4": "T4", "t5": "T5"}
# Names that files carry beside the machine-readable ones: the ontology's alternatives and its deprecated names.
_OTHER_NAMES = {
    "test_time_s": ("test_time_second", "s"),
    "test_time_millisecond": ("test_time_second", "ms"),
    "test_time_ms": ("test_time_second", "ms"),
    "unix_time_s": ("unix_time_second", "s"),
    "unix_time_millisecond": ("unix_time_second", "ms"),
    "unix_time_ms": ("unix_time_second", "ms"),
    "date_time_millisecond": ("unix_time_second", "ms"),
    "voltage_v": ("voltage_volt", "V"),
    "current_a": ("current_ampere", "A"),
    "power_w": ("power_watt", "W"),
    "cycle_dimensionless": ("cycle_count", "1"),
    "step_dimensionless": ("step_count", "1"),
    "ambient_pressure_pascal": ("ambient_pressure_pa", "Pa"),
    "applied_pressure_pascal": ("applied_pressure_pa", "Pa"),
    "surface_pressure_pascal": ("surface_pressure_pa", "Pa"),
    "dcir_ohm": ("dc_internal_resistance_ohm", "ohm"),
}
_PARENTHESISED = re.compile(r"^(?P<base>.*?)\s*[(\[{]\s*(?P<unit>[^()\[\]{}]*?)\s*[)\]}]\s*$")
_SLASHED = re.compile(r"^(?P<base>.*\S)\s*/\s*(?P<unit>\S.*?)\s*$")
_LONGEST = 200  # what is longer heads no column, and would be slow to look through
_NOT_A_WORD = re.compile(r"[^a-z0-9#]+")


def label(bdf: str) -> str:
    """The preferred label of a column: `test_time_second` -> `Test Time / s`; names of our own are their own labels."""
    if bdf in OWN_COLUMNS:
        return bdf
    kind = dimension(bdf)
    words = bdf.split("_") if kind == "count" else bdf.split("_")[:-1]
    text = " ".join(_CAPITALS.get(word, word.capitalize()) for word in words)
    return text if bdf == "step_id" else f"{text} / {_UNIT_IN_LABEL[kind]}"


@dataclass(frozen=True)
class Header:
    """A column's header taken apart.

    Attributes:
        raw: as it stands in the file, without quotes and blanks around it.
        whole: all of it in small letters, single blanks between words.
        base: the same without the unit.
        unit: what stands in brackets or behind a slash; None if nothing does.
    """

    raw: str
    whole: str
    base: str
    unit: str | None


def parse_header(text: str) -> Header:
    """Take a header apart: `Test Time / s`, `Test_Time(s)` and `Test Time [s]` all are `test time` in `s`."""
    raw = text.strip().strip('"').strip()
    if len(raw) > _LONGEST:
        return Header(raw, "", "", None)
    found = _PARENTHESISED.match(raw) or _SLASHED.match(raw)
    base, unit = (found["base"], found["unit"]) if found else (raw, None)
    return Header(raw, words(raw), words(base), unit)


def words(text: str) -> str:
    """Text in small letters with single blanks: what makes spellings comparable."""
    return _NOT_A_WORD.sub(" ", text.lower()).strip()


_LABELS = {words(label(name).split(" / ")[0]): name for name in BDF_COLUMNS}
_LABELS |= {f"surface temperature t{n}": f"temperature_t{n}_celsius" for n in range(1, 6)}


def as_bdf(header: Header) -> tuple[str, Conversion] | None:
    """The column that a header of the Battery Data Format names, and its conversion; None if it is no such header.

    Machine-readable names count as they are, labels with any unit of their kind (`Current / mA`).
    """
    name = header.raw
    if name in BDF_COLUMNS or name in OWN_COLUMNS:
        return name, Conversion()
    if name in _OTHER_NAMES:
        bdf, unit = _OTHER_NAMES[name]
        return bdf, conversion(unit, bdf) or Conversion()
    bdf = _LABELS.get(header.base, "")
    if not bdf or (header.unit is None and bdf != "step_id") or (header.unit is not None and "/" not in name):
        return None
    how = conversion(header.unit or "", bdf)
    return (bdf, how) if how else None
