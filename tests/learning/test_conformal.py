"""Conformal bounds hold as often as they say, for any model and for cells with many rows."""

import numpy as np
import pytest

from orchestrator.domain.errors import SpecError
from orchestrator.learning.conformal import (
    Interval,
    SplitConformal,
    cell_scores,
    conformal_quantile,
    coverage_of,
    cv_plus_interval,
    fold_of_rows,
)
from orchestrator.learning.folds import grouped_folds


def test_the_quantile_is_the_finite_sample_one():
    """The 10th of 10 at 0.9, none where 8 cells cannot promise it; a wrong coverage or NaN is refused."""
    assert conformal_quantile(np.arange(10.0), 0.9) == 9.0
    assert conformal_quantile(np.arange(99.0), 0.9) == 89.0
    assert conformal_quantile(np.arange(8.0), 0.9) == np.inf
    with pytest.raises(SpecError, match="between 0 and 1"):
        conformal_quantile([1.0], 1.0)
    with pytest.raises(SpecError, match="NaN"):
        conformal_quantile([1.0, np.nan])


def test_a_cell_has_one_score():
    """The worst of its rows; rows that were not measured do not count, nor do cells without any."""
    y = [1.0, 3.0, np.nan, 5.0, np.nan]
    assert cell_scores(y, np.zeros(5), 2.0, ["a", "b", "a", "a", "c"]).tolist() == [2.5, 1.5]


def test_split_intervals_hold_for_heavy_tails():
    """Student errors with 2 degrees of freedom and a wrong standard deviation: 90 % is 90 %."""
    rng, inside = np.random.default_rng(0), []
    for _ in range(400):
        held, new = rng.standard_t(2, size=(2, 39))
        calibrated = SplitConformal(0.9).fit(held, np.zeros(39), 0.1)
        inside.append(coverage_of(new, calibrated.interval(np.zeros(39), 0.1)))
    assert np.mean(inside) == pytest.approx(0.9, abs=0.01)


def test_cells_with_many_rows_are_covered_whole():
    """Rows of a cell share an error: bounds by cell hold for all its rows at once."""
    rng, whole = np.random.default_rng(1), []
    cells = np.repeat(np.arange(30), 20)
    for _ in range(200):
        y = rng.normal(size=60)[:, None] + 0.3 * rng.normal(size=(60, 20))
        calibrated = SplitConformal(0.9).fit(y[:30].ravel(), np.zeros(600), groups=cells)
        low, high = calibrated.interval(np.zeros(600))
        whole.append(((y[30:].ravel() >= low) & (y[30:].ravel() <= high)).reshape(30, 20).all(axis=1).mean())
    assert np.mean(whole) == pytest.approx(0.9, abs=0.02)


def test_cv_plus_covers_about_what_it_says():
    """Means estimated without each of 20 cells: new cells lie inside nine times in ten."""
    rng, inside = np.random.default_rng(2), []
    for _ in range(400):
        y, new = rng.normal(size=20), rng.normal(size=20)
        without = (y.sum() - y) / 19
        bounds = cv_plus_interval(np.abs(y - without), np.repeat(without[:, None], 20, axis=1))
        inside.append(coverage_of(new, bounds))
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)


def test_cv_plus_says_when_it_cannot_promise():
    """Five cells promise nothing at 90 %; shapes must fit."""
    bounds = cv_plus_interval(np.ones(5), np.zeros((5, 2)))
    assert np.isinf(bounds.low).all()
    assert np.isinf(bounds.high).all()
    with pytest.raises(SpecError, match="must be"):
        cv_plus_interval(np.ones(5), np.zeros((4, 2)))
    with pytest.raises(SpecError, match="between 0 and 1"):
        cv_plus_interval(np.ones(5), np.zeros((5, 2)), coverage=0.0)


def test_rows_know_the_fold_that_tests_them():
    """The inverse of the folds; -1 where none tests a row."""
    folds = grouped_folds(None, 6, folds=3)
    assert all((fold_of_rows(folds, 6)[fold.test] == number).all() for number, fold in enumerate(folds))
    assert sorted(fold_of_rows(folds[:2], 6))[:2] == [-1, -1]


def test_coverage_leaves_out_what_was_not_measured():
    """NaN counts neither way; nothing measured has no coverage."""
    bounds = Interval(np.zeros(3), np.ones(3))
    assert coverage_of([0.5, np.nan, 2.0], bounds) == 0.5
    assert np.isnan(coverage_of([np.nan] * 3, bounds))
