"""Cells outside of what was learned from are told, whatever the units."""

import numpy as np
import pytest

from orchestrator.prognostics.unfamiliar import Unfamiliarity


def test_inside_is_below_one_outside_is_above():
    """Nine in ten new cells of the same kind lie within; a cell ten standard deviations off is told, in any unit."""
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(2, 200, 3))
    units = np.array([1e-3, 1.0, 1e6])
    known = Unfamiliarity().fit(X * units)
    assert np.mean(known.ratio(new * units) <= 1) == pytest.approx(0.9, abs=0.05)
    assert known.ratio((X[:1] + np.array([10, 0, 0])) * units)[0] > 3
    assert known.ratio(new * units) == pytest.approx(Unfamiliarity().fit(X).ratio(new))


def test_one_odd_block_is_enough():
    """A small block that is odd is told although the large one is familiar."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 41))
    odd = X[:1].copy()
    odd[0, 0] += 8
    assert Unfamiliarity([[0], list(range(1, 41))]).fit(X).ratio(odd)[0] > 3
    assert Unfamiliarity().fit(X).ratio(odd)[0] < 2


def test_what_is_missing_is_infinitely_far():
    """NaN and infinite features; a constant feature that changes; two training cells are enough."""
    X = np.column_stack([np.arange(9.0), np.ones(9)])
    known = Unfamiliarity().fit(X)
    assert known.ratio([[np.nan, 1.0], [np.inf, 1.0], [4.0, 1.0]])[:2].tolist() == [np.inf, np.inf]
    assert known.ratio([[4.0, 1.0]])[0] < 1 < known.ratio([[4.0, 1.1]])[0]
    assert np.isfinite(Unfamiliarity().fit(X[:2]).ratio(X)).all()
