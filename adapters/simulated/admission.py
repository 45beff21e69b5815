"""What can be simulated: why a request is refused, before anything is started."""

from __future__ import annotations

from adapters.simulated.cell_presets import preset_for
from adapters.simulated.experiment import unrunnable, unrunnable_checkup
from orchestrator.domain import RunRequest, SpecError

AMBIENT_RANGE_DEGC = (0.0, 60.0)


def refusal(request: RunRequest) -> str | None:
    """Why a request cannot be simulated, or None."""
    try:
        cell = preset_for(request.cell.name).parameters
    except SpecError as error:
        return str(error)
    low, high = AMBIENT_RANGE_DEGC
    if not low <= request.ambient_temperature_degC <= high:
        return f"{request.ambient_temperature_degC:g} degC is outside what is simulated, {low:g} to {high:g} degC."
    most_C = request.cell.max_charge_rate_C
    problem = unrunnable(request.protocol, cell, most_C)
    if problem is None and request.checkup is not None:
        return unrunnable_checkup(request.checkup, cell, most_C)
    return problem
