"""The PyBaMM model of the cell: built once per process, driven step by step through input parameters.

An electro-thermal SPMe (lumped temperature) with two graphite populations. Instead of one model per kind of step, the
current is an unknown with the control equation

    hold (V - V_set) + (1 - hold) (I - I_set)/Q_nom = 0

whose numbers are inputs, as are the voltages and the current that end a step. So one build (about two seconds) serves
every protocol, and a step that is over before it began is told apart from one that failed.

PyBaMM is imported by this module alone.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable
from typing import Any

os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")

import numpy as np
import pybamm

from adapters.simulated import cell_parameters as p
from adapters.simulated.cell_parameters import CellState
from adapters.simulated.cell_steps import CellFailureError, CellStep, Ending, StepTrace

POINTS = {"x_n": 5, "x_s": 3, "x_p": 5, "r_n": 20, "r_n_prim": 20, "r_n_sec": 12, "r_p": 8}
OUTPUTS = {
    "voltage_V": "Voltage [V]",
    "current_A": "Current [A]",
    "temperature_K": "Volume-averaged cell temperature [K]",
    "anode_potential_V": "Negative electrode surface potential difference at separator interface [V]",
    "discharged_Ah": "Discharge capacity [A.h]",
}
ABOVE, BELOW, FADED = (
    "Voltage reached from below [experiment]",
    "Voltage reached from above [experiment]",
    "Current faded [experiment]",
)
_ENDINGS = {ABOVE: Ending.VOLTAGE, BELOW: Ending.VOLTAGE, FADED: Ending.CURRENT}
_NEVER = 1e3


class PybammCell:
    """The cell, ready to run steps; one per process, since building takes seconds."""

    def __init__(self) -> None:
        _silence()
        solver = pybamm.IDAKLUSolver(rtol=3e-4, atol=3e-6, output_variables=list(OUTPUTS.values()))
        simulation = pybamm.Simulation(_model(), parameter_values=_parameters(), solver=solver, var_pts=POINTS)
        simulation.build()
        self._model, self._solver = simulation.built_model, solver

    def run(self, steps: Iterable[CellStep], state: CellState, voltage_V: float, ambient_K: float) -> list[StepTrace]:
        """Run steps from the equilibrium at a voltage.

        A step whose end is met before it begins leaves a trace without rows.

        Raises:
            CellFailureError: the solver failed, or the cell left the range of the model; carries the steps done.
        """
        inputs = _state_inputs(state, voltage_V, ambient_K)
        traces: list[StepTrace] = []
        solution = None
        for step in steps:
            try:
                solution, trace = self._run_step(solution, step, inputs)
            except CellFailureError as failure:
                raise failure.after(traces) from None
            traces.append(trace)
        return traces

    def _run_step(self, before: Any, step: CellStep, state_inputs: dict[str, float]) -> tuple[Any, StepTrace]:
        began_s = 0.0 if before is None else float(before.t[-1])
        try:
            solution = self._solver.step(
                before,
                self._model,
                step.max_duration_s,
                inputs={**state_inputs, **_step_inputs(step)},
                t_interp=step.sample_times_s,
                save=False,
            )
        except pybamm.SolverError as error:
            return before, StepTrace.empty(step, began_s, _met_before(str(error)))
        return solution, _trace(step, began_s, solution)


def _met_before(message: str) -> Ending:
    """Which end condition held before the step began, from the solver's message."""
    met = [ending for name, ending in _ENDINGS.items() if name in message]
    if "non-positive at initial conditions" in message and met:
        return met[0]
    if "voltage [V]" in message:
        raise CellFailureError("the step's current drove the cell's voltage out of the model's range at once")
    raise CellFailureError(f"the equation solver failed ({message.splitlines()[0][:160]})")


def _trace(step: CellStep, began_s: float, solution: Any) -> StepTrace:
    columns = {name: np.asarray(solution[variable].entries, dtype=np.float64) for name, variable in OUTPUTS.items()}
    columns["current_A"] = -columns["current_A"]  # PyBaMM counts discharge as positive
    trace = StepTrace(step, began_s, np.asarray(solution.t, dtype=np.float64), columns, _ending(solution.termination))
    if trace.ending is Ending.OUT_OF_RANGE:
        volts = float(columns["voltage_V"][-1])
        raise CellFailureError(f"the cell reached {volts:.2f} V, outside the range of the model", trace)
    if not all(np.isfinite(column).all() for column in columns.values()):
        raise CellFailureError("the equation solver returned values that are not numbers")
    return trace


def _ending(termination: str) -> Ending:
    if termination == "final time":
        return Ending.DURATION
    return next((ending for name, ending in _ENDINGS.items() if name in termination), Ending.OUT_OF_RANGE)


def _step_inputs(step: CellStep) -> dict[str, float]:
    """Inputs of a step, in PyBaMM's sign (discharge positive); what does not end it lies out of reach."""
    return {
        "hold": 0.0 if step.voltage_V is None else 1.0,
        "V_set": step.voltage_V or 0.0,
        "I_set": -step.current_A,
        "V_above": _NEVER if step.until_above_V is None else step.until_above_V,
        "V_below": -_NEVER if step.until_below_V is None else step.until_below_V,
        "I_end": -1.0 if step.until_current_A is None else step.until_current_A,
    }


def _state_inputs(state: CellState, voltage_V: float, ambient_K: float) -> dict[str, float]:
    x, y = p.equilibrium(state, voltage_V)
    return {
        "x0": x,
        "y0": y,
        "T_ambient": ambient_K,
        "phi": state.impeded_fraction,
        "f_R": state.resistance_factor,
        "f_n": state.negative_active,
        "f_p": state.positive_active,
    }


def _control(variables: Any) -> Any:
    given = pybamm.InputParameter
    current = (variables["Current [A]"] - given("I_set")) / p.NOMINAL_CAPACITY_AH
    return given("hold") * (variables["Voltage [V]"] - given("V_set")) + (1 - given("hold")) * current


def _model() -> Any:
    options = {
        "thermal": "lumped",
        "contact resistance": "true",
        "particle phases": ("2", "1"),
        "operating mode": _control,
    }
    model = pybamm.lithium_ion.SPMe(options)
    volts, current = model.variables["Voltage [V]"], model.variables["Current [A]"]
    model.events += [
        pybamm.Event(ABOVE, pybamm.InputParameter("V_above") - volts),
        pybamm.Event(BELOW, volts - pybamm.InputParameter("V_below")),
        pybamm.Event(FADED, abs(current) - pybamm.InputParameter("I_end")),
    ]
    return model


def _parameters() -> Any:
    given = pybamm.InputParameter
    values = pybamm.ParameterValues("Prada2013")
    positive_kinetics = values["Positive electrode exchange-current density [A.m-2]"]
    values.update(p.THERMAL, check_already_exists=False)
    values.update(
        {
            "Electrode width [m]": p.ELECTRODE_WIDTH_M,
            "Nominal cell capacity [A.h]": p.NOMINAL_CAPACITY_AH,
            "Ambient temperature [K]": given("T_ambient"),
            "Initial temperature [K]": given("T_ambient"),
            "Reference temperature [K]": 298.15,
            "Contact resistance [Ohm]": p.SERIES_RESISTANCE_OHM * given("f_R"),
            "Positive electrode active material volume fraction": p.POSITIVE_FRACTION * given("f_p"),
            "Positive electrode exchange-current density [A.m-2]": lambda *a: p.POSITIVE_KINETICS * positive_kinetics(*a),
            "Positive electrode OCP [V]": lambda y: p.positive_potential_V(y, np),
            "Initial concentration in positive electrode [mol.m-3]": p.POSITIVE_CONCENTRATION_MOL_M3 * given("y0"),
            "Upper voltage cut-off [V]": p.MODEL_MAX_VOLTAGE_V,
            "Lower voltage cut-off [V]": p.MODEL_MIN_VOLTAGE_V,
        }
    )
    phi, kinetics = given("phi"), values["Negative electrode exchange-current density [A.m-2]"]
    healthy = _graphite("Primary: ", 1 - phi, 1.0, 1.0, kinetics)
    impeded = _graphite("Secondary: ", phi, p.IMPEDED_KINETICS, p.IMPEDED_DIFFUSION, kinetics)
    values.update({**healthy, **impeded}, check_already_exists=False)
    return values


def _graphite(phase: str, share: Any, kinetics: float, diffusion: float, exchange: Any) -> dict[str, Any]:
    """Parameters of one graphite population."""

    def diffusivity(x: Any, temperature: Any) -> Any:
        activation = p.NEGATIVE_DIFFUSIVITY_ACTIVATION_J_MOL / p.GAS_J_MOL_K
        arrhenius = np.exp(activation * (1 / p.REFERENCE_TEMPERATURE_K - 1 / temperature))
        stoichiometry = ((x + 0.01) / 0.5) ** p.NEGATIVE_DIFFUSIVITY_POWER
        return diffusion * p.NEGATIVE_DIFFUSIVITY_M2_S * stoichiometry * arrhenius

    def exchange_current(c_e: Any, c_s: Any, c_max: Any, temperature: Any) -> Any:
        stoichiometry = ((c_s / c_max + 1e-3) / 0.5) ** p.NEGATIVE_KINETICS_POWER
        return kinetics * p.NEGATIVE_KINETICS * exchange(c_e, c_s, c_max, temperature) * stoichiometry

    values = {
        "Negative electrode active material volume fraction": p.NEGATIVE_FRACTION * pybamm.InputParameter("f_n") * share,
        "Negative particle diffusivity [m2.s-1]": diffusivity,
        "Negative electrode exchange-current density [A.m-2]": exchange_current,
        "Negative electrode OCP [V]": lambda x: p.negative_potential_V(x, np),
        "Negative electrode OCP entropic change [V.K-1]": 0.0,
        "Negative particle radius [m]": 5e-6,
        "Maximum concentration in negative electrode [mol.m-3]": p.NEGATIVE_CONCENTRATION_MOL_M3,
        "Initial concentration in negative electrode [mol.m-3]": p.NEGATIVE_CONCENTRATION_MOL_M3 * pybamm.InputParameter("x0"),
        "Negative electrode density [kg.m-3]": p.THERMAL["Negative electrode density [kg.m-3]"],
    }
    return {phase + name: value for name, value in values.items()}


def _silence() -> None:
    """Keep PyBaMM's remarks out of the lab's log: what matters comes back as an ending or an error."""
    pybamm.set_logging_level("ERROR")
    logging.getLogger("pybamm").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pybamm")
