"""The penalty on rising capacity counts what it says, has no unit, and mends a network that follows noise."""

import pytest
import torch

from benchmarks.early_life_trajectories import penalty_experiment
from orchestrator.domain.errors import SpecError
from orchestrator.prognostics.monotone import MonotoneDecayPenalty

KINDS = ("hinge", "softplus")


@pytest.fixture
def curves() -> torch.Tensor:
    """Three noisy curves of 20 steps, Ah, with rises among them."""
    return (
        1.1
        - 0.002 * torch.arange(20.0, dtype=torch.float64)
        + 0.01 * torch.randn(3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )


def test_the_hinge_is_the_mean_rise_as_a_share_of_the_initial_capacity() -> None:
    """Two of four steps rise, by 0.02 and 0.04 of 2 Ah: the mean over four is 0.0075; falling costs nothing."""
    q = torch.tensor([[2.0, 1.9, 1.94, 1.8, 1.88]], dtype=torch.float64)
    assert MonotoneDecayPenalty()(q, 2.0).item() == pytest.approx((0.02 + 0.04) / 4)
    assert MonotoneDecayPenalty()(torch.linspace(2, 1, 9), 2.0).item() == 0.0
    assert MonotoneDecayPenalty(tolerance=0.03)(q, 2.0).item() == pytest.approx(0.01 / 4)


def test_softplus_is_close_to_the_hinge_and_small_for_falling_curves() -> None:
    """With beta = 2000 it differs from the hinge by less than log(2)/2000."""
    q = torch.tensor([2.0, 1.9, 1.94, 1.8, 1.88], dtype=torch.float64)
    gap = MonotoneDecayPenalty("softplus")(q, 2.0) - MonotoneDecayPenalty("hinge")(q, 2.0)
    assert 0 <= gap.item() <= 3.5e-4


@pytest.mark.parametrize("kind", KINDS)
def test_capacity_in_another_unit_costs_the_same(kind: str, curves: torch.Tensor) -> None:
    """Ah or mAh: the same value, to rounding."""
    penalty = MonotoneDecayPenalty(kind, tolerance=0.001)
    assert penalty(1000 * curves, 1100.0).item() == pytest.approx(penalty(curves, 1.1).item(), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_its_gradient_is_the_derivative(kind: str, curves: torch.Tensor) -> None:
    """Torch's gradcheck in float64, with a mask and one initial capacity for each curve."""
    mask = torch.ones(3, 20, dtype=torch.bool)
    mask[0, 12:] = False
    q, q0 = curves.requires_grad_(), torch.tensor([1.1, 1.0, 1.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: MonotoneDecayPenalty(kind)(a, b, mask), (q, q0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", [1e9, float("nan"), float("inf")])
def test_padding_touches_neither_value_nor_gradient(kind: str, padding: float, curves: torch.Tensor) -> None:
    """What stands behind the mask may be anything."""
    mask = torch.ones(3, 20, dtype=torch.bool)
    mask[1, 7:] = False
    found = []
    for fill in (0.0, padding):
        q = torch.where(mask, curves, torch.full_like(curves, fill)).requires_grad_()
        value = MonotoneDecayPenalty(kind)(q, 1.1, mask)
        value.backward()
        found.append((value.item(), q.grad))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_without_steps_there_is_nothing_to_pay() -> None:
    """One cycle, or a mask that leaves none: 0, and a gradient that exists."""
    q = torch.ones(2, 5, requires_grad=True)
    nothing = MonotoneDecayPenalty()(q, 1.0, torch.zeros(2, 5, dtype=torch.bool))
    nothing.backward()
    assert nothing.item() == 0.0
    assert MonotoneDecayPenalty()(torch.ones(2, 1), 1.0).item() == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_follows_noise_stops_rising(kind: str) -> None:
    """Rising steps from above 30 % to below 1 %, and not farther from the truth."""
    free, held = penalty_experiment(None, steps=300), penalty_experiment(kind, steps=300)
    assert free.rising_share > 0.30
    assert held.rising_share < 0.01
    assert held.rmse_Ah <= free.rmse_Ah


def test_what_cannot_be_is_refused() -> None:
    """Unknown kinds, negative tolerances, capacities of zero and masks of another shape name themselves."""
    with pytest.raises(SpecError, match=r"kind.*relu"):
        MonotoneDecayPenalty("relu")
    with pytest.raises(SpecError, match="tolerance"):
        MonotoneDecayPenalty(tolerance=-0.1)
    with pytest.raises(SpecError, match="q0"):
        MonotoneDecayPenalty()(torch.ones(2, 5), 0.0)
    with pytest.raises(SpecError, match="mask"):
        MonotoneDecayPenalty()(torch.ones(2, 5), 1.0, torch.ones(4, dtype=torch.bool))
    with pytest.raises(SpecError, match="q: "):
        MonotoneDecayPenalty()(torch.tensor(1.0), 1.0)
