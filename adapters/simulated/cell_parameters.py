"""What describes a simulated cell: the numbers of its model, its state, and its equilibrium.

Graphite comes in two populations: a healthy one, and an *impeded* one (share phi) whose kinetics and diffusion are slower.
The cells themselves are in `cell_presets`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

FARADAY_C_MOL = 96485.0
GAS_J_MOL_K = 8.314
ZERO_CELSIUS_K = 273.15


@dataclass(frozen=True)
class CellState:
    """What ages in a cell.

    Attributes:
        impeded_fraction: share of graphite that is impeded (phi).
        lithium_Ah: lithium in both electrodes (N).
        resistance_factor: on the series resistance (f_R).
        negative_active, positive_active: share of active material left (f_n, f_p).
        leak_S: conductance of an internal short, 1/ohm; its current flows inside the cell and is not measured.
    """

    impeded_fraction: float
    lithium_Ah: float
    resistance_factor: float
    negative_active: float
    positive_active: float = 1.0
    leak_S: float = 0.0


def unchanged(_stoichiometry: Any) -> float:
    """A factor of one, whatever the stoichiometry."""
    return 1.0


@dataclass(frozen=True)
class Electrode:
    """One electrode of the model.

    Attributes:
        capacity_Ah: charge from stoichiometry 0 to 1, active material untouched.
        volume_fraction: of active material, when untouched.
        concentration_mol_m3: of lithium at stoichiometry 1.
        potential_V: `(stoichiometry, numeric) -> V` against lithium; `numeric` offers `exp` and `tanh`: `math` for floats,
            numpy for PyBaMM's symbols.
        kinetics: `stoichiometry -> factor` on the exchange current of the parameter set.
        diffusivity_m2_s: `(stoichiometry, temperature in K) -> m2/s`; None takes that of the parameter set.
    """

    capacity_Ah: float
    volume_fraction: float
    concentration_mol_m3: float
    potential_V: Callable[..., Any]
    kinetics: Callable[[Any], Any] = unchanged
    diffusivity_m2_s: Callable[[Any, Any], Any] | None = None


@dataclass(frozen=True)
class CellParameters:
    """The numbers of one cell's model.

    Attributes:
        parameter_set: of PyBaMM, which gives every number not named here.
        overrides: numbers put in the place of the set's, under PyBaMM's names.
        particle_radius_m: of graphite, both populations.
        density_kg_m3: of the negative electrode.
        impeded_kinetics, impeded_diffusion: factors on impeded graphite's.
        series_resistance_ohm: contacts and foils, at f_R = 1.
        reference_temperature_K: of the parameter set's Arrhenius laws.
        min_voltage_V, max_voltage_V, max_rate_C: outside these the model is an extrapolation that nobody has looked at: a
            run fails there.
        points: mesh points by PyBaMM's names of its dimensions.
    """

    parameter_set: str
    nominal_capacity_Ah: float
    negative: Electrode
    positive: Electrode
    particle_radius_m: float
    density_kg_m3: float
    impeded_kinetics: float
    impeded_diffusion: float
    series_resistance_ohm: float
    min_voltage_V: float
    max_voltage_V: float
    max_rate_C: float
    reference_temperature_K: float = 298.15
    overrides: Mapping[str, float] = field(default_factory=dict)
    points: Mapping[str, int] = field(
        default_factory=lambda: {"x_n": 5, "x_s": 3, "x_p": 5, "r_n": 20, "r_n_prim": 20, "r_n_sec": 12, "r_p": 8}
    )

    @property
    def max_current_A(self) -> float:
        """The largest current that the model covers."""
        return self.max_rate_C * self.nominal_capacity_Ah

    @property
    def middle_voltage_V(self) -> float:
        """The cell's voltage with the positive electrode half full: what lies above it is nearly full."""
        return float(self.positive.potential_V(0.5, math))


def equilibrium(cell: CellParameters, state: CellState, voltage_V: float, discharged_Ah: float = 0.0) -> tuple[float, float]:
    """Stoichiometries (x of graphite, y of the positive electrode) of a rested cell.

    Solves U_p(y) - U_n(x) = V with Q_n f_n x + Q_p f_p y = N by bisection in y (the voltage falls as y grows), then takes
    `discharged_Ah` out: x falls by charge over Q_n f_n, y grows by charge over Q_p f_p.
    """
    negative_Ah = cell.negative.capacity_Ah * state.negative_active
    positive_Ah = cell.positive.capacity_Ah * state.positive_active

    def graphite(y: float) -> float:
        return (state.lithium_Ah - positive_Ah * y) / negative_Ah

    low, high = max(1e-6, (state.lithium_Ah - negative_Ah) / positive_Ah), min(0.999, state.lithium_Ah / positive_Ah)
    for _ in range(60):
        y = 0.5 * (low + high)
        above = cell.positive.potential_V(y, math) - cell.negative.potential_V(graphite(y), math) > voltage_V
        low, high = (y, high) if above else (low, y)
    x = min(graphite(y), 0.999)
    return x - discharged_Ah / negative_Ah, y + discharged_Ah / positive_Ah


def rested_voltage_V(cell: CellParameters, state: CellState, voltage_V: float, discharged_Ah: float) -> float:
    """The voltage of a cell that was at rest at `voltage_V`, lost `discharged_Ah` and rested again."""
    x, y = equilibrium(cell, state, voltage_V, discharged_Ah)
    return float(cell.positive.potential_V(y, math) - cell.negative.potential_V(x, math))
