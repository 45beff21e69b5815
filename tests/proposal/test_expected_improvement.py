"""Expected improvement: exact where it can be compared, finite where it underflows, differentiable everywhere."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from orchestrator.domain import Objective
from orchestrator.domain.errors import SpecError
from orchestrator.proposal.expected_improvement import (
    expected_improvement,
    improvement,
    log_expected_improvement,
    log_improvement,
)
from orchestrator.proposal.history import read_history
from orchestrator.proposal.sobol import sobol_candidates
from orchestrator.proposal.strategy import proposer_for
from tests.proposal.landscape import spec, told


def tensor(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize("maximize", [True, False])
def test_ei_is_the_closed_form_of_jones(maximize):
    """EI equals (mu - b) Phi(z) + sigma phi(z) to 1e-10, for maximising and minimising."""
    mean, sd, best = torch.linspace(-3, 3, 31, dtype=torch.float64), torch.linspace(0.1, 2, 31, dtype=torch.float64), 0.4
    gain = (mean - best if maximize else best - mean).numpy()
    z = gain / sd.numpy()
    closed = gain * norm.cdf(z) + sd.numpy() * norm.pdf(z)
    assert expected_improvement(mean, sd, best, maximize).numpy() == pytest.approx(closed, abs=1e-10)
    assert log_expected_improvement(mean, sd, best, maximize).exp().numpy() == pytest.approx(closed, abs=1e-10)


@pytest.mark.parametrize("z", [2.0, 0.0, -0.99, -1.01, -4.0, -9.0])
def test_ei_is_the_integral_it_stands_for(z):
    """h(z) is the mean of max(Y, 0) for Y ~ N(z, 1), by quadrature."""
    integral = quad(lambda y: y * norm.pdf(y, loc=z), 0, max(z, 0) + 40, epsabs=0, epsrel=1e-11, limit=400, points=[0.1, 1, 5])[0]
    assert float(improvement(tensor(z))) == pytest.approx(integral, rel=1e-8)


def test_log_ei_is_finite_where_ei_underflows():
    """At sixty standard deviations EI is 0.0 in double precision; LogEI is its logarithm still, and falls with distance."""
    far = tensor(-60.0, -1e4, -1e8)
    assert float(improvement(far[0])) == 0.0
    logs = log_improvement(far)
    assert torch.isfinite(logs).all()
    assert (logs.diff() < 0).all()
    assert float(logs[0]) == pytest.approx(-1800 - 0.5 * math.log(2 * math.pi) - 2 * math.log(60) - 3 / 3600, abs=1e-5)


@pytest.mark.parametrize("seam", [-1.0, -25.0])
def test_log_ei_is_smooth_across_its_seams(seam):
    """Value and slope agree on both sides of where one formula hands over to the next."""
    sides = tensor(math.nextafter(seam, 0), math.nextafter(seam, -100)).requires_grad_(True)
    values = log_improvement(sides)
    slopes = torch.autograd.grad(values.sum(), sides)[0]
    assert float(values[0] - values[1]) == pytest.approx(0, abs=1e-10)
    assert float(slopes[0] / slopes[1]) == pytest.approx(1, abs=1e-6)


def test_gradients_pass_gradcheck():
    """Both are differentiable in mean and standard deviation, near the incumbent and far from it."""
    mean, sd = tensor(-2.0, 0.1, -30.0, -60.0).requires_grad_(True), tensor(1.0, 0.5, 1.0, 1.3).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda m, s: log_expected_improvement(m, s, 0.3), (mean, sd))
    assert torch.autograd.gradcheck(lambda m, s: expected_improvement(m, s, 0.3), (mean[:2], sd[:2]))


def test_the_strategy_refuses_several_objectives():
    """It names the field, and the strategy that would serve."""
    with pytest.raises(SpecError, match=r"takes one objective.*auto"):
        proposer_for(spec(strategy="expected_improvement", constraints=(), safe_seed=()))


def test_the_strategy_climbs():
    """After eight points of a smooth landscape the next is expected to be better than all of them."""
    campaign = spec(
        strategy="expected_improvement", objectives=(Objective("cycle_life", "maximize"),), constraints=(), safe_seed=()
    )
    known = told(campaign, sobol_candidates(campaign.space, 8, 3))
    found = proposer_for(campaign).propose(2, read_history(campaign, known))
    best = max(t.outcome["cycle_life"].mean for t in known)
    assert len({p.candidate for p in found}) == 2
    assert found[0].expected["cycle_life"].mean > 0.9 * best
    assert math.isfinite(found[0].decision["log_expected_improvement"])
