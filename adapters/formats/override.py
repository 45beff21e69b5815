"""What a user says of a column: `voltage_volt`, `current_ampere [mA]`, `-current_ampere [A]`, or `ignore`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from adapters.formats.units import conversion, known_units
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.recording import BDF_COLUMNS

_STATED = re.compile(r"^\s*(?P<sign>-?)\s*(?P<bdf>\w+)\s*(?:\[(?P<unit>[^\]]*)\])?\s*$")


@dataclass(frozen=True)
class Override:
    """A column's meaning, stated.

    Attributes:
        bdf: the column it becomes; empty to leave it out.
        unit: the unit in the file; None for the one in its header, else the one of the vocabulary.
        negative: whether its sign is turned, as where current is positive when discharging.
    """

    bdf: str
    unit: str | None = None
    negative: bool = False


def overrides(columns: Mapping[str, str] | None) -> dict[str, Override]:
    """What a user said of columns, by header.

    Raises:
        SpecError: with every statement that names no column or unit of the vocabulary, or one column twice.
    """
    found = {header.strip(): _override(text) for header, text in (columns or {}).items()}
    faults = [fault for header, text in (columns or {}).items() if (fault := _fault(header, text))]
    named = [one.bdf for one in found.values() if one and one.bdf]
    faults += [Fault("columns", f"two columns are said to be `{name}`.") for name in sorted(set(named)) if named.count(name) > 1]
    if faults:
        raise SpecError(faults)
    return {header: one for header, one in found.items() if one}


def _override(text: str) -> Override | None:
    if text.strip() == "ignore":
        return Override("")
    stated = _STATED.match(text)
    return Override(stated["bdf"], stated["unit"], bool(stated["sign"])) if stated else None


def _fault(header: str, text: str) -> Fault | None:
    where = f"columns['{header}']"
    stated = _override(text)
    if stated is None:
        return Fault(
            where, f"'{text}' is not understood.", "Write `voltage_volt`, `voltage_volt [mV]`, `-current_ampere [A]` or `ignore`."
        )
    if stated.bdf and stated.bdf not in BDF_COLUMNS:
        return Fault(where, f"'{stated.bdf}' is not a Battery Data Format name.", f"Known: {', '.join(BDF_COLUMNS)}.")
    if stated.unit is not None and stated.bdf and conversion(stated.unit, stated.bdf) is None:
        return Fault(where, f"'{stated.unit}' is no unit of `{stated.bdf}`.", f"Known: {', '.join(known_units(stated.bdf))}.")
    return None
