"""The simulated cell's coefficients, in one table with their sources, and its equilibrium.

Synthetic: an LFP/graphite cell of 1.1 Ah calibrated to summary statistics of Severson et al., Nature Energy 4 (2019)
383. It is no model of a real A123 cell and no evidence about one.

Graphite comes in two populations: a healthy one, and an *impeded* one (share phi) whose kinetics are slower by
`IMPEDED_KINETICS` and whose diffusion is slower by `IMPEDED_DIFFUSION`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

NOMINAL_CAPACITY_AH = 1.1
FARADAY_C_MOL = 96485.0
GAS_J_MOL_K = 8.314
ZERO_CELSIUS_K = 273.15

# Capacities of the electrodes, active material untouched (fitted: kinetics and balance to the median discharge curve of
# cycle 10 of the 124 cells of Severson 2019; 27.5 mAh rms, worst on the plateau).
NEGATIVE_CAPACITY_AH = 1.334
POSITIVE_CAPACITY_AH = 1.51

# Factors on the parameter set Prada2013 of PyBaMM (fitted, same fit).
NEGATIVE_DIFFUSIVITY_M2_S = 3e-14 * 10.951053471909018  # at half lithiation and 303.15 K; x ((x + 0.01)/0.5)^0.149
NEGATIVE_DIFFUSIVITY_POWER = 0.14941050319157606
NEGATIVE_DIFFUSIVITY_ACTIVATION_J_MOL = 3e4
NEGATIVE_KINETICS = 8.287573953064346  # on the exchange current of Chen 2020; x ((x + 0.001)/0.5)^0.719
NEGATIVE_KINETICS_POWER = 0.7194920645545242
NEGATIVE_OCP_STEEPNESS = 1.7490381999428826  # on the first exponential of Chen 2020's graphite potential
POSITIVE_KINETICS = 12.025035527303459  # on the exchange current of Kashkooli 2017
POSITIVE_OCP_SHIFT_V = -0.005411726933261333  # on Afshar 2017's LFP potential
SERIES_RESISTANCE_OHM = 0.010
SERIES_RESISTANCE_FACTOR = 0.5247292679909692  # f_R of a fresh cell
REFERENCE_TEMPERATURE_K = 303.15

# Fitted to the median change of the discharge curve between cycles 10 and 100 (4.5 mAh rms).
IMPEDED_KINETICS = 0.0007595164282766573
IMPEDED_DIFFUSION = 0.13479213472695697
IMPEDED_FRACTION_FRESH = 0.007257997569341527

# What the lumped thermal model needs and Prada2013 lacks: foils of 10 um copper and 20 um aluminium, handbook densities and
# heat capacities, an 18650 can, and still air helped by a fan. Chosen, not measured.
THERMAL: dict[str, float] = {
    "Negative current collector thickness [m]": 1e-5,
    "Positive current collector thickness [m]": 2e-5,
    "Negative current collector conductivity [S.m-1]": 5.84e7,
    "Positive current collector conductivity [S.m-1]": 3.69e7,
    "Negative current collector density [kg.m-3]": 8960.0,
    "Positive current collector density [kg.m-3]": 2700.0,
    "Negative current collector specific heat capacity [J.kg-1.K-1]": 385.0,
    "Positive current collector specific heat capacity [J.kg-1.K-1]": 897.0,
    "Negative electrode density [kg.m-3]": 1657.0,
    "Negative electrode specific heat capacity [J.kg-1.K-1]": 1100.0,
    "Separator density [kg.m-3]": 397.0,
    "Separator specific heat capacity [J.kg-1.K-1]": 1100.0,
    "Positive electrode density [kg.m-3]": 2400.0,
    "Positive electrode specific heat capacity [J.kg-1.K-1]": 1100.0,
    "Cell volume [m3]": 1.654e-5,
    "Cell cooling surface area [m2]": 4.18e-3,
    "Total heat transfer coefficient [W.m-2.K-1]": 30.0,
}

# Geometry and concentrations of Prada2013 that the capacities above are converted with.
ELECTRODE_HEIGHT_M = 0.6
NEGATIVE_THICKNESS_M, POSITIVE_THICKNESS_M = 3.4e-5, 8e-5
NEGATIVE_FRACTION = 0.58
NEGATIVE_CONCENTRATION_MOL_M3, POSITIVE_CONCENTRATION_MOL_M3 = 30555.0, 22806.0
ELECTRODE_WIDTH_M = (
    NEGATIVE_CAPACITY_AH
    * 3600
    / (FARADAY_C_MOL * ELECTRODE_HEIGHT_M * NEGATIVE_THICKNESS_M * NEGATIVE_FRACTION * NEGATIVE_CONCENTRATION_MOL_M3)
)
POSITIVE_FRACTION = (
    POSITIVE_CAPACITY_AH
    * 3600
    / (FARADAY_C_MOL * ELECTRODE_HEIGHT_M * ELECTRODE_WIDTH_M * POSITIVE_THICKNESS_M * POSITIVE_CONCENTRATION_MOL_M3)
)

# Outside these the model is an extrapolation that nobody has looked at: the run fails there.
MODEL_MIN_VOLTAGE_V, MODEL_MAX_VOLTAGE_V = 1.2, 4.2
MODEL_MAX_CURRENT_A = 12 * NOMINAL_CAPACITY_AH


@dataclass(frozen=True)
class CellState:
    """What ages in a cell.

    Attributes:
        impeded_fraction: share of graphite that is impeded (phi).
        lithium_Ah: cyclable lithium (N).
        resistance_factor: on the series resistance (f_R).
        negative_active, positive_active: share of active material left (f_n, f_p).
    """

    impeded_fraction: float
    lithium_Ah: float
    resistance_factor: float
    negative_active: float
    positive_active: float = 1.0


def negative_potential_V(x: Any, numeric: Any = math) -> Any:
    """Graphite's open-circuit potential at stoichiometry x: Chen 2020, its first exponential steepened.

    `numeric` offers `exp` and `tanh`: `math` for floats, numpy for PyBaMM's symbols.
    """
    tanh = numeric.tanh
    return (
        1.9793 * numeric.exp(-39.3631 * NEGATIVE_OCP_STEEPNESS * x)
        + 0.2482
        - 0.0909 * tanh(29.8538 * (x - 0.1234))
        - 0.04478 * tanh(14.9159 * (x - 0.2769))
        - 0.0205 * tanh(30.4444 * (x - 0.6103))
    )


def positive_potential_V(y: Any, numeric: Any = math) -> Any:
    """LFP's open-circuit potential at stoichiometry y: Afshar 2017, shifted."""
    lithiated = 0.9 * numeric.exp(-30 * (1 - y))
    return 3.4077 - 0.020269 * y + 0.5 * numeric.exp(-150 * y) - lithiated + POSITIVE_OCP_SHIFT_V


def equilibrium(state: CellState, voltage_V: float) -> tuple[float, float]:
    """Stoichiometries (x of graphite, y of LFP) at which a rested cell shows a voltage.

    Solves U_p(y) - U_n(x) = V with Q_n f_n x + Q_p f_p y = N by bisection in y (the voltage falls as y grows).
    """
    negative_Ah = NEGATIVE_CAPACITY_AH * state.negative_active
    positive_Ah = POSITIVE_CAPACITY_AH * state.positive_active

    def graphite(y: float) -> float:
        return (state.lithium_Ah - positive_Ah * y) / negative_Ah

    low, high = max(1e-6, (state.lithium_Ah - negative_Ah) / positive_Ah), min(0.999, state.lithium_Ah / positive_Ah)
    for _ in range(60):
        y = 0.5 * (low + high)
        above = positive_potential_V(y) - negative_potential_V(graphite(y)) > voltage_V
        low, high = (y, high) if above else (low, y)
    return min(graphite(y), 0.999), y
