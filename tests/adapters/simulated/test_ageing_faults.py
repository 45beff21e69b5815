"""Faults of the cell, as they strike its age."""

from dataclasses import replace

import pytest

from adapters.peers.injected_faults import CELL_FAULTS, FaultKind, InjectedFault
from adapters.simulated import ageing
from adapters.simulated.ageing import CellIndividual, Stress
from adapters.simulated.cell_faults import self_discharge_Ah, struck

AVERAGE = CellIndividual()
STRESS = Stress(charge_rate_cubed_h=19.3, arrhenius_h=0.85, plating_V_s=2.0)


def test_a_capacity_loss_takes_its_share_of_the_lithium_at_once():
    """The size is a share of the cyclable lithium; nothing else changes."""
    age = ageing.begin(AVERAGE)
    hit = struck(age, InjectedFault(FaultKind.CAPACITY_LOSS, size=0.1))
    assert hit.lithium_Ah == pytest.approx(0.9 * age.lithium_Ah)
    assert replace(hit, lithium_Ah=age.lithium_Ah) == age


def test_a_plating_knee_multiplies_plating_from_then_on():
    """Plating is the factor times what it was, at once and after any number of check-ups, without overshoot."""
    age = ageing.begin(AVERAGE)
    first = ageing.pace(AVERAGE, age, STRESS)
    later = ageing.advance(AVERAGE, age, first, 50)
    sick = ageing.pace(AVERAGE, struck(later, InjectedFault(FaultKind.PLATING_KNEE, size=8.0)), STRESS)
    assert sick.plating_Ah == pytest.approx(8 * ageing.pace(AVERAGE, later, STRESS).plating_Ah)
    much_later = ageing.advance(AVERAGE, struck(later, InjectedFault(FaultKind.PLATING_KNEE, size=8.0)), sick, 90)
    assert much_later.plating_factor == 8.0


def test_an_internal_short_leaks_but_takes_no_lithium():
    """Shorts in parallel add their conductances; what flows through them is charge, not cyclable lithium."""
    age = ageing.begin(AVERAGE)
    once = struck(age, InjectedFault(FaultKind.INTERNAL_SHORT, size=30.0))
    twice = struck(once, InjectedFault(FaultKind.INTERNAL_SHORT, size=60.0))
    assert twice.leak_S == pytest.approx(1 / 20)
    assert twice.lithium_Ah == age.lithium_Ah
    assert self_discharge_Ah(twice, 3.3, 2.0) == pytest.approx(0.33)
    assert self_discharge_Ah(age, 3.3, 2.0) == 0.0


@pytest.mark.parametrize("kind", sorted(set(FaultKind) - CELL_FAULTS))
def test_other_faults_leave_the_cell_alone(kind):
    """A sick sensor is no sick cell."""
    age = ageing.begin(AVERAGE)
    assert struck(age, InjectedFault(kind)) == age


@pytest.mark.parametrize(("kind", "size"), [(FaultKind.CAPACITY_LOSS, 1.0), (FaultKind.INTERNAL_SHORT, 0.0)])
def test_an_impossible_size_is_refused(kind, size):
    """No cell loses all its lithium or leaks without bound; the message names kind and size."""
    with pytest.raises(ValueError, match=f"{kind.value}.*got {size:g}"):
        struck(ageing.begin(AVERAGE), InjectedFault(kind, size=size))
