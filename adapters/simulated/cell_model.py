"""The PyBaMM model of a cell: built once per process and preset, driven step by step through input parameters.

An electro-thermal SPMe (lumped temperature) with two graphite populations. Instead of one model per kind of step, the
current is an unknown with the control equation

    hold (V - V_set) + (1 - hold) (I_measured - I_set)/Q_nom = 0

whose numbers are inputs, as are the voltages and the current that end a step. So one build (about two seconds) serves
every protocol, and a step that is over before it began is told apart from one that failed.

An internal short of conductance G carries V G inside the cell: I = I_measured + V G (discharge positive). The electrodes see I,
the channel measures and counts I_measured, and the short's heat V^2 G warms the cell.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, cached_property
from typing import Any

import numpy as np
import pybamm
from numpy.typing import NDArray

from adapters.simulated.cell_equations import base_options, parameter_values, silence, state_inputs
from adapters.simulated.cell_parameters import CellParameters, CellState
from adapters.simulated.cell_presets import PRESETS
from adapters.simulated.cell_spectrum import Spectrometer
from adapters.simulated.cell_steps import Array, Cause, CellFailureError, CellStep, Ending, StepTrace

MEASURED_CURRENT = "Measured current [A]"
OUTPUTS = {
    "voltage_V": "Voltage [V]",
    "current_A": MEASURED_CURRENT,
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
_SOLVER_REMEDY = "That says nothing about the cell: change the step's current or voltage a little."


class PybammCell:
    """A cell, ready to run steps; one per process and preset, since building takes seconds."""

    def __init__(self, parameters: CellParameters) -> None:
        silence()
        self._parameters = parameters
        solver = pybamm.IDAKLUSolver(rtol=3e-4, atol=3e-6, output_variables=list(OUTPUTS.values()))
        values, points = parameter_values(parameters), dict(parameters.points)
        simulation = pybamm.Simulation(_model(parameters), parameter_values=values, solver=solver, var_pts=points)
        simulation.build()
        self._model, self._solver = simulation.built_model, solver

    def run(self, steps: Iterable[CellStep], state: CellState, voltage_V: float, ambient_K: float) -> list[StepTrace]:
        """Run steps from the equilibrium at a voltage.

        A step whose end is met before it begins leaves a trace without rows.

        Raises:
            CellFailureError: the solver failed, or the cell left the range of the model; carries the steps done.
        """
        inputs = state_inputs(self._parameters, state, voltage_V, ambient_K)
        traces: list[StepTrace] = []
        solution = None
        for step in steps:
            try:
                solution, trace = self._run_step(solution, step, inputs)
            except CellFailureError as failure:
                raise failure.after(traces) from None
            traces.append(trace)
        return traces

    def impedance(
        self, frequency_Hz: Array, state: CellState, voltage_V: float, ambient_K: float, discharged_Ah: float
    ) -> NDArray[np.complex128]:
        """The impedance (ohm) of the cell rested after a charge was taken out of the equilibrium at a voltage; (n,) to (n,).

        Raises:
            CellFailureError: the equations could not be solved.
        """
        inputs = state_inputs(self._parameters, state, voltage_V, ambient_K, discharged_Ah)
        return self._spectrometer.measure(frequency_Hz, inputs)

    @cached_property
    def _spectrometer(self) -> Spectrometer:
        return Spectrometer(self._parameters)

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
        return solution, self._trace(step, began_s, solution)

    def _trace(self, step: CellStep, began_s: float, solution: Any) -> StepTrace:
        columns = {name: np.asarray(solution[variable].entries, dtype=np.float64) for name, variable in OUTPUTS.items()}
        columns["current_A"] = -columns["current_A"]  # PyBaMM counts discharge as positive
        trace = StepTrace(step, began_s, np.asarray(solution.t, dtype=np.float64), columns, _ending(solution.termination))
        if trace.ending is Ending.OUT_OF_RANGE:
            low, high = self._parameters.min_voltage_V, self._parameters.max_voltage_V
            reached = f"the cell reached {columns['voltage_V'][-1]:.2f} V, outside the range of the model ({low:g} to {high:g} V)"
            raise CellFailureError(f"{reached}. End the step at a voltage, or pass less charge.", trace, Cause.INFEASIBLE)
        if not all(np.isfinite(column).all() for column in columns.values()):
            raise CellFailureError(f"the equation solver returned values that are not numbers. {_SOLVER_REMEDY}")
        return trace


def _met_before(message: str) -> Ending:
    """Which end condition held before the step began, from the solver's message."""
    met = [ending for name, ending in _ENDINGS.items() if name in message]
    if "non-positive at initial conditions" in message and met:
        return met[0]
    if "voltage [V]" in message:
        why = "its current drove the cell's voltage out of the model's range at once. Lower the current, or rest before it."
        raise CellFailureError(why, kind=Cause.INFEASIBLE)
    raise CellFailureError(f"the equation solver failed ({message.splitlines()[0][:160]}). {_SOLVER_REMEDY}")


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


def _model(parameters: CellParameters) -> Any:
    given = pybamm.InputParameter

    def control(variables: Any) -> Any:
        volts = variables["Voltage [V]"]
        current = (_measured(variables) - given("I_set")) / parameters.nominal_capacity_Ah
        return given("hold") * (volts - given("V_set")) + (1 - given("hold")) * current

    model = pybamm.lithium_ion.SPMe({**base_options(), "operating mode": control})
    volts, current = model.variables["Voltage [V]"], _measured(model.variables)
    model.variables[MEASURED_CURRENT] = current
    _add_short(model, volts, current)
    model.events += [
        pybamm.Event(ABOVE, given("V_above") - volts),
        pybamm.Event(BELOW, volts - given("V_below")),
        pybamm.Event(FADED, abs(current) - given("I_end")),
    ]
    return model


def _measured(variables: Any) -> Any:
    """The current outside the cell, discharge positive: what the electrodes give less what the short takes."""
    return variables["Current [A]"] - pybamm.InputParameter("leak_S") * variables["Voltage [V]"]


def _add_short(model: Any, volts: Any, current: Any) -> None:
    """Count the charge that passes outside, and heat the cell by what the short burns."""
    by_name = {variable.name: variable for variable in model.rhs}
    model.rhs[by_name["Discharge capacity [A.h]"]] = current / 3600
    heat_W_m3 = pybamm.InputParameter("leak_S") * volts**2 / model.variables["Cell thermal volume [m3]"]
    capacity = model.variables["Volume-averaged effective heat capacity [J.K-1.m-3]"]
    model.rhs[by_name["Volume-averaged cell temperature [K]"]] += heat_W_m3 / capacity


@cache
def pybamm_cell(preset: str) -> PybammCell:
    """This process's cell of a preset, built when first asked for.

    Raises:
        KeyError: if there is no preset of that name.
    """
    return PybammCell(PRESETS[preset].parameters)
