"""Discharge curves become columns whatever single curves look like, and every model learns from them."""

import numpy as np
import pytest
from sklearn.base import clone

from orchestrator.domain.errors import SpecError
from orchestrator.prognostics.block_kernel import BlockGaussianProcess
from orchestrator.prognostics.early_curves import CAPACITY, SUMMARY, early_life_features
from orchestrator.prognostics.life_models import life_models, names_of

V, CYCLES = np.linspace(3.6, 2.0, 60), np.arange(2, 101)


def curves(rng, cells=24):
    """Cells whose curves sink at a rate of their own; a life goes with the rate."""
    rate = 10 ** rng.uniform(-4.5, -3.5, size=cells)
    shape = 1.05 / (1 + np.exp((V - 3.2) / 0.05))
    dip = np.exp(-(((V - 3.0) / 0.2) ** 2))
    Q = shape - rate[:, None, None] * CYCLES[:, None] * dip - 0.1 * rate[:, None, None] * CYCLES[:, None]
    return Q + 1e-5 * rng.normal(size=Q.shape), 0.1 / rate


def test_columns_say_what_the_curves_do():
    """A row per cell, no gaps, capacity lost as it was lost; names that say units."""
    Q, life = curves(np.random.default_rng(0))
    table = early_life_features(V, CYCLES, Q)
    assert table.values.shape == (24, len(table.names))
    assert np.isfinite(table.values).all()
    assert table.column("capacity_change_Ah") == pytest.approx(-0.1 * 88 * 0.1 / life, abs=1e-4)
    assert np.corrcoef(table.column("log_variance"), np.log10(life))[0, 1] < -0.99


def test_impossible_curves_change_nothing():
    """A wild curve in each window of a cell's cycles leaves all columns as they are without it, flagged or not."""
    Q, _ = curves(np.random.default_rng(1))
    wild = Q.copy()
    wild[3, [8, 53]] = 9.0
    wild[3, 97, 20:30] -= 0.2
    sound = np.ones(Q.shape[:2], dtype=bool)
    sound[3, [8, 53, 97]] = False
    found = [
        early_life_features(V, CYCLES, *each).values
        for each in ((wild,), (wild, sound), (np.where(sound[:, :, None], Q, np.nan),))
    ]
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()


def test_nothing_after_the_late_cycle_is_looked_at():
    """Predicting at cycle 60, what happens from 61 on changes nothing."""
    Q, _ = curves(np.random.default_rng(2), 5)
    later = Q.copy()
    later[:, CYCLES > 60] = 0.0
    assert (early_life_features(V, CYCLES, Q, late=60).values == early_life_features(V, CYCLES, later, late=60).values).all()


def test_missing_cycles_are_said():
    """Cycles that are not there, and shapes that do not fit."""
    Q, _ = curves(np.random.default_rng(3), 5)
    with pytest.raises(SpecError, match="cycles 146 to 150"):
        early_life_features(V, CYCLES, Q, late=150)
    with pytest.raises(SpecError, match="each cycle and voltage"):
        early_life_features(V, CYCLES[:5], Q)


def test_every_model_learns():
    """On cells whose life goes with their fade each model is within 15 % on new ones; the baseline comes first."""
    Q, life = curves(np.random.default_rng(4), 48)
    table = early_life_features(V, CYCLES, Q)
    models = life_models(table.names)
    assert names_of(models)[0] == "baseline"
    for name, model in models.items():
        predicted = clone(model).fit(table.values[:36], np.log10(life[:36])).predict(table.values[36:])
        assert np.abs(np.ravel(predicted) - np.log10(life[36:])).mean() < 0.06, name


def test_a_table_of_other_columns_is_refused():
    """Models name their columns; what lacks is listed."""
    with pytest.raises(SpecError, match="lack log_minimum"):
        life_models(["log_variance", *SUMMARY[2:], *CAPACITY])


def test_block_scales_shrink_what_does_not_help():
    """Of two blocks the one that decides nothing gets a far smaller scale; the gradient of the evidence is right."""
    from scipy.optimize import check_grad

    from orchestrator.prognostics.block_kernel import _posterior

    rng = np.random.default_rng(5)
    X = rng.normal(size=(40, 6))
    y = X[:, :3].sum(axis=1) + 0.1 * rng.normal(size=40)
    model = BlockGaussianProcess([[0, 1, 2], [3, 4, 5]], smooth=[0]).fit(X, y)
    assert model.log_scales_[0] > model.log_scales_[1] + 4
    grams, standard = model._grams(model._rows, model._rows), (y - y.mean()) / y.std()
    at, mean, sd = np.array([-0.5, -1.0, -1.5, 0.3, -2.0]), np.zeros(5), np.ones(5)
    value, slope = (lambda s, i=i: _posterior(s, grams, standard, mean, sd)[i] for i in (0, 1))
    assert check_grad(value, slope, at) < 1e-4


def test_block_process_knows_its_error():
    """Its standard deviation is that of new rows inside, and grows outside."""
    rng = np.random.default_rng(6)
    X = rng.normal(size=(400, 2))
    y = 5 + X[:, 0] + 0.5 * rng.normal(size=400)
    model = BlockGaussianProcess().fit(X[:60], y[:60])
    mean, std = model.predict(X[60:], return_std=True)
    assert np.mean(np.abs(mean - y[60:]) < std) == pytest.approx(0.683, abs=0.06)
    assert model.predict([[20.0, 20.0]], return_std=True)[1][0] > 1.5 * std.mean()
