"""The first guess of a life: exact left-out predictions, cells still alive counted as such, errors that grow off the known."""

from __future__ import annotations

import numpy as np

from orchestrator.prognostics.trajectory_life import CensoredRidge, Standardiser


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features and log lives about a plane."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X, 6 + X @ [0.5, -0.2, 0.0] + 0.1 * rng.normal(size=n)


def test_what_is_left_out_is_as_if_fitted_without() -> None:
    """Each group's predictions equal those of a fit to the others with the same strength."""
    X, y = drawn(30)
    groups = np.arange(30) // 2
    model = CensoredRidge().fit(X, y, np.ones(30, dtype=bool), groups)
    design = np.column_stack([np.ones(30), X])
    ridge = np.diag([0, *np.full(3, model.strength_)])
    for group in (0, 7):
        rest = groups != group
        own = np.linalg.solve(design[rest].T @ design[rest] + ridge, design[rest].T @ y[rest])
        np.testing.assert_allclose(model.left_out_[~rest], design[~rest] @ own, rtol=1e-9)


def test_cells_still_alive_are_neither_dead_nor_thrown_away() -> None:
    """Long lives are seen up to log life 6 only: the plane is found nearly as from all; their ages taken for lives, it is not."""
    X, y = drawn(200)
    ended = y < 6.0
    seen = np.where(ended, y, 6.0)
    groups = np.arange(200)
    honest = CensoredRidge().fit(X, seen, ended, groups).predict(X)[0]
    naive = CensoredRidge().fit(X, seen, np.ones(200, dtype=bool), groups).predict(X)[0]
    assert np.mean((honest - y)[~ended]) > -0.05
    assert np.mean((naive - y)[~ended]) < -0.2


def test_errors_grow_away_from_what_is_known() -> None:
    """Twice as far as any cell, the error is larger; among the cells it is the error that was found."""
    X, y = drawn(40)
    model = CensoredRidge().fit(X, y, np.ones(40, dtype=bool), np.arange(40))
    near, far = model.predict(X)[1].mean(), model.predict(20 * np.ones((1, 3)))[1][0]
    assert 0.8 * model.spread_ < near < 1.2 * model.spread_
    assert far > 2 * near


def test_what_is_unknown_counts_as_usual() -> None:
    """NaN becomes the mean, a constant column and a column of NaN become 0."""
    X = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan], [np.nan, 5.0, np.nan]])
    np.testing.assert_allclose(Standardiser(X)(X), [[-1, 0, 0], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(Standardiser(X)(np.array([[3.0, 9.0, 2.0]])), [[1, 0, 0]])
