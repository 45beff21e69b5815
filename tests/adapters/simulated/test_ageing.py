"""The ageing law, without a cell model."""

from dataclasses import replace

import numpy as np
import pytest

from adapters.simulated import ageing
from adapters.simulated.ageing import CellIndividual, Stress
from adapters.simulated.seeding import generator

AVERAGE = CellIndividual()
SEVERSON_LIKE = Stress(charge_rate_cubed_h=19.3, arrhenius_h=0.85, plating_V_s=2.0)


def test_stress_is_the_integral_of_its_definition():
    """X counts charging only, A is time at the reference temperature, P is softplus of the anode's potential."""
    time_s = np.array([0.0, 1800.0, 1801.0, 3601.0])
    current = np.array([2.2, 2.2, -2.2, -2.2])
    anode = np.zeros(4)
    stress = ageing.stress_of(time_s, current, np.full(4, 303.15), anode)
    assert stress.charge_rate_cubed_h == pytest.approx(8 * 0.5, rel=1e-3)
    assert stress.arrhenius_h == pytest.approx(3601 / 3600)
    assert stress.plating_V_s == pytest.approx(1800 * 0.03 * np.log(2), rel=1e-3)


def test_a_degree_more_ages_the_film_by_arrhenius():
    """The temperature law is 30 kJ/mol: ten degrees above 30 degC cost a factor of 1.46."""
    hot = ageing.stress_of(np.array([0.0, 3600.0]), np.zeros(2), np.full(2, 313.15), np.ones(2))
    assert hot.arrhenius_h == pytest.approx(np.exp(3e4 / 8.314 * (1 / 303.15 - 1 / 313.15)))


def test_the_fresh_cell_sets_its_own_pace_for_life():
    """R is fixed by the first check-up; later stress changes plating, not r."""
    first = ageing.begin(AVERAGE)
    pace = ageing.pace(AVERAGE, first, SEVERSON_LIKE)
    assert pace.fresh_impeding == pytest.approx(ageing.LAW.impeding_per_cycle)
    later = ageing.advance(AVERAGE, first, pace, 50)
    harder = replace(SEVERSON_LIKE, charge_rate_cubed_h=100.0)
    assert ageing.pace(AVERAGE, later, harder).fresh_impeding == pace.fresh_impeding


def test_plating_is_extrapolated_but_never_negative():
    """The next step's plating is 1.5 new - 0.5 old, at least zero."""
    age = replace(ageing.begin(AVERAGE), impeding_per_cycle=6e-4, plating_before_Ah=10 * 1.4e-5 * 2.0)
    assert ageing.pace(AVERAGE, age, SEVERSON_LIKE).plating_Ah == 0.0
    rising = replace(age, plating_before_Ah=0.5 * 1.4e-5 * 2.0)
    assert ageing.pace(AVERAGE, rising, SEVERSON_LIKE).plating_Ah == pytest.approx(1.25 * 1.4e-5 * 2.0)


def test_two_steps_take_a_cell_as_far_as_one():
    """Between check-ups the law is a function of the cycle: stopping on the way changes nothing but the pace's memory."""
    age = ageing.begin(AVERAGE)
    pace = ageing.pace(AVERAGE, age, SEVERSON_LIKE)
    straight = ageing.advance(AVERAGE, age, pace, 80)
    halfway = ageing.advance(AVERAGE, ageing.advance(AVERAGE, age, pace, 31), pace, 80)
    assert halfway.lithium_Ah == pytest.approx(straight.lithium_Ah, rel=1e-12)
    assert halfway.impeded_fraction == pytest.approx(straight.impeded_fraction, rel=1e-12)


def test_the_cell_first_gives_lithium_back():
    """The anode's overhang returns lithium in early life: capacity may rise before it falls."""
    calm = Stress(1.0, 0.0, 0.0)
    age = ageing.begin(AVERAGE)
    later = ageing.advance(AVERAGE, age, ageing.pace(AVERAGE, age, calm), 60)
    assert later.lithium_Ah > age.lithium_Ah


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
    cells = [ageing.manufacture(generator(3, f"cell{n}", "cell")) for n in range(2000)]
    assert np.std(np.log([c.plating for c in cells])) == pytest.approx(0.4, rel=0.06)
    assert np.mean([c.negative_active for c in cells]) == pytest.approx(0.957, abs=2e-3)
    assert np.std([c.early for c in cells]) == pytest.approx(0.25, rel=0.06)
