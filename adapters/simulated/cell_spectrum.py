"""Impedance spectra of a cell by PyBaMM: the model linearised about its rest, in the frequency domain.

With M the mass matrix, J the Jacobian at rest and b a unit current, (i omega M - J) x = b is solved at each frequency, and the
impedance is minus the voltage's share of x over the current's (Hallemans et al., J. Electrochem. Soc. 172 (2025); PyBaMM's
`EISSimulation`). The model is that of the cycles with the electrodes' double layers added. Rest means equilibrium: both graphite
populations are as full as each other.
"""

from __future__ import annotations

import numpy as np
import pybamm
from numpy.typing import NDArray

from adapters.simulated.cell_equations import base_options, parameter_values
from adapters.simulated.cell_parameters import CellParameters
from adapters.simulated.cell_steps import Array, CellFailureError


class Spectrometer:
    """Measures spectra of one preset; building takes half a second, a spectrum some milliseconds."""

    def __init__(self, parameters: CellParameters) -> None:
        model = pybamm.lithium_ion.SPMe({**base_options(), "surface form": "differential"})
        values, points = parameter_values(parameters), dict(parameters.points)
        self._simulation = pybamm.EISSimulation(model, parameter_values=values, var_pts=points)

    def measure(self, frequency_Hz: Array, inputs: dict[str, float]) -> NDArray[np.complex128]:
        """Impedance in ohm at frequencies, (n,) to (n,), of the cell that `cell_equations.state_inputs` describes.

        Raises:
            CellFailureError: the equations could not be solved.
        """
        known = {name: given for name, given in inputs.items() if name != "leak_S"}  # a short is no part of this model
        try:
            self._simulation.solve(frequency_Hz, inputs=known)
        except (pybamm.SolverError, RuntimeError, np.linalg.LinAlgError) as error:
            raise CellFailureError(f"the spectrum's equations could not be solved ({str(error)[:160]}).") from None
        impedance = np.asarray(self._simulation.solution.impedance, dtype=np.complex128)
        if not np.isfinite(impedance).all():
            raise CellFailureError("the spectrum's equations gave values that are not numbers.")
        return impedance
