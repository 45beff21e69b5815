"""What PyBaMM is told of a cell: the parameter values of a preset, its state left open as inputs."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")

import numpy as np
import pybamm

from adapters.simulated.cell_parameters import CellParameters, CellState, Electrode, equilibrium


def base_options() -> dict[str, Any]:
    """What every model of a cell has: one temperature, a series resistance, two graphite populations."""
    return {"thermal": "lumped", "contact resistance": "true", "particle phases": ("2", "1")}


def parameter_values(parameters: CellParameters) -> Any:
    """PyBaMM's parameter values of a cell, its state left open as inputs."""
    given, positive = pybamm.InputParameter, parameters.positive
    values = pybamm.ParameterValues(parameters.parameter_set)
    exchange = values["Positive electrode exchange-current density [A.m-2]"]
    values.update(dict(parameters.overrides), check_already_exists=False)
    values.update(
        {
            "Nominal cell capacity [A.h]": parameters.nominal_capacity_Ah,
            "Ambient temperature [K]": given("T_ambient"),
            "Initial temperature [K]": given("T_ambient"),
            "Reference temperature [K]": parameters.reference_temperature_K,
            "Contact resistance [Ohm]": parameters.series_resistance_ohm * given("f_R"),
            "Positive electrode active material volume fraction": positive.volume_fraction * given("f_p"),
            "Positive electrode exchange-current density [A.m-2]": _kinetics(exchange, positive),
            "Positive electrode OCP [V]": lambda y: positive.potential_V(y, np),
            "Initial concentration in positive electrode [mol.m-3]": positive.concentration_mol_m3 * given("y0"),
            "Upper voltage cut-off [V]": parameters.max_voltage_V,
            "Lower voltage cut-off [V]": parameters.min_voltage_V,
        }
    )
    phi = given("phi")
    healthy = _graphite("Primary: ", parameters, values, 1 - phi, 1.0, 1.0)
    impeded = _graphite("Secondary: ", parameters, values, phi, parameters.impeded_kinetics, parameters.impeded_diffusion)
    values.update({**healthy, **impeded}, check_already_exists=False)
    return values


def _graphite(
    phase: str, parameters: CellParameters, values: Any, share: Any, kinetics: float, diffusion: float
) -> dict[str, Any]:
    """Parameters of one graphite population."""
    graphite, given = parameters.negative, pybamm.InputParameter
    exchange = _kinetics(values["Negative electrode exchange-current density [A.m-2]"], graphite)
    diffusivity = graphite.diffusivity_m2_s or values["Negative particle diffusivity [m2.s-1]"]
    named = {
        "Negative electrode active material volume fraction": graphite.volume_fraction * given("f_n") * share,
        "Negative particle diffusivity [m2.s-1]": lambda x, kelvin: diffusion * diffusivity(x, kelvin),
        "Negative electrode exchange-current density [A.m-2]": lambda *a: kinetics * exchange(*a),
        "Negative electrode OCP [V]": lambda x: graphite.potential_V(x, np),
        "Negative electrode OCP entropic change [V.K-1]": 0.0,
        "Negative particle radius [m]": parameters.particle_radius_m,
        "Maximum concentration in negative electrode [mol.m-3]": graphite.concentration_mol_m3,
        "Initial concentration in negative electrode [mol.m-3]": graphite.concentration_mol_m3 * given("x0"),
        "Negative electrode density [kg.m-3]": parameters.density_kg_m3,
    }
    return {phase + name: value for name, value in named.items()}


def _kinetics(exchange: Any, electrode: Electrode) -> Any:
    """The parameter set's exchange current, times the electrode's own factor."""

    def exchange_current(c_e: Any, c_s: Any, c_max: Any, kelvin: Any) -> Any:
        return electrode.kinetics(c_s / c_max) * exchange(c_e, c_s, c_max, kelvin)

    return exchange_current


def state_inputs(
    parameters: CellParameters, state: CellState, voltage_V: float, ambient_K: float, discharged_Ah: float = 0.0
) -> dict[str, float]:
    """The model's inputs that say how aged the cell is and where it rests (see `equilibrium`)."""
    x, y = equilibrium(parameters, state, voltage_V, discharged_Ah)
    return {
        "x0": x,
        "y0": y,
        "T_ambient": ambient_K,
        "phi": state.impeded_fraction,
        "f_R": state.resistance_factor,
        "f_n": state.negative_active,
        "f_p": state.positive_active,
        "leak_S": state.leak_S,
    }


def silence() -> None:
    """Keep PyBaMM's remarks out of the lab's log: what matters comes back as an ending or an error."""
    pybamm.set_logging_level("ERROR")
    logging.getLogger("pybamm").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pybamm")
