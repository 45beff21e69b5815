"""What a cycler measured: time series under Battery Data Format names, and figures it reported by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.objectives import Estimate

# Machine-readable names of the Battery Data Format, ontology 1.2.0 (https://github.com/battery-data-alliance/battery-data-format),
# with their numpy kinds. Left out: `step_type`, which is text, and the deprecated `*_millisecond`, which are read as seconds.
# `step_capacity_ah` and `step_energy_wh` are deprecated names of `step_cumulative_*`. Cycles are numbered as the instrument does.
BDF_COLUMNS: dict[str, str] = {
    "test_time_second": "f",
    "voltage_volt": "f",
    "current_ampere": "f",
    "unix_time_second": "f",
    "cycle_count": "i",
    "step_count": "i",
    "step_index": "i",
    "step_id": "i",
    "record_index": "i",
    "step_time_second": "f",
    "ambient_temperature_celsius": "f",
    "surface_temperature_celsius": "f",
    "temperature_t1_celsius": "f",
    "temperature_t2_celsius": "f",
    "temperature_t3_celsius": "f",
    "temperature_t4_celsius": "f",
    "temperature_t5_celsius": "f",
    "charging_capacity_ah": "f",  # since the start of the test, as are all that name neither step nor cycle
    "discharging_capacity_ah": "f",
    "net_capacity_ah": "f",
    "cumulative_capacity_ah": "f",
    "step_capacity_ah": "f",
    "step_charging_capacity_ah": "f",
    "step_discharging_capacity_ah": "f",
    "step_net_capacity_ah": "f",
    "step_cumulative_capacity_ah": "f",
    "cycle_charging_capacity_ah": "f",
    "cycle_discharging_capacity_ah": "f",
    "cycle_net_capacity_ah": "f",
    "cycle_cumulative_capacity_ah": "f",
    "charging_energy_wh": "f",
    "discharging_energy_wh": "f",
    "net_energy_wh": "f",
    "cumulative_energy_wh": "f",
    "step_energy_wh": "f",
    "step_charging_energy_wh": "f",
    "step_discharging_energy_wh": "f",
    "step_net_energy_wh": "f",
    "step_cumulative_energy_wh": "f",
    "cycle_charging_energy_wh": "f",
    "cycle_discharging_energy_wh": "f",
    "cycle_net_energy_wh": "f",
    "cycle_cumulative_energy_wh": "f",
    "power_watt": "f",
    "internal_resistance_ohm": "f",
    "dc_internal_resistance_ohm": "f",
    "ac_internal_resistance_ohm": "f",
    "frequency_hertz": "f",
    "real_impedance_ohm": "f",
    "imaginary_impedance_ohm": "f",
    "absolute_impedance_ohm": "f",
    "phase_degree": "f",
    "ambient_pressure_pa": "f",
    "applied_pressure_pa": "f",
    "surface_pressure_pa": "f",
}
# Columns of our own: `quality_flags` is a sum of `domain.quality.QualityFlag`s, 0 where nothing is wrong with a row.
OWN_COLUMNS: dict[str, str] = {"quality_flags": "i"}
# A check-up (reference performance test) follows the cycle whose number its rows carry, but is no part of it. Its steps
# are told by their identifier in the program, `step_id`: the first step of a check-up has this one plus one.
CHECKUP_STEP_ID = 10_000
REQUIRED = ("test_time_second", "voltage_volt", "current_ampere")
Columns = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Recording:
    """The record of one run.

    Attributes:
        columns: arrays of equal length (n,), in the units their names say; current is positive when charging. Cycles
            may be missing between check-ups: `cycle_count` says which were recorded. Rows of a check-up have a `step_id`
            above `CHECKUP_STEP_ID`. Rows of an impedance spectrum have a frequency and an impedance (imaginary part
            negative where capacitive) beside the voltage and current at rest; elsewhere those columns are NaN.
        nominal_capacity_Ah: what C-rates and `end_of_life` refer to.
        end_of_life: share of the nominal capacity at which the cell counts as dead.
        results: estimates reported by the cycler itself (replay, manual entry); they go before computed metrics.
        complete: False while the test runs or when it was cut short: what was not reached is censored, not zero.
        synthetic: the numbers come from a model.
    """

    columns: Columns = field(default_factory=dict)
    nominal_capacity_Ah: float | None = None
    end_of_life: float = 0.8
    results: Mapping[str, Estimate] = field(default_factory=dict)
    complete: bool = True
    synthetic: bool = False
    key: str | None = None

    def __post_init__(self) -> None:
        faults = column_faults(self.columns)
        if faults:
            raise SpecError(faults)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    @property
    def in_checkup(self) -> NDArray[np.bool_]:
        """Which rows belong to a check-up rather than to an ageing cycle, shape (n,)."""
        if "step_id" not in self.columns:
            return np.zeros(len(self), dtype=np.bool_)
        return self.column("step_id") > CHECKUP_STEP_ID

    def ageing(self) -> Recording:
        """The rows of ageing cycles alone."""
        return self._rows(~self.in_checkup)

    def checkups(self) -> Recording:
        """The rows of check-ups alone; `cycle_count` says after which cycle each was made."""
        return self._rows(self.in_checkup)

    def _rows(self, which: NDArray[np.bool_]) -> Recording:
        if which.all():
            return self
        return replace(self, columns={name: np.asarray(column)[which] for name, column in self.columns.items()})

    def column(self, name: str) -> NDArray[np.float64]:
        """One column as float64, shape (n,).

        Raises:
            SpecError: if the recording does not have it.
        """
        if name not in self.columns:
            raise SpecError(Fault(name, "is not in this recording.", f"It has: {', '.join(self.columns) or 'no time series'}."))
        return np.asarray(self.columns[name], dtype=np.float64)


def column_faults(columns: Columns) -> list[Fault]:
    """Why columns are not a recording: unknown or missing names, unequal lengths."""
    if not columns:
        return []
    faults = [Fault(name, "is missing from the time series.") for name in REQUIRED if name not in columns]
    faults += [
        Fault(n, "is not a Battery Data Format name.", f"Known: {', '.join(BDF_COLUMNS)}.")
        for n in columns
        if n not in BDF_COLUMNS and n not in OWN_COLUMNS
    ]
    lengths = {name: len(array) for name, array in columns.items()}
    if len(set(lengths.values())) > 1:
        faults.append(Fault("", f"columns differ in length: {lengths}."))
    return faults


def of_the_format(columns: Columns) -> dict[str, NDArray[np.generic]]:
    """The columns whose names the Battery Data Format, or we, know: those that a `Recording` can hold."""
    return {name: column for name, column in columns.items() if name in BDF_COLUMNS or name in OWN_COLUMNS}


def concatenate(parts: list[Columns]) -> Columns:
    """Join pieces of one time series, in order; all must have the same columns."""
    if not parts:
        return {}
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}
