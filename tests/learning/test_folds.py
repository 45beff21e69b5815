"""Folds never part a cell, repeat exactly, and test every row."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from orchestrator.domain.errors import SpecError
from orchestrator.learning.folds import cell_numbers, grouped_folds, grouped_splits, out_of_fold

CELLS = np.repeat(["c", "a", "b", "e", "d", "f", "g"], [3, 1, 4, 1, 5, 2, 2])


def test_cells_are_numbered_as_they_appear():
    """Names of any kind become numbers in order of first appearance; none given, every row is a cell."""
    assert cell_numbers(["x", "a", "x", "b"], 4).tolist() == [0, 1, 0, 2]
    assert cell_numbers(None, 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("y", [None, np.arange(18.0)])
def test_no_cell_is_on_both_sides(y):
    """Each repeat tests every row once; no cell is learned from and tested in the same fold."""
    folds = grouped_folds(CELLS, 18, folds=3, seed=1, repeats=2, y=y)
    assert len(folds) == 6
    for repeat in (folds[:3], folds[3:]):
        assert sorted(np.concatenate([fold.test for fold in repeat])) == list(range(18))
    assert all(not set(CELLS[fold.train]) & set(CELLS[fold.test]) for fold in folds)
    assert all(len(fold.train) + len(fold.test) == 18 for fold in folds)


def test_folds_repeat_exactly_and_differ_by_seed():
    """Same arguments, same folds; another seed, others."""
    first, again, other = (grouped_folds(None, 30, seed=seed) for seed in (0, 0, 1))
    assert all((a.test == b.test).all() for a, b in zip(first, again, strict=True))
    assert any(len(a.test) != len(b.test) or (a.test != b.test).any() for a, b in zip(first, other, strict=True))


def test_like_targets_are_spread():
    """With targets given, each fold of a sorted list holds one of every run of neighbours."""
    y = np.arange(40.0)
    for fold in grouped_folds(None, 40, folds=5, y=y):
        assert sorted(y[fold.test] // 5) == list(range(8))


def test_more_folds_than_cells_leave_one_cell_out():
    """Leave-one-cell-out is the limit."""
    assert sorted(len(set(CELLS[fold.test])) for fold in grouped_folds(CELLS, 18, folds=99)) == [1] * 7


def test_random_splits_keep_their_share():
    """50 splits of 84 cells, 30 % tested, no two alike."""
    splits = grouped_splits(None, 84)
    assert {len(split.test) for split in splits} == {25}
    assert len({tuple(split.test) for split in splits}) == 50


def test_out_of_fold_predictions_have_not_seen_their_cell():
    """A cell's odd target changes other cells' predictions, never its own."""
    X, y = np.arange(18.0)[:, None], np.arange(18.0)
    odd = np.where(CELLS == "b", 99.0, y)
    folds = grouped_folds(CELLS, 18, folds=3)
    plain, moved = (out_of_fold(LinearRegression(), X, each, folds) for each in (y, odd))
    assert plain[CELLS == "b"] == pytest.approx(moved[CELLS == "b"])
    assert plain == pytest.approx(y)
    assert np.isnan(out_of_fold(LinearRegression(), X, y, folds[:1])).any()


def test_what_cannot_be_split_is_said():
    """One cell, one fold, or names that do not fit the rows."""
    for wrong in (lambda: grouped_folds(["a", "a"], 2), lambda: grouped_splits(None, 1)):
        with pytest.raises(SpecError, match="at least two cells"):
            wrong()
    with pytest.raises(SpecError, match="at least 2 and 1"):
        grouped_folds(None, 9, folds=1)
    with pytest.raises(SpecError, match="each of 3 rows"):
        grouped_folds(["a", "b"], 3)
    with pytest.raises(SpecError, match="target for each of 3 rows"):
        grouped_folds(None, 3, y=[1.0])
    with pytest.raises(SpecError, match="between 0 and 1"):
        grouped_splits(None, 9, test_share=1.0)
