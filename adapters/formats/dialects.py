"""What each vendor's text export calls its columns, in which unit, and what is known of them besides.

Sources: the headers of real exports (docs/formats.md), the vendors' manuals where they say what a capacity is counted from, and
the Battery Data Format's definitions of its terms. Where a header carries a unit, that one counts, not the one here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.formats.vocabulary import Header, as_bdf

RESETS = "whether it starts anew at each step or cycle is set in the test's schedule, and the file does not say"
_PER_STEP = "counted from the start of each step, without sign"


@dataclass(frozen=True)
class Target:
    """What a header of a dialect means.

    Attributes:
        bdf: the column it becomes.
        unit: the unit where the header has none; None where it must have one.
        note: what is known or assumed of it.
    """

    bdf: str
    unit: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Dialect:
    """One kind of text export.

    Attributes:
        name: its name in `FORMATS`.
        columns: headers (`Header.whole`, else `Header.base`) to what they mean; earlier ones win where two mean the same.
        signatures: sets of headers; the export is known by any set that is there completely.
        states: headers of a column with C, D, R ... for charge, discharge and rest; current is unsigned where it exists.
        notes: what is to be known of every file of this kind.
        takes_bdf: whether the format's own names are understood besides.
        raw_signature: what one header must contain besides, in small letters, with its own signs between words.
    """

    name: str
    columns: Mapping[str, Target]
    signatures: tuple[frozenset[str], ...]
    states: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    takes_bdf: bool = False
    raw_signature: str = ""

    def recognises(self, headers: list[Header]) -> bool:
        """Whether these are the headers of such an export."""
        known = {header.whole for header in headers} | {header.base for header in headers}
        if self.raw_signature and not any(self.raw_signature in header.raw.lower() for header in headers):
            return False
        return any(signature <= known for signature in self.signatures)

    def target(self, header: Header) -> Target | None:
        """What a header means here."""
        return self.columns.get(header.whole) or self.columns.get(header.base)


def _names(bdf: str, *names: str, unit: str | None = None, note: str = "") -> dict[str, Target]:
    return {name: Target(bdf, unit, note) for name in names}


_ARBIN = (
    _names("test_time_second", "test time")
    | _names("voltage_volt", "voltage")
    | _names("current_ampere", "current")
    | _names("unix_time_second", "date time", "datetime")
    | _names("cycle_count", "cycle index", "cycle id", unit="1")
    | _names("step_id", "step index", unit="1", note="Arbin's step index is the step of the schedule, not a row of the step")
    | _names("record_index", "data point", unit="1")
    | _names("step_time_second", "step time")
    | _names("charging_capacity_ah", "charge capacity", note=RESETS)
    | _names("discharging_capacity_ah", "discharge capacity", note=RESETS)
    | _names("charging_energy_wh", "charge energy", note=RESETS)
    | _names("discharging_energy_wh", "discharge energy", note=RESETS)
    | _names("power_watt", "power")
    | _names("internal_resistance_ohm", "internal resistance")
    | _names("ac_internal_resistance_ohm", "acr")
    | {f"aux temperature {n}": Target(f"temperature_t{n}_celsius", "degC") for n in range(1, 6)}
)

_MACCOR = (
    _names("test_time_second", "test time", "testtime", "test", unit="s")
    | _names("voltage_volt", "voltage", "volts", unit="V")
    | _names("current_ampere", "current", "amps", unit="A")
    | _names("unix_time_second", "dpt time")
    | _names("cycle_count", "cycle c", "cyc#", "cycle#", "cycle", "cycle p", unit="1")
    | _names("step_id", "step", "step#", unit="1", note="the step of the procedure")
    | _names("record_index", "rec", "rec#", unit="1")
    | _names("step_time_second", "step time", "steptime", "step sec", unit="s")
    | _names("step_cumulative_capacity_ah", "capacity", "cap", "amp hr", "ah", unit="Ah", note=_PER_STEP)
    | _names("step_cumulative_energy_wh", "energy", "ener", "watt hr", "wh", unit="Wh", note=_PER_STEP)
    | _names("ac_internal_resistance_ohm", "acr", "acimp", "acimp ohms", unit="ohm")
    | _names("dc_internal_resistance_ohm", "dcir", "dcir ohms", unit="ohm")
    | {
        f"{name} {n}": Target(f"temperature_t{n}_celsius", "degC")
        for n in range(1, 6)
        for name in ("temp", "temperature", "evtemp")
    }
)

_NOVONIX = (
    _names("test_time_second", "run time")
    | _names("voltage_volt", "potential", "voltage")
    | _names("current_ampere", "current")
    | _names("unix_time_second", "date and time")
    | _names("cycle_count", "cycle number", "cycle", unit="1")
    | _names("step_id", "step number", unit="1", note="the step of the protocol")
    | _names("step_time_second", "step time")
    | _names("net_capacity_ah", "capacity", note="signed: rises on charge and falls on discharge, from where Novonix starts it")
    | _names("net_energy_wh", "energy", note="signed, as the capacity")
    | _names("power_watt", "power")
    | _names("temperature_t1_celsius", "temperature")
)

_LANDT = (
    _names("test_time_second", "test time s", "test sec", "test time", unit="s")
    | _names("voltage_volt", "voltage v", "volts", "voltage", unit="V")
    | _names("current_ampere", "current a", "amps", "current", unit="A")
    | _names("unix_time_second", "date time iso string", "dpt time")
    | _names("cycle_count", "cycle index", "cycle", "cycle#", "cyc#", unit="1")
    | _names("step_id", "step index", "step", "step#", unit="1", note="the step of the program")
    | _names("record_index", "record index", "rec#", unit="1")
    | _names("step_time_second", "step time s", "step sec", "step time", unit="s")
    | _names("charging_capacity_ah", "charge capacity ah", unit="Ah", note=RESETS)
    | _names("discharging_capacity_ah", "discharge capacity ah", unit="Ah", note=RESETS)
    | _names("charging_energy_wh", "charge energy wh", unit="Wh", note=RESETS)
    | _names("discharging_energy_wh", "discharge energy wh", unit="Wh", note=RESETS)
    | _names("step_cumulative_capacity_ah", "amp hr", unit="Ah", note=_PER_STEP)
    | _names("step_cumulative_energy_wh", "watt hr", unit="Wh", note=_PER_STEP)
    | _names("power_watt", "power w", unit="W")
    | {f"temperature {n} c": Target(f"temperature_t{n}_celsius", "degC") for n in range(1, 6)}
)

# Other spellings of the format's own names. Without a unit SI is assumed, which `planning` says and checks.
_PLAIN = (
    _names("test_time_second", "test time", "elapsed time", "total time", "time elapsed", "run time", "time", unit="s")
    | _names("voltage_volt", "voltage", "cell voltage", "terminal voltage", "potential", unit="V")
    | _names("current_ampere", "current", "cell current", unit="A")
    | _names("unix_time_second", "unix time", "date time", "datetime", "date and time", "timestamp", unit="s")
    | _names("cycle_count", "cycle count", "cycle index", "cycle number", "cycle no", "cycle id", "cycle", unit="1")
    | _names("step_count", "step count", unit="1")
    | _names("step_id", "step id", "step index", "step number", "step no", "step", unit="1", note="taken for the program's step")
    | _names("record_index", "record index", "data point", "record number", "record id", unit="1")
    | _names("step_time_second", "step time", unit="s")
    | _names("charging_capacity_ah", "charging capacity", "charge capacity", unit="Ah", note=RESETS)
    | _names("discharging_capacity_ah", "discharging capacity", "discharge capacity", unit="Ah", note=RESETS)
    | _names("charging_energy_wh", "charging energy", "charge energy", unit="Wh", note=RESETS)
    | _names("discharging_energy_wh", "discharging energy", "discharge energy", unit="Wh", note=RESETS)
    | _names("power_watt", "power", unit="W")
    | _names("internal_resistance_ohm", "internal resistance", unit="ohm")
    | _names("temperature_t1_celsius", "temperature", "cell temperature", "temp", unit="degC")
    | _names("surface_temperature_celsius", "surface temperature", unit="degC")
    | _names("ambient_temperature_celsius", "ambient temperature", "chamber temperature", unit="degC")
)

_MACCOR_MARKS = (
    frozenset({"rec", "step", "test time", "step time", "current", "voltage"}),
    frozenset({"rec#", "step", "test time"}),
    frozenset({"rec#", "step", "testtime"}),
    frozenset({"rec#", "step", "test", "amps", "volts"}),
    frozenset({"cycle p", "step", "test time"}),
)
DIALECTS = (
    Dialect(
        "landt",
        _LANDT,
        (
            frozenset({"test time s", "current a", "voltage v", "date time iso string"}),
            frozenset({"test time s", "current a", "voltage v", "channel index"}),
            frozenset({"test time s", "current a", "voltage v", "charge capacity ah"}),
        ),
        states=("state",),
        raw_signature="test_time_s",
    ),
    Dialect("landt", _LANDT, (frozenset({"rec#", "test sec", "amps", "volts"}),), states=("state",), raw_signature="dpt-time"),
    Dialect(
        "arbin",
        _ARBIN,
        (
            frozenset({"data point", "test time", "step index", "current", "voltage"}),
            frozenset({"test time", "cycle index", "step index", "current", "voltage", "charge capacity", "discharge capacity"}),
        ),
    ),
    Dialect("maccor", _MACCOR, _MACCOR_MARKS, states=("state", "md", "mode")),
    Dialect("novonix", _NOVONIX, (frozenset({"run time", "step time", "current", "potential", "cycle number"}),)),
)
PLAIN = Dialect("csv", _PLAIN, (), takes_bdf=True)
BDF = Dialect("bdf_csv", {}, (), takes_bdf=True)


def dialect_of(headers: list[Header]) -> Dialect | None:
    """The dialect whose headers these are; None if they are no known table's."""
    known = next((dialect for dialect in DIALECTS if dialect.recognises(headers)), None)
    # Headers without units stand in too many tables to be Arbin's for sure.
    if known and (known.name != "arbin" or any(header.unit for header in headers)):
        return known
    required = {"test_time_second", "voltage_volt", "current_ampere"}
    if required <= {found[0] for header in headers if (found := as_bdf(header))}:
        return BDF
    plain = {target.bdf for header in headers if (target := PLAIN.target(header))}
    plain |= {found[0] for header in headers if (found := as_bdf(header))}
    return PLAIN if required <= plain else None
