"""How the simulated cell ages: an explicit law between check-ups, pure numpy. Synthetic; no model of a real A123 cell.

Per cell: phi (share of impeded graphite), N (cyclable lithium, Ah), F (lithium in the surface film, Ah), H (lithium in the
anode's overhang, Ah), a series resistance and active material. A check-up gives the stress of one cycle,

    x = integral over charge of (C-rate)^3 exp(E_phi/(a R) (1/T0 - 1/T)) dt [h], so that r has the activation energy E_phi
    A = integral of exp(E_s/R (1/T0 - 1/T)) dt                              [h]
    P = integral over charge of E0 softplus(-E_an/E0) exp(E_p/R (1/T0 - 1/T)) dt [V s]
    h = time without current                                                [h]

with E_an the graphite's potential against lithium at the separator, and from it

    r        = k_phi (b + (x_fresh/x0)^a) xi_phi                            per cycle, fixed by the fresh cell
    r_k      = r max(0.2, 1 + acc (phi - phi0)/0.2 + zeta exp(-n/100))
    plate    = k_p xi_p P, extrapolated over the next step as 1.5 new - 0.5 old
    dphi/dn  = r_k + beta plate/Q_n
    dF/dn    = (k_s xi_s)^2 A / (2 F)                                       the film grows with the root of time
    dH/dn    = (H_s - H)/n_oh - H (1 - exp(-h/t_oh))                        the overhang empties, faster at rest
    -dN/dn   = plate + alpha r_k + dF/dn + dH/dn
    f_R      = f_R0 (1 + c_R (phi - phi0)) exp(scatter)

So a fresh cell's capacity rises for some tens of cycles, a rest gives some of the lithium back, and plating, once the impeded
graphite overfills the healthy one, brings the knee. Heat speeds up impeding and film by Arrhenius; cold lets the anode's
potential fall, by the cell model's diffusion and kinetics, and so brings plating, of which less is stripped again (E_p < 0).
`AgeingLaw` is the table of all coefficients and of where each comes from; docs/simulated_cell.md holds the figures.

Why an own law: PyBaMM's stock ageing models reward the fastest charge, since the cell heats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from adapters.simulated.cell_parameters import GAS_J_MOL_K, CellState
from adapters.simulated.cell_steps import Array


@dataclass(frozen=True)
class AgeingLaw:
    """Coefficients of the law and the spread between cells; the defaults are those of the cell `lfp_a123`.

    Sources: [fit] benchmarks/calibrate_cell.py, to cells of Severson et al., Nature Energy 4 (2019) 383, on part of their
    protocols; [range] chosen by hand on the same cells, where a spread decides and no single curve; [chosen] by us, nothing
    measured decides it; others by name.

    Attributes:
        nominal_capacity_Ah: what 1C refers to (the maker's 1.1 Ah).
        negative_capacity_Ah: Q_n, of the cell model.
        lithium_Ah: N of a fresh cell [fit].
        negative_active: f_n of a fresh cell, of the cell model's fit to the median discharge curve.
        fresh_impeded: phi0, of the cell model's fit to the change of that curve between cycles 10 and 100.
        series_resistance_factor: f_R0, of the cell model's fit to the median discharge curve.
        reference_temperature_K: T0, the chamber of Severson 2019.
        impeding_per_cycle: k_phi [fit].
        impeding_reference_h: x0, near the median of Severson's protocols, so that k_phi is the median's pace.
        impeding_power: a [range]: lives against x within each of Severson's two batches go by 1.2 over all protocols and 1.7
            over the slow ones; with b, the law goes by 1.7 at x0 and by less below.
        impeding_any_rate: b, what cycling costs however slow the charge [chosen]: without it cells charged at 1C would live
            for ten thousands of cycles, and the demo's slowest charge beyond the end of its tests.
        impeding_floor: the least factor on r [chosen].
        impeding_activation_J_mol: E_phi, 31.7 kJ/mol: loss of LFP/graphite cells in cycling, Wang et al., J. Power Sources
            196 (2011) 3942. Severson's protocols, all at 30 degC, do not identify it.
        impeding_binds_Ah: alpha, lithium lost with impeded graphite [fit].
        plating_Ah_per_V_s: k_p [fit].
        plating_scale_V: E0 [range].
        plating_activation_J_mol: E_p [chosen]; that it is negative: Waldmann et al., J. Power Sources 262 (2014) 129, whose
            cells aged by plating below 25 degC, the faster the colder.
        plating_impedes: beta, graphite impeded by what is plated on it [fit].
        film_Ah_per_sqrt_h: k_s, parabolic growth as in Ploehn, Ramadass and White, J. Electrochem. Soc. 151 (2004) A456 [fit].
        film_activation_J_mol: E_s, 31.7 kJ/mol, Wang 2011 as above.
        overhang_Ah: what the overhang of a fresh cell gives back in cycling: the formation rise [fit].
        overhang_cycles: n_oh, in how many cycles [fit].
        overhang_held_Ah: H_s, what the overhang holds however long a cell is cycled without rest, and gives back in rests
            [chosen]: 0.3 % of the capacity. Severson's tests hardly paused and show no such gain.
        overhang_rest_h: t_oh [chosen]: hours to days, as in Lewerenz et al., J. Energy Storage 18 (2018) 149.
        resistance_growth: c_R [fit].
    """

    # The cell that ages: every number of its chemistry that the law needs.
    nominal_capacity_Ah: float = 1.1
    negative_capacity_Ah: float = 1.334
    lithium_Ah: float = 1.097
    negative_active: float = 0.957
    fresh_impeded: float = 0.007257997569341527
    series_resistance_factor: float = 0.5247292679909692
    reference_temperature_K: float = 303.15
    impeding_per_cycle: float = 4.13e-4
    impeding_reference_h: float = 22.0
    impeding_power: float = 2.0
    impeding_any_rate: float = 0.18
    impeding_floor: float = 0.2
    impeding_activation_J_mol: float = 3.17e4
    impeding_binds_Ah: float = 0.132
    plating_Ah_per_V_s: float = 1.9e-5
    plating_scale_V: float = 0.03
    plating_activation_J_mol: float = -3e4
    plating_impedes: float = 1.02
    film_Ah_per_sqrt_h: float = 5.0e-4
    film_activation_J_mol: float = 3.17e4
    overhang_Ah: float = 0.0159
    overhang_cycles: float = 16.9
    overhang_held_Ah: float = 0.0035
    overhang_rest_h: float = 24.0
    resistance_growth: float = 0.7
    # Spreads between cells: lognormal, then normal (relative, but for the last two).
    spread_impeding: float = 0.22
    spread_film: float = 0.2
    spread_plating: float = 0.3
    spread_fresh_impeded: float = 0.15
    spread_lithium: float = 0.005
    spread_negative_active: float = 0.012
    spread_acceleration: float = 0.12
    spread_early: float = 0.2
    # Scatter of the series resistance (contacts) between check-ups: lognormal.
    scatter_resistance: float = 0.012
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
    lithium_Ah: float = LAW.lithium_Ah
    negative_active: float = LAW.negative_active
    acceleration: float = 0.0
    early: float = 0.0


def manufacture(rng: np.random.Generator, law: AgeingLaw = LAW) -> CellIndividual:
    """Draw a cell from the production's spread."""
    lognormal = np.exp(
        rng.normal(0.0, [law.spread_impeding, law.spread_film, law.spread_plating, law.spread_fresh_impeded])
    ).tolist()
    lithium, active, acceleration, early = rng.normal(
        0.0, [law.spread_lithium, law.spread_negative_active, law.spread_acceleration, law.spread_early]
    ).tolist()
    return CellIndividual(
        impeding=lognormal[0],
        film=lognormal[1],
        plating=lognormal[2],
        fresh_impeded=law.fresh_impeded * lognormal[3],
        lithium_Ah=law.lithium_Ah * (1 + lithium),
        negative_active=law.negative_active * (1 + active),
        acceleration=acceleration,
        early=early,
    )


@dataclass(frozen=True)
class Stress:
    """What one cycle does to the cell: x, A, P and h of the law."""

    charge_rate_cubed_h: float
    arrhenius_h: float
    plating_V_s: float
    rest_h: float = 0.0


def stress_of(time_s: Array, current_A: Array, temperature_K: Array, anode_potential_V: Array, law: AgeingLaw = LAW) -> Stress:
    """Integrate a cycle's stress by the midpoint of each sampling interval; all arrays (n,)."""
    dt, current, kelvin, anode = np.diff(time_s), _mid(current_A), _mid(temperature_K), _mid(anode_potential_V)
    charging_dt = np.where(current > 1e-6, dt, 0.0)
    rate = np.abs(current) / law.nominal_capacity_Ah
    exposure = law.plating_scale_V * np.logaddexp(0.0, -anode / law.plating_scale_V)
    plating = exposure * _arrhenius(law.plating_activation_J_mol, kelvin, law)
    impeding = rate**3 * _arrhenius(law.impeding_activation_J_mol / law.impeding_power, kelvin, law)
    return Stress(
        charge_rate_cubed_h=float((charging_dt * impeding).sum()) / 3600,
        arrhenius_h=float((dt * _arrhenius(law.film_activation_J_mol, kelvin, law)).sum()) / 3600,
        plating_V_s=float((charging_dt * plating).sum()),
        rest_h=float(dt[rate < RESTING_RATE_C].sum()) / 3600,
    )


RESTING_RATE_C = 1e-4


def _arrhenius(activation_J_mol: float, kelvin: Array, law: AgeingLaw) -> Array:
    factor: Array = np.exp(activation_J_mol / GAS_J_MOL_K * (1 / law.reference_temperature_K - 1 / kelvin))
    return factor


def _mid(values: Array) -> Array:
    middles: Array = 0.5 * (values[1:] + values[:-1])
    return middles


@dataclass(frozen=True)
class Age:
    """A cell's ageing states at the beginning of a cycle.

    Attributes:
        cycle: from 1.
        impeded_fraction, lithium_Ah, film_Ah, overhang_Ah: phi, N, F, H.
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
    film_Ah: float = 0.0
    overhang_Ah: float = 0.0
    plating_factor: float = 1.0
    leak_S: float = 0.0


@dataclass(frozen=True)
class Pace:
    """How fast a cell ages from one check-up to the next, per cycle."""

    impeding: float
    plating_Ah: float
    arrhenius_h: float
    rest_h: float
    fresh_impeding: float
    plating_now_Ah: float

    def impeded(self, law: AgeingLaw = LAW) -> float:
        """dphi/dn."""
        return self.impeding + law.plating_impedes * self.plating_Ah / law.negative_capacity_Ah


def begin(cell: CellIndividual, law: AgeingLaw = LAW) -> Age:
    """The fresh cell."""
    return Age(
        cycle=1,
        impeded_fraction=cell.fresh_impeded,
        lithium_Ah=cell.lithium_Ah,
        overhang_Ah=law.overhang_Ah + law.overhang_held_Ah,
    )


def pace(cell: CellIndividual, age: Age, stress: Stress, law: AgeingLaw = LAW) -> Pace:
    """The pace of ageing after a check-up with this stress."""
    fresh = age.impeding_per_cycle
    if fresh is None:
        relative = stress.charge_rate_cubed_h / law.impeding_reference_h
        fresh = law.impeding_per_cycle * (law.impeding_any_rate + relative**law.impeding_power) * cell.impeding
    grown = (age.impeded_fraction - cell.fresh_impeded) / 0.2
    factor = 1 + cell.acceleration * grown + cell.early * math.exp(-age.cycle / 100)
    plating_now = law.plating_Ah_per_V_s * cell.plating * age.plating_factor * stress.plating_V_s
    before = age.plating_before_Ah
    plating = plating_now if before is None else max(0.0, 1.5 * plating_now - 0.5 * before)
    return Pace(fresh * max(law.impeding_floor, factor), plating, stress.arrhenius_h, stress.rest_h, fresh, plating_now)


def longest_step(rate: Pace, law: AgeingLaw = LAW) -> int:
    """Cycles (at least one) that the law may bridge without another check-up."""
    by_impeding = law.step_impeded / max(rate.impeded(law), 1e-12)
    by_plating = law.step_plating_Ah / max(rate.plating_Ah, 1e-12)
    return max(1, int(min(by_impeding, by_plating, law.step_cycles)))


def advance(cell: CellIndividual, age: Age, rate: Pace, to_cycle: int, law: AgeingLaw = LAW) -> Age:
    """The cell at the beginning of a later cycle."""
    cycles = to_cycle - age.cycle
    film = _film_Ah(cell, age, rate.arrhenius_h * cycles, law)
    overhang = _overhang_Ah(age, rate.rest_h, cycles, law)
    lost = (rate.plating_Ah + law.impeding_binds_Ah * rate.impeding) * cycles + film - age.film_Ah + overhang - age.overhang_Ah
    return replace(
        age,
        cycle=to_cycle,
        impeded_fraction=min(0.9, age.impeded_fraction + rate.impeded(law) * cycles),
        lithium_Ah=age.lithium_Ah - lost,
        impeding_per_cycle=rate.fresh_impeding,
        plating_before_Ah=rate.plating_now_Ah,
        film_Ah=film,
        overhang_Ah=overhang,
    )


def rested(cell: CellIndividual, age: Age, hours: float, temperature_K: float, law: AgeingLaw = LAW) -> Age:
    """The cell after a pause of its test: lithium comes back from the overhang, and the film goes on growing."""
    film = _film_Ah(cell, age, hours * float(_arrhenius(law.film_activation_J_mol, np.array(temperature_K), law)), law)
    overhang = age.overhang_Ah * math.exp(-hours / law.overhang_rest_h)
    lost = film - age.film_Ah + overhang - age.overhang_Ah
    return replace(age, lithium_Ah=age.lithium_Ah - lost, film_Ah=film, overhang_Ah=overhang)


def _film_Ah(cell: CellIndividual, age: Age, arrhenius_h: float, law: AgeingLaw) -> float:
    """F after so many hours at T0: d(F^2)/dt is constant."""
    return math.hypot(age.film_Ah, law.film_Ah_per_sqrt_h * cell.film * math.sqrt(arrhenius_h))


def _overhang_Ah(age: Age, rest_h: float, cycles: int, law: AgeingLaw) -> float:
    """H after so many cycles: it relaxes to where filling in cycling and emptying at rest balance."""
    relaxing = 1 / law.overhang_cycles - math.expm1(-rest_h / law.overhang_rest_h)
    balance = law.overhang_held_Ah / law.overhang_cycles / relaxing
    return balance + (age.overhang_Ah - balance) * math.exp(-relaxing * cycles)


def state_of(cell: CellIndividual, age: Age, rng: np.random.Generator, law: AgeingLaw = LAW) -> CellState:
    """The state that a check-up simulates; `rng` scatters the contact resistance."""
    growth = 1 + law.resistance_growth * (age.impeded_fraction - cell.fresh_impeded)
    scatter = math.exp(rng.normal(0.0, law.scatter_resistance))
    return CellState(
        impeded_fraction=age.impeded_fraction,
        lithium_Ah=age.lithium_Ah,
        resistance_factor=law.series_resistance_factor * growth * scatter,
        negative_active=cell.negative_active,
        leak_S=age.leak_S,
    )
