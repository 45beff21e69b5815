"""The cells that can be simulated, each with its model's numbers, their sources, and its ageing law. All are synthetic.

`lfp_a123`: an LFP/graphite cell of 1.1 Ah calibrated to summary statistics of Severson et al., Nature Energy 4 (2019) 383. It
is no model of a real A123 cell and no evidence about one.

`nmc_lgm50`: an NMC/graphite energy cell of 5 Ah. Its electrochemistry is that of the parameter set OKane2022 of PyBaMM (O'Kane
et al., Phys. Chem. Chem. Phys. 24 (2022) 7909, after Chen et al., J. Electrochem. Soc. 167 (2020) 080534: an LG M50 21700). How
it ages is invented, not calibrated to any cell: the coefficients are scaled from those of `lfp_a123` so that 1C/1C cycling at
25 degC gives some hundred to a thousand cycles, and faster charge and heat cost life.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapters.simulated.ageing import AgeingLaw
from adapters.simulated.cell_parameters import FARADAY_C_MOL, GAS_J_MOL_K, CellParameters, Electrode
from orchestrator.domain import SpecError


@dataclass(frozen=True)
class CellPreset:
    """A cell that can be simulated: its name is that of its design, `parameters` its model, `law` how it ages."""

    name: str
    parameters: CellParameters
    law: AgeingLaw


def graphite_potential_V(x: Any, numeric: Any = math, steepness: float = 1.0) -> Any:
    """Graphite's open-circuit potential at stoichiometry x: Chen 2020, its first exponential made steeper by a factor."""
    tanh = numeric.tanh
    return (
        1.9793 * numeric.exp(-39.3631 * steepness * x)
        + 0.2482
        - 0.0909 * tanh(29.8538 * (x - 0.1234))
        - 0.04478 * tanh(14.9159 * (x - 0.2769))
        - 0.0205 * tanh(30.4444 * (x - 0.6103))
    )


# LFP/graphite. Capacities, kinetics and balance fitted to the median discharge curve of cycle 10 of the cells of Severson 2019
# (27.5 mAh rms, worst on the plateau), as factors on Prada2013.
_LFP_NEGATIVE_AH, _LFP_POSITIVE_AH = 1.334, 1.51
_LFP_HEIGHT_M = 0.6
_LFP_NEGATIVE_THICKNESS_M, _LFP_POSITIVE_THICKNESS_M = 3.4e-5, 8e-5
_LFP_NEGATIVE_FRACTION = 0.58
_LFP_NEGATIVE_MOL_M3, _LFP_POSITIVE_MOL_M3 = 30555.0, 22806.0
_LFP_WIDTH_M = (
    _LFP_NEGATIVE_AH
    * 3600
    / (FARADAY_C_MOL * _LFP_HEIGHT_M * _LFP_NEGATIVE_THICKNESS_M * _LFP_NEGATIVE_FRACTION * _LFP_NEGATIVE_MOL_M3)
)
_LFP_POSITIVE_FRACTION = (
    _LFP_POSITIVE_AH * 3600 / (FARADAY_C_MOL * _LFP_HEIGHT_M * _LFP_WIDTH_M * _LFP_POSITIVE_THICKNESS_M * _LFP_POSITIVE_MOL_M3)
)
# What the lumped thermal model needs and Prada2013 lacks: foils of 10 um copper and 20 um aluminium, handbook densities and
# heat capacities, an 18650 can, and still air helped by a fan. Chosen, not measured.
_LFP_THERMAL: dict[str, float] = {
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


def _lfp_negative_potential_V(x: Any, numeric: Any = math) -> Any:
    return graphite_potential_V(x, numeric, steepness=1.7490381999428826)


def _lfp_positive_potential_V(y: Any, numeric: Any = math) -> Any:
    """LFP's open-circuit potential: Afshar 2017, shifted by -5.4 mV."""
    lithiated = 0.9 * numeric.exp(-30 * (1 - y))
    return 3.4077 - 0.020269 * y + 0.5 * numeric.exp(-150 * y) - lithiated - 0.005411726933261333


def _lfp_negative_kinetics(x: Any) -> Any:
    """On the exchange current of Chen 2020."""
    return 8.287573953064346 * ((x + 1e-3) / 0.5) ** 0.7194920645545242


def _lfp_positive_kinetics(_y: Any) -> float:
    """On the exchange current of Kashkooli 2017."""
    return 12.025035527303459


def _lfp_negative_diffusivity_m2_s(x: Any, temperature_K: Any) -> Any:
    """Relative to that at half lithiation and 303.15 K; the activation energy of 30 kJ/mol is a choice."""
    arrhenius = np.exp(3e4 / GAS_J_MOL_K * (1 / 303.15 - 1 / temperature_K))
    return 3e-14 * 10.951053471909018 * ((x + 0.01) / 0.5) ** 0.14941050319157606 * arrhenius


LFP_A123 = CellPreset(
    name="lfp_a123",
    parameters=CellParameters(
        parameter_set="Prada2013",
        nominal_capacity_Ah=1.1,
        negative=Electrode(
            capacity_Ah=_LFP_NEGATIVE_AH,
            volume_fraction=_LFP_NEGATIVE_FRACTION,
            concentration_mol_m3=_LFP_NEGATIVE_MOL_M3,
            potential_V=_lfp_negative_potential_V,
            kinetics=_lfp_negative_kinetics,
            diffusivity_m2_s=_lfp_negative_diffusivity_m2_s,
        ),
        positive=Electrode(
            capacity_Ah=_LFP_POSITIVE_AH,
            volume_fraction=_LFP_POSITIVE_FRACTION,
            concentration_mol_m3=_LFP_POSITIVE_MOL_M3,
            potential_V=_lfp_positive_potential_V,
            kinetics=_lfp_positive_kinetics,
        ),
        particle_radius_m=5e-6,
        density_kg_m3=_LFP_THERMAL["Negative electrode density [kg.m-3]"],
        # Fitted to the median change of the discharge curve between cycles 10 and 100 (4.5 mAh rms).
        impeded_kinetics=0.0007595164282766573,
        impeded_diffusion=0.13479213472695697,
        series_resistance_ohm=0.010,
        min_voltage_V=1.2,
        max_voltage_V=4.2,
        max_rate_C=12.0,
        overrides={**_LFP_THERMAL, "Electrode width [m]": _LFP_WIDTH_M},
    ),
    law=AgeingLaw(),
)


def _nmc_positive_potential_V(y: Any, numeric: Any = math) -> Any:
    """NMC 811's open-circuit potential: Chen 2020."""
    tanh = numeric.tanh
    return (
        -0.8090 * y
        + 4.4875
        - 0.0428 * tanh(18.5138 * (y - 0.5542))
        - 17.7326 * tanh(15.7890 * (y - 0.3117))
        + 17.5842 * tanh(15.9308 * (y - 0.3120))
    )


# From the geometry of Chen 2020: thickness x area x share of active material x concentration x F.
_NMC_AREA_M2 = 0.065 * 1.58
_NMC_NEGATIVE_AH = FARADAY_C_MOL * 8.52e-5 * _NMC_AREA_M2 * 0.75 * 33133.0 / 3600
_NMC_POSITIVE_AH = FARADAY_C_MOL * 7.56e-5 * _NMC_AREA_M2 * 0.665 * 63104.0 / 3600

NMC_LGM50 = CellPreset(
    name="nmc_lgm50",
    parameters=CellParameters(
        parameter_set="OKane2022",
        nominal_capacity_Ah=5.0,
        negative=Electrode(_NMC_NEGATIVE_AH, 0.75, 33133.0, graphite_potential_V),
        positive=Electrode(_NMC_POSITIVE_AH, 0.665, 63104.0, _nmc_positive_potential_V),
        particle_radius_m=5.86e-6,
        density_kg_m3=1657.0,
        impeded_kinetics=0.0007595164282766573,
        impeded_diffusion=0.13479213472695697,
        series_resistance_ohm=0.010,
        min_voltage_V=2.0,
        max_voltage_V=4.4,
        max_rate_C=4.0,
        # A can in moving air; the set's 10 W/(m2 K) is still air, in which 3C would heat it past 80 degC.
        overrides={"Total heat transfer coefficient [W.m-2.K-1]": 30.0},
    ),
    law=AgeingLaw(
        nominal_capacity_Ah=5.0,
        negative_capacity_Ah=_NMC_NEGATIVE_AH,
        lithium_Ah=7.61,
        negative_active=1.0,
        series_resistance_factor=1.0,
        reference_temperature_K=298.15,
        # Invented. Impeding follows the charge's C-rate cubed (1 h at 1C) less than in LFP cells and binds more lithium; the
        # activation energies make heat cost more than its relief of plating gains.
        impeding_per_cycle=2e-4,
        impeding_reference_h=1.0,
        impeding_power=0.55,
        impeding_binds_Ah=2.0,
        plating_Ah_per_V_s=5e-6,
        plating_impedes=0.8,
        impeding_any_rate=0.0,
        plating_activation_J_mol=0.0,
        impeding_activation_J_mol=2.5e4,
        film_Ah_per_sqrt_h=6.5e-3,
        film_activation_J_mol=5e4,
        overhang_Ah=0.04,
        overhang_cycles=60.0,
        overhang_held_Ah=0.0,
        resistance_growth=3.0,
        step_plating_Ah=0.06,
        step_cycles=100,
    ),
)

PRESETS = {preset.name: preset for preset in (LFP_A123, NMC_LGM50)}


def preset_for(design: str) -> CellPreset:
    """The preset of a cell design: the one whose name the design's begins with.

    Raises:
        SpecError: if there is none; the presets are listed.
    """
    for name, preset in PRESETS.items():
        if design.startswith(name):
            return preset
    raise SpecError(f"there is no model of the cell '{design}'; these cells can be simulated: {', '.join(PRESETS)}.")
