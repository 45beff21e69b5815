"""What can be simulated: why a request is refused, before anything is started."""

from __future__ import annotations

from math import isclose

from adapters.simulated.cell_presets import preset_for
from adapters.simulated.experiment import too_many_rows, unrunnable, unrunnable_checkup
from adapters.simulated.instrument import GOOD_CYCLER
from orchestrator.domain import RunRequest, SpecError
from orchestrator.domain.cell_design import CELL_DESIGNS, CellDesign

AMBIENT_RANGE_DEGC = (0.0, 60.0)
MODELLED = {"nominal_capacity_Ah": "Ah", "max_voltage_V": "V", "min_voltage_V": "V"}  # of a design, with units


def refusal(request: RunRequest, period_s: float = GOOD_CYCLER.period_s) -> str | None:
    """Why a request cannot be simulated, and recorded every `period_s`, or None."""
    try:
        preset = preset_for(request.cell.name)
    except SpecError as error:
        return str(error)
    cell, differs = preset.parameters, _difference(request.cell, CELL_DESIGNS[preset.name])
    if differs is not None:
        return differs
    low, high = AMBIENT_RANGE_DEGC
    if not low <= request.ambient_temperature_degC <= high:
        return f"{request.ambient_temperature_degC:g} degC is outside what is simulated, {low:g} to {high:g} degC."
    most_C = request.cell.max_charge_rate_C
    problem = unrunnable(request.protocol, cell, most_C) or too_many_rows(request.protocol, cell, period_s)
    if problem is None and request.checkup is not None:
        return unrunnable_checkup(request.checkup, cell, most_C) or too_many_rows(request.checkup, cell, period_s)
    return problem


def _difference(asked: CellDesign, model: CellDesign) -> str | None:
    """Why a design is not the cell whose model its name calls for, or None."""
    figures = [(name, getattr(asked, name), getattr(model, name), unit) for name, unit in MODELLED.items()]
    differ = [f"{name} = {got:g} {unit} instead of {has:g} {unit}" for name, got, has, unit in figures if not isclose(got, has)]
    if not differ:
        return None
    return f"the cell '{asked.name}' has {', '.join(differ)}; the model is of {model.name}. Give it those figures."
