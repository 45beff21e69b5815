"""How the simulated cell ages: an explicit law between check-ups, pure numpy.

Per cell: phi (share of impeded graphite), N (cyclable lithium, Ah), a series resistance and active material. A check-up
gives the stress of one cycle,

    x = integral over charge of (C-rate)^3 dt                               [h]
    A = integral of exp(E/R (1/T0 - 1/T)) dt                                [h]
    P = integral over charge of E0 softplus(-E_an/E0) dt                    [V s]

with E_an the graphite's potential against lithium at the separator, and from it

    r        = k_phi (x_fresh/x0)^a xi_phi                                  per cycle, fixed by the fresh cell
    r_k      = r max(0.2, 1 + acc (phi - phi0)/0.2 + zeta exp(-n/100))
    plate    = k_p xi_p P, extrapolated over the next step as 1.5 new - 0.5 old
    dphi/dn  = r_k + beta plate/Q_n
    -dN/dn   = plate + alpha r_k + d/dn[k_s xi_s A sqrt(n)] - d/dn[a_oh (1 - exp(-n/60))]
    f_R      = f_R0 (1 + 0.5 (phi - phi0)) exp(scatter)

Why an own law: PyBaMM's stock ageing models reward the fastest charge, since the cell heats. The form and all coefficients
were fitted to summary statistics of Severson et al., Nature Energy 4 (2019) 383 (41 training protocols: life 300 to 2160
cycles there, 338 to 1335 here). The real protocols do not identify a temperature law: E = 30 kJ/mol is a choice, next to the
31.7 kJ/mol of Wang et al., J. Power Sources 196 (2011) 3942, for LFP/graphite. The batch effect of those data is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from adapters.simulated.cell_parameters import GAS_J_MOL_K, CellState
from adapters.simulated.cell_steps import Array


@dataclass(frozen=True)
class AgeingLaw:
    """Coefficients of the law; spreads are standard deviations between cells.

    Attributes:
        impeding_per_cycle: k_phi.
        impeding_reference_h, impeding_power: x0, a.
        impeding_floor: the least factor on r.
        plating_Ah_per_V_s, plating_scale_V: k_p, E0.
        plating_impedes: beta.
        impeding_binds_Ah: alpha, lithium lost with impeded graphite.
        film_Ah_per_h: k_s, growth of the surface film with the square root of cycles.
        film_activation_J_mol: E.
        overhang_Ah, overhang_cycles: a_oh, 60: lithium that comes back from the anode's overhang in early life.
        resistance_growth: 0.5.
        lithium_Ah, negative_active, fresh_impeded, series_resistance_factor: N, f_n, phi0 and f_R0 of a fresh cell.
        nominal_capacity_Ah: what 1C refers to.
        negative_capacity_Ah: Q_n.
        reference_temperature_K: T0.
    """

    # The cell that ages: every number of its chemistry that the law needs.
    nominal_capacity_Ah: float = 1.1
    negative_capacity_Ah: float = 1.334
    lithium_Ah: float = 1.098
    negative_active: float = 0.957
    fresh_impeded: float = 0.007257997569341527
    series_resistance_factor: float = 0.5247292679909692
    reference_temperature_K: float = 303.15

    impeding_per_cycle: float = 6.1e-4
    impeding_reference_h: float = 19.3
    impeding_power: float = 1.25
    impeding_floor: float = 0.2
    plating_Ah_per_V_s: float = 1.4e-5
    plating_scale_V: float = 0.03
    plating_impedes: float = 0.8
    impeding_binds_Ah: float = 0.07
    film_Ah_per_h: float = 5e-4
    film_activation_J_mol: float = 3e4
    overhang_Ah: float = 0.009
    overhang_cycles: float = 60.0
    resistance_growth: float = 0.5
    # Spreads between cells: lognormal, then normal.
    spread_impeding: float = 0.07
    spread_film: float = 0.2
    spread_plating: float = 0.4
    spread_fresh_impeded: float = 0.15
    spread_negative_active: float = 0.015
    spread_acceleration: float = 0.15
    spread_early: float = 0.25
    # Scatter of the series resistance (contacts) between check-ups: lognormal.
    scatter_resistance: float = 0.015
    # Steps between check-ups are as long as these changes allow.
    step_impeded: float = 0.02
    step_plating_Ah: float = 0.014
    step_cycles: int = 150


LAW = AgeingLaw()


@dataclass(frozen=True)
class CellIndividual:
    """One cell as it left the factory: the numbers in which it differs from its siblings."""

    impeding: float = 1.0
    film: float = 1.0
    plating: float = 1.0
    fresh_impeded: float = LAW.fresh_impeded
    negative_active: float = LAW.negative_active
    acceleration: float = 0.0
    early: float = 0.0


def manufacture(rng: np.random.Generator, law: AgeingLaw = LAW) -> CellIndividual:
    """Draw a cell from the production's spread."""
    lognormal = np.exp(
        rng.normal(0.0, [law.spread_impeding, law.spread_film, law.spread_plating, law.spread_fresh_impeded])
    ).tolist()
    active, acceleration, early = rng.normal(
        0.0, [law.spread_negative_active, law.spread_acceleration, law.spread_early]
    ).tolist()
    return CellIndividual(
        impeding=lognormal[0],
        film=lognormal[1],
        plating=lognormal[2],
        fresh_impeded=law.fresh_impeded * lognormal[3],
        negative_active=law.negative_active * (1 + active),
        acceleration=acceleration,
        early=early,
    )


@dataclass(frozen=True)
class Stress:
    """What one cycle does to the cell: x, A and P of the law."""

    charge_rate_cubed_h: float
    arrhenius_h: float
    plating_V_s: float


def stress_of(time_s: Array, current_A: Array, temperature_K: Array, anode_potential_V: Array, law: AgeingLaw = LAW) -> Stress:
    """Integrate a cycle's stress by the midpoint of each sampling interval; all arrays (n,)."""
    dt, current, kelvin, anode = np.diff(time_s), _mid(current_A), _mid(temperature_K), _mid(anode_potential_V)
    charging_dt = np.where(current > 1e-6, dt, 0.0)
    rate = np.abs(current) / law.nominal_capacity_Ah
    arrhenius = np.exp(law.film_activation_J_mol / GAS_J_MOL_K * (1 / law.reference_temperature_K - 1 / kelvin))
    exposure = law.plating_scale_V * np.logaddexp(0.0, -anode / law.plating_scale_V)
    return Stress(
        charge_rate_cubed_h=float((charging_dt * rate**3).sum()) / 3600,
        arrhenius_h=float((dt * arrhenius).sum()) / 3600,
        plating_V_s=float((charging_dt * exposure).sum()),
    )


def _mid(values: Array) -> Array:
    middles: Array = 0.5 * (values[1:] + values[:-1])
    return middles


@dataclass(frozen=True)
class Age:
    """A cell's ageing states at the beginning of a cycle.

    Attributes:
        cycle: from 1.
        impeded_fraction, lithium_Ah: phi, N.
        impeding_per_cycle: r, set by the first check-up; None before it.
        plating_before_Ah: plating per cycle at the check-up before; None at the first.
        plating_factor: on plating, of a fault (see `cell_faults`).
        leak_S: conductance of an internal short, 1/ohm.
    """

    cycle: int
    impeded_fraction: float
    lithium_Ah: float
    impeding_per_cycle: float | None = None
    plating_before_Ah: float | None = None
    plating_factor: float = 1.0
    leak_S: float = 0.0


@dataclass(frozen=True)
class Pace:
    """How fast a cell ages from one check-up to the next, per cycle, but for the terms that depend on the cycle alone."""

    impeding: float
    plating_Ah: float
    arrhenius_h: float
    fresh_impeding: float
    plating_now_Ah: float

    def impeded(self, law: AgeingLaw = LAW) -> float:
        """dphi/dn."""
        return self.impeding + law.plating_impedes * self.plating_Ah / law.negative_capacity_Ah


def begin(cell: CellIndividual, law: AgeingLaw = LAW) -> Age:
    """The fresh cell."""
    return Age(cycle=1, impeded_fraction=cell.fresh_impeded, lithium_Ah=law.lithium_Ah)


def pace(cell: CellIndividual, age: Age, stress: Stress, law: AgeingLaw = LAW) -> Pace:
    """The pace of ageing after a check-up with this stress."""
    relative = stress.charge_rate_cubed_h / law.impeding_reference_h
    fresh = age.impeding_per_cycle
    if fresh is None:
        fresh = law.impeding_per_cycle * relative**law.impeding_power * cell.impeding
    grown = (age.impeded_fraction - cell.fresh_impeded) / 0.2
    factor = 1 + cell.acceleration * grown + cell.early * float(np.exp(-age.cycle / 100))
    plating_now = law.plating_Ah_per_V_s * cell.plating * age.plating_factor * stress.plating_V_s
    before = age.plating_before_Ah
    plating = plating_now if before is None else max(0.0, 1.5 * plating_now - 0.5 * before)
    return Pace(fresh * max(law.impeding_floor, factor), plating, stress.arrhenius_h, fresh, plating_now)


def longest_step(rate: Pace, law: AgeingLaw = LAW) -> int:
    """Cycles (at least one) that the law may bridge without another check-up."""
    by_impeding = law.step_impeded / max(rate.impeded(law), 1e-12)
    by_plating = law.step_plating_Ah / max(rate.plating_Ah, 1e-12)
    return max(1, int(min(by_impeding, by_plating, law.step_cycles)))


def advance(cell: CellIndividual, age: Age, rate: Pace, to_cycle: int, law: AgeingLaw = LAW) -> Age:
    """The cell at the beginning of a later cycle."""
    cycles = to_cycle - age.cycle
    film = law.film_Ah_per_h * cell.film * rate.arrhenius_h * (np.sqrt(to_cycle) - np.sqrt(age.cycle))
    returned = law.overhang_Ah * (np.exp(-age.cycle / law.overhang_cycles) - np.exp(-to_cycle / law.overhang_cycles))
    lost = (rate.plating_Ah + law.impeding_binds_Ah * rate.impeding) * cycles + float(film - returned)
    return replace(
        age,
        cycle=to_cycle,
        impeded_fraction=min(0.9, age.impeded_fraction + rate.impeded(law) * cycles),
        lithium_Ah=age.lithium_Ah - lost,
        impeding_per_cycle=rate.fresh_impeding,
        plating_before_Ah=rate.plating_now_Ah,
    )


def state_of(cell: CellIndividual, age: Age, rng: np.random.Generator, law: AgeingLaw = LAW) -> CellState:
    """The state that a check-up simulates; `rng` scatters the contact resistance."""
    growth = 1 + law.resistance_growth * (age.impeded_fraction - cell.fresh_impeded)
    scatter = float(np.exp(rng.normal(0.0, law.scatter_resistance)))
    return CellState(
        impeded_fraction=age.impeded_fraction,
        lithium_Ah=age.lithium_Ah,
        resistance_factor=law.series_resistance_factor * growth * scatter,
        negative_active=cell.negative_active,
    )
