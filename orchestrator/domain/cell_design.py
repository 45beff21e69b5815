"""The cell under test: its nominal figures, and where they come from."""

from __future__ import annotations

from dataclasses import field

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.value import value


@value
class CellDesign:
    """A cell design.

    Attributes:
        nominal_capacity_Ah: the capacity that C-rates and `end_of_life` refer to.
        max_voltage_V, min_voltage_V: the maker's operating window.
        synthetic: True for cells that exist only as a model; every page that shows their numbers says so.
        parameters: further numbers or names for adapters that know this design (loading, thickness, a formula).
    """

    name: str
    nominal_capacity_Ah: float
    max_voltage_V: float
    min_voltage_V: float
    chemistry: str = ""
    max_charge_rate_C: float = 10.0
    synthetic: bool = False
    parameters: dict[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = []
        if self.nominal_capacity_Ah <= 0:
            faults.append(Fault("nominal_capacity_Ah", f"must be positive (got {self.nominal_capacity_Ah:g})."))
        if self.min_voltage_V >= self.max_voltage_V:
            got = f"min_voltage_V = {self.min_voltage_V:g}, max_voltage_V = {self.max_voltage_V:g}"
            faults.append(Fault("min_voltage_V", f"must be below max_voltage_V (got {got})."))
        if self.max_charge_rate_C <= 0:
            faults.append(Fault("max_charge_rate_C", f"must be positive (got {self.max_charge_rate_C:g})."))
        if faults:
            raise SpecError(faults)

    def current_A(self, rate_C: float) -> float:
        """The current of a C-rate, in ampere."""
        return rate_C * self.nominal_capacity_Ah


LFP_A123 = CellDesign(
    name="lfp_a123",
    chemistry="LFP/graphite 18650, calibrated to summary statistics of Severson 2019",
    nominal_capacity_Ah=1.1,
    max_voltage_V=3.6,
    min_voltage_V=2.0,
    synthetic=True,
)
NMC_LGM50 = CellDesign(
    name="nmc_lgm50",
    chemistry="NMC/graphite 21700, model of the parameter set OKane2022 with an invented ageing law",
    nominal_capacity_Ah=5.0,
    max_voltage_V=4.2,
    min_voltage_V=2.5,
    max_charge_rate_C=3.0,
    synthetic=True,
)
GENERIC = CellDesign(
    name="generic",
    chemistry="unspecified: for replayed or manual results, where the cell is described elsewhere",
    nominal_capacity_Ah=1.0,
    max_voltage_V=4.2,
    min_voltage_V=2.5,
)
CELL_DESIGNS = {design.name: design for design in (LFP_A123, NMC_LGM50, GENERIC)}


def cell_design(name: str) -> CellDesign:
    """A built-in cell design by name.

    Raises:
        SpecError: if there is none of that name.
    """
    if name not in CELL_DESIGNS:
        known = ", ".join(CELL_DESIGNS)
        raise SpecError(f"'{name}' is no cell design. Known: {known}; or give a table with nominal_capacity_Ah and voltages.")
    return CELL_DESIGNS[name]
