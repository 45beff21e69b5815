"""What a test of a row is worth to the one who must name the best row."""

import numpy as np

from orchestrator.proposal.knowledge_gradient import most_informative

NOISE = 1.0


def pick(mean, variance, n=1, chance=None, pending=()):
    """Rows that know nothing of each other."""
    mean = np.array(mean, dtype=float)
    allowed = np.ones(len(mean)) if chance is None else np.array(chance)
    return most_informative(n, mean, np.diag(np.array(variance, dtype=float)), NOISE, allowed, list(pending))


def test_what_may_be_best_is_tested_not_what_is_merely_unknown():
    """A poor row tells nothing of which row is best, however uncertain it is; a known one tells nothing either."""
    assert pick([0.0, -0.3, -9.0, -0.1], [0.01, 1.0, 2.0, 0.01]) == [1]


def test_a_batch_goes_where_earlier_picks_and_pending_tests_have_not_told():
    """Two rows alike: each is tested once before either is again, and a row whose test runs waits its turn."""
    assert sorted(pick([0.0, 0.0, -9.0], [1.0, 1.0, 1.0], n=2)) == [0, 1]
    assert pick([0.0, 0.0, -9.0], [1.0, 1.0, 1.0], pending=[0]) == [1]


def test_a_row_is_tested_again_when_nothing_else_matters():
    """A batch on two contenders repeats them and leaves the hopeless rows alone."""
    assert set(pick([0.0, 0.1, -9.0, -9.0], [1.0, 1.0, 0.5, 0.5], n=6)) == {0, 1}


def test_a_row_that_may_not_be_recommended_is_not_tested():
    """Whatever the promise: no chance of keeping the constraints, no worth."""
    assert pick([0.0, 5.0, -0.1], [1.0, 1.0, 1.0], n=3, chance=[1.0, 0.0, 1.0]).count(1) == 0


def test_a_row_that_tells_of_others_is_preferred():
    """Of two rows equally good and unknown, the one that is alike to a third contender tells more."""
    covariance = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -0.8], [0.0, -0.8, 1.0]])
    assert most_informative(1, np.zeros(3), covariance, NOISE, np.ones(3), [])[0] in (1, 2)
