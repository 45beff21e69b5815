"""What a test of a row is worth to the one who must name the best row."""

import numpy as np
import pytest
from scipy.stats import norm

from orchestrator.proposal.knowledge_gradient import LOOK_AHEAD, knowledge_gradient, worth_testing

NOISE = 1.0


def worth(mean, variance, chance=None):
    """Of rows that know nothing of each other."""
    allowed = np.ones(len(mean)) if chance is None else np.array(chance)
    return knowledge_gradient(np.array(mean, dtype=float), np.diag(np.array(variance, dtype=float)), NOISE, allowed)


def test_what_may_be_best_is_worth_most_not_what_is_merely_unknown():
    """A poor row tells nothing of which row is best, however uncertain it is; a known one tells nothing either."""
    assert np.argmax(worth([0.0, -0.3, -9.0, -0.1], [0.01, 1.0, 2.0, 0.01])) == 1


def test_the_worth_is_that_of_two_alternatives():
    """Two rows, one known: the closed form of the knowledge gradient, sd * h(-difference / sd)."""
    sd = 1 / np.sqrt(1 + NOISE / LOOK_AHEAD)
    exact = sd * (norm.pdf(0.5 / sd) - 0.5 / sd * norm.sf(0.5 / sd))
    assert worth([0.0, -0.5], [0.0, 1.0])[1] == pytest.approx(exact, rel=0.06)


def test_a_row_that_may_not_be_recommended_is_never_tested():
    """Whatever the promise: no chance of keeping the constraints, no worth, and no sampled world has it best."""
    mean, chance = np.array([0.0, 5.0, -0.1]), np.array([1.0, 0.0, 1.0])
    assert worth(mean, np.ones(3), chance)[1] == 0
    assert 1 not in worth_testing(20, mean, np.eye(3), NOISE, chance, [], np.random.default_rng(0))


def test_a_batch_repeats_contenders_and_leaves_hopeless_rows_alone():
    """Two rows may be best: both are tested, again and again, and nothing else is."""
    mean = np.array([0.0, 0.1, -9.0, -9.0])
    found = worth_testing(12, mean, np.diag([1.0, 1.0, 0.5, 0.5]), NOISE, np.ones(4), [], np.random.default_rng(1))
    assert set(found) == {0, 1}


def test_what_runs_already_is_left_to_finish():
    """Of two rows alike the one that runs five times waits its turn where knowledge decides, and draws still come to it."""
    mean, rng = np.zeros(2), np.random.default_rng(2)
    found = [worth_testing(1, mean, np.eye(2), NOISE, np.ones(2), [0] * 5, rng)[0] for _ in range(60)]
    assert found.count(1) > 2 * found.count(0) > 0
