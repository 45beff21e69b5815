"""Draws of rows by the one who must name the best row."""

import numpy as np
import pytest

from orchestrator.proposal.top_two_thompson import LEADER_SHARE, top_two


def test_a_row_that_may_not_be_recommended_is_never_tested():
    """Whatever the promise: with no chance of keeping the constraints no sampled world has it best."""
    found = top_two(40, np.array([0.0, 5.0, -0.1]), np.eye(3), np.array([1.0, 0.0, 1.0]), np.random.default_rng(0))
    assert set(found) == {0, 2}


def test_a_batch_repeats_contenders_and_leaves_hopeless_rows_alone():
    """Two rows may be best: both are tested, again and again, and nothing else is; a poor row is left, however uncertain."""
    mean, variance = np.array([0.0, 0.1, -9.0, -9.0]), np.diag([1.0, 1.0, 2.0, 0.5])
    found = top_two(12, mean, variance, np.ones(4), np.random.default_rng(1))
    assert set(found) == {0, 1}


def test_the_challenger_has_its_share_of_the_tests():
    """One row leads in nearly every world: it is tested with LEADER_SHARE, else the next that may be best at all."""
    mean, rng = np.array([0.0, -2.6, -9.0]), np.random.default_rng(2)
    found = top_two(600, mean, np.eye(3), np.ones(3), rng)
    assert found.count(0) / 600 == pytest.approx(LEADER_SHARE, abs=0.08)
    assert found.count(2) == 0


def test_a_row_that_is_surely_best_is_tested_alone():
    """Where no world disagrees the leader is tested, and nothing is waited for."""
    assert top_two(5, np.array([0.0, -90.0]), np.eye(2), np.ones(2), np.random.default_rng(3)) == [0] * 5
