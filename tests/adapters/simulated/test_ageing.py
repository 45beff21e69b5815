"""The ageing law, without a cell model."""

from dataclasses import replace

import numpy as np
import pytest

from adapters.simulated import ageing
from adapters.simulated.ageing import CellIndividual, Stress
from adapters.simulated.seeding import generator

AVERAGE = CellIndividual()
K_P = ageing.LAW.plating_Ah_per_V_s
SEVERSON_LIKE = Stress(charge_rate_cubed_h=22.0, arrhenius_h=0.85, plating_V_s=2.0)


def test_stress_is_the_integral_of_its_definition():
    """X counts charging only, A is time at the reference temperature, P is softplus of the anode's potential, h is rest."""
    time_s = np.array([0.0, 1800.0, 1801.0, 3601.0, 3602.0, 10802.0])
    current = np.array([2.2, 2.2, -2.2, -2.2, 0.0, 0.0])
    stress = ageing.stress_of(time_s, current, np.full(6, 303.15), np.zeros(6))
    assert stress.charge_rate_cubed_h == pytest.approx(8 * 0.5, rel=1e-3)
    assert stress.arrhenius_h == pytest.approx(10802 / 3600)
    assert stress.plating_V_s == pytest.approx(1800 * 0.03 * np.log(2), rel=1e-3)
    assert stress.rest_h == pytest.approx(2.0, rel=1e-3)


def test_heat_speeds_up_film_and_impeding_by_arrhenius():
    """The temperature law is 31.7 kJ/mol (Wang 2011) for both: ten degrees above 30 degC cost a factor of 1.49."""
    charge = np.array([0.0, 3600.0]), np.full(2, 1.1)
    cool, hot = (ageing.stress_of(*charge, np.full(2, kelvin), np.ones(2)) for kelvin in (303.15, 313.15))
    law = replace(ageing.LAW, impeding_any_rate=0.0)
    slow, fast = (ageing.pace(AVERAGE, ageing.begin(AVERAGE), stress, law).impeding for stress in (cool, hot))
    factor = np.exp(31.7e3 / 8.314 * (1 / 303.15 - 1 / 313.15))
    assert hot.arrhenius_h == pytest.approx(factor * cool.arrhenius_h)
    assert fast == pytest.approx(factor * slow)


def test_the_fresh_cell_sets_its_own_pace_for_life():
    """R is fixed by the first check-up; later stress changes plating, not r."""
    first = ageing.begin(AVERAGE)
    pace = ageing.pace(AVERAGE, first, SEVERSON_LIKE)
    assert pace.fresh_impeding == pytest.approx(ageing.LAW.impeding_per_cycle * (1 + ageing.LAW.impeding_any_rate))
    later = ageing.advance(AVERAGE, first, pace, 50)
    harder = replace(SEVERSON_LIKE, charge_rate_cubed_h=100.0)
    assert ageing.pace(AVERAGE, later, harder).fresh_impeding == pace.fresh_impeding


def test_plating_is_extrapolated_but_never_negative():
    """The next step's plating is 1.5 new - 0.5 old, at least zero."""
    age = replace(ageing.begin(AVERAGE), impeding_per_cycle=6e-4, plating_before_Ah=10 * K_P * 2.0)
    assert ageing.pace(AVERAGE, age, SEVERSON_LIKE).plating_Ah == 0.0
    rising = replace(age, plating_before_Ah=0.5 * K_P * 2.0)
    assert ageing.pace(AVERAGE, rising, SEVERSON_LIKE).plating_Ah == pytest.approx(1.25 * K_P * 2.0)


def test_two_steps_take_a_cell_as_far_as_one():
    """Between check-ups the law is a function of the cycle: stopping on the way changes nothing but the pace's memory."""
    age = ageing.begin(AVERAGE)
    pace = ageing.pace(AVERAGE, age, SEVERSON_LIKE)
    straight = ageing.advance(AVERAGE, age, pace, 80)
    halfway = ageing.advance(AVERAGE, ageing.advance(AVERAGE, age, pace, 31), pace, 80)
    assert halfway.lithium_Ah == pytest.approx(straight.lithium_Ah, rel=1e-12)
    assert halfway.impeded_fraction == pytest.approx(straight.impeded_fraction, rel=1e-12)


def test_the_cell_first_gives_lithium_back():
    """The formation rise: on Severson's protocols the lithium grows for some tens of cycles, then falls for good."""
    age = ageing.begin(AVERAGE)
    pace = ageing.pace(AVERAGE, age, replace(SEVERSON_LIKE, plating_V_s=0.0))
    lithium = [ageing.advance(AVERAGE, age, pace, cycle).lithium_Ah for cycle in range(1, 301)]
    assert 20 <= int(np.argmax(lithium)) + 1 <= 80
    assert 0.002 < max(lithium) - lithium[0] < 0.012
    assert lithium[-1] < lithium[0]


def test_a_pause_gives_lithium_back_and_cycling_takes_it_again():
    """After a day at rest some of the overhang's lithium is there; cycles later only what the film took is missing."""
    age = ageing.begin(AVERAGE)
    pace = ageing.pace(AVERAGE, age, SEVERSON_LIKE)
    worn = ageing.advance(AVERAGE, age, pace, 250)
    fresh = ageing.rested(AVERAGE, worn, 24.0, 303.15)
    gained_Ah = fresh.lithium_Ah - worn.lithium_Ah
    assert 0.001 < gained_Ah < ageing.LAW.overhang_held_Ah
    long_after = ageing.advance(AVERAGE, fresh, pace, 450).lithium_Ah - ageing.advance(AVERAGE, worn, pace, 450).lithium_Ah
    assert -0.3 * gained_Ah < long_after < 0


def test_a_stored_cell_ages_with_the_root_of_time_and_faster_when_hot():
    """Years without a cycle: four times as long costs twice as much, and 45 degC more than 30 degC."""
    age = replace(ageing.begin(AVERAGE), overhang_Ah=0.0)
    year, four_years, hot = (
        age.lithium_Ah - ageing.rested(AVERAGE, age, hours, kelvin).lithium_Ah
        for hours, kelvin in ((8766, 303.15), (4 * 8766, 303.15), (8766, 318.15))
    )
    assert four_years == pytest.approx(2 * year)
    assert hot > 1.2 * year


def test_rests_in_every_cycle_leave_less_lithium_in_the_overhang():
    """A protocol that rests for hours holds less back than one that never rests."""
    age = ageing.begin(AVERAGE)
    busy, lazy = (
        ageing.advance(AVERAGE, age, ageing.pace(AVERAGE, age, replace(SEVERSON_LIKE, rest_h=h)), 200) for h in (0.0, 12.0)
    )
    assert lazy.overhang_Ah < 0.2 * busy.overhang_Ah
    assert lazy.lithium_Ah > busy.lithium_Ah


def test_another_chemistry_brings_its_own_numbers():
    """What the law needs to know of a cell comes with the law: nothing of the LFP cell is left in another."""
    big = replace(ageing.LAW, nominal_capacity_Ah=5.0, negative_capacity_Ah=6.0, lithium_Ah=5.2, negative_active=1.0)
    cell = ageing.manufacture(generator(0, "a", "cell"), replace(big, spread_lithium=0.0, spread_negative_active=0.0))
    assert ageing.begin(cell, big).lithium_Ah == 5.2
    assert ageing.state_of(cell, ageing.begin(cell, big), generator(0, "a", "contacts/1"), big).negative_active == 1.0
    stress = ageing.stress_of(np.array([0.0, 3600.0]), np.full(2, 5.0), np.full(2, 303.15), np.ones(2), big)
    assert stress.charge_rate_cubed_h == pytest.approx(1.0)


def test_steps_are_bounded_by_what_changes():
    """Between check-ups neither phi nor plating may move far, nor may 150 cycles be passed."""
    age = ageing.begin(AVERAGE)
    hard = ageing.pace(AVERAGE, age, replace(SEVERSON_LIKE, plating_V_s=300.0))
    assert hard.plating_Ah * ageing.longest_step(hard) <= ageing.LAW.step_plating_Ah
    calm = ageing.pace(AVERAGE, age, Stress(0.1, 1.0, 0.0))
    assert ageing.longest_step(calm) == 150


def test_cells_of_one_production_differ_but_a_key_has_one_cell():
    """The spread is drawn by key and seed: equal keys, equal cells; other keys or seeds, other cells."""
    drawn = [ageing.manufacture(generator(seed, key, "cell")) for seed, key in ((0, "a"), (0, "a"), (0, "b"), (1, "a"))]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_the_production_has_the_spread_it_claims():
    """Lognormal and normal spreads of the table, about their means."""
    law = ageing.LAW
    cells = [ageing.manufacture(generator(3, f"cell{n}", "cell")) for n in range(2000)]
    assert np.std(np.log([c.plating for c in cells])) == pytest.approx(law.spread_plating, rel=0.06)
    assert np.std(np.log([c.impeding for c in cells])) == pytest.approx(law.spread_impeding, rel=0.06)
    assert np.mean([c.negative_active for c in cells]) == pytest.approx(law.negative_active, abs=2e-3)
    assert np.std([c.lithium_Ah / law.lithium_Ah for c in cells]) == pytest.approx(law.spread_lithium, rel=0.06)
    assert np.std([c.early for c in cells]) == pytest.approx(law.spread_early, rel=0.06)
