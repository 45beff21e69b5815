"""What a safe test opens: goals beyond the safe set, and how far one test brings them in."""

import numpy as np
import pytest

from orchestrator.proposal.marginal_likelihood import JITTER
from orchestrator.proposal.safe_expansion import openings
from orchestrator.proposal.safe_set import SAFE_PRIOR, SafeSet, SafeSide
from orchestrator.proposal.surrogate import Readings, Surrogate

NONE = np.zeros((0, 2))
TESTED = np.array([[0.1, 0.5], [0.2, 0.4], [0.3, 0.5], [0.4, 0.6]])
GOAL = np.array([[0.6, 0.5]])


def wall(limit=1.0, *, sign=1.0):
    """A limit on a response that rises along the first axis from 0 to 2, measured at four points of its lower part."""
    surrogate = Surrogate(Readings(TESTED, sign * 2 * TESTED[:, 0], np.full(4, 0.02)), SAFE_PRIOR, sign * limit, 0.6)
    return SafeSide("heat", sign * limit, sign, surrogate, 3.0)


def refitted(side, x):
    """The same side when a test at x has come out as expected, hyperparameters as they were."""
    old = side.surrogate
    mean, _ = old.posterior(x)
    told = Readings(np.vstack([TESTED, x]), np.r_[old.readings.mean, mean], np.full(5, 0.02))
    surrogate = Surrogate(told, old.prior, old.centre, old.scale, old.hyperparameters)
    return SafeSide("heat", side.limit, side.sign, surrogate, side.beta)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_share_of_the_way_is_what_a_test_really_gains(sign):
    """The closed form equals refitting with the reading in, for upper and lower limits."""
    side, x = wall(sign=sign), np.array([[0.45, 0.5]])
    before, after = float(side.margin(GOAL)[0]), float(refitted(side, x).margin(GOAL)[0])
    found = openings(SafeSet((side,)), x, GOAL, np.array([1.0]), NONE)
    assert before < 0
    assert found.share[0] == pytest.approx((after - before) / -before, rel=1e-3, abs=10 * JITTER)


def test_the_test_nearest_to_the_goal_opens_most():
    """Among safe tests the one that tells most of the goal is worth most; a goal worth nothing more opens nothing."""
    safe, tests = SafeSet((wall(),)), np.array([[0.1, 0.5], [0.3, 0.5], [0.45, 0.5]])
    found = openings(safe, tests, GOAL, np.array([0.7]), NONE)
    assert np.argmax(found.worth) == 2
    assert found.worth == pytest.approx(0.7 * found.share)
    assert openings(safe, tests, GOAL, np.array([-0.1]), NONE) is None


def test_what_is_pending_is_not_told_twice():
    """A test beside a pending one opens less than it would alone."""
    safe, x = SafeSet((wall(),)), np.array([[0.45, 0.5]])
    far, extra = np.array([[0.75, 0.5]]), np.array([1.0])
    alone = openings(safe, x, far, extra, NONE)
    beside = openings(safe, x, far, extra, np.array([[0.46, 0.5]]))
    assert 0 < beside.worth[0] < alone.worth[0]


def test_every_limit_must_be_reached():
    """The share over several limits is the smallest."""
    near, hard = wall(), wall(limit=0.85)
    x, extra = np.array([[0.45, 0.5]]), np.array([1.0])
    shares = [openings(SafeSet((side,)), x, GOAL, extra, NONE).share[0] for side in (near, hard)]
    both = openings(SafeSet((near, hard)), x, GOAL, extra, NONE).share[0]
    assert both == pytest.approx(min(shares))
