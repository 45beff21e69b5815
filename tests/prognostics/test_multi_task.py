"""Several properties from one network where that helps, from one each where it does not."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from orchestrator.domain.errors import SpecError
from orchestrator.prognostics.multi_task import MultiTaskRegressor
from orchestrator.prognostics.network import NUMBERS, Labels, decay_of, initial_networks, trained
from orchestrator.prognostics.network_data import Lesson, Lessons

QUICK = {"members": 2, "steps": 120}


def cells(seed, related, few=12, many=80, new=300):
    """Two properties of six features, the second measured on few cells: of the same two hidden quantities, or of others."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(many + new, 6))
    one, other = rng.normal(size=(2, 6, 2)) / np.sqrt(6)

    def hidden(W):
        return np.column_stack([np.tanh(2 * X @ W[:, 0]), np.sin(1.5 * X @ W[:, 1])])

    Y = np.column_stack([hidden(one).sum(axis=1), hidden(one if related else other) @ [1.0, 0.6]])
    Y /= Y.std(axis=0)
    measured = Y[:many] + 0.1 * rng.normal(size=(many, 2))
    measured[few:, 1] = np.nan
    return X[:many], measured, X[many:], Y[many:]


def error(said, truth):
    return float(np.sqrt(np.mean((said - truth) ** 2)))


def test_few_labels_borrow_from_many():
    """Related properties: the one with twelve labels has less than 0.8 of its own network's error, over two draws."""
    together, alone = [], []
    for seed in range(2):
        X, Y, new, truth = cells(seed, related=True, many=60, new=200)
        together.append(error(MultiTaskRegressor(["a", "b"], **QUICK).fit(X, Y).predict(new)["b"], truth[:, 1]))
        alone.append(error(MultiTaskRegressor(["b"], **QUICK).fit(X, Y[:, 1]).predict(new)["b"], truth[:, 1]))
    assert np.mean(together) < 0.8 * np.mean(alone)


def test_what_does_not_help_is_left():
    """Unrelated properties: each falls back to its own network, and then predicts what that network alone predicts."""
    X, Y, new, _ = cells(1, related=False)
    model = MultiTaskRegressor(["a", "b"], **QUICK).fit(X, Y)
    assert model.chosen_ == {"a": "single", "b": "single"}
    alone = MultiTaskRegressor(["b"], **QUICK).fit(X, Y[:, 1])
    assert error(model.predict(new)["b"], alone.predict(new)["b"]) < 0.25 * np.std(Y[:12, 1])
    row = model.comparison_[1]
    assert row["cells"] == 12
    assert row["gain"] <= row["gain_sem"]


def test_a_missing_label_teaches_nothing():
    """No weight changes, to the last bit, when labels that a network is not taught turn to 1e9 and others are missing."""
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    Y[5:, 1] = np.nan
    everything = Lesson(np.ones(20, dtype=bool), (1,))
    loud = np.where(np.arange(20)[:, None] < 5, Y, [[1e9, np.nan]])
    made = [Lessons(X, values, [everything], np.ones(2)) for values in (Y, loud)]
    assert made[0].labels.value.isfinite().all()
    assert len(made[0].labels.value) == 5
    start = initial_networks([1], 3, (8,), 2)
    ends = [trained(start, each.features, each.labels, decay_of(start, torch.tensor([1e-3])), steps=30) for each in made]
    for first, second in zip(ends[0].weights, ends[1].weights, strict=True):
        assert torch.equal(first, second)


def test_the_cells_of_a_fold_are_not_seen():
    """A network's standards and labels come from the rows it may see: changing the others changes nothing."""
    rng = np.random.default_rng(4)
    X, Y = rng.normal(size=(12, 2)), rng.normal(size=(12, 1))
    seen = np.arange(12) < 9
    far = np.where(seen[:, None], X, 1e6), np.where(seen[:, None], Y, 1e6)
    one, two = (Lessons(x, y, [Lesson(seen, (0,))], np.ones(1)) for x, y in ((X, Y), far))
    assert torch.equal(one.labels.value, two.labels.value)
    assert torch.equal(one.features[:, :9], two.features[:, :9])


def test_networks_of_a_stack_do_not_know_each_other():
    """A network trained among others ends where it ends alone."""
    rng = np.random.default_rng(5)
    X = torch.from_numpy(rng.normal(size=(3, 10, 2))).to(NUMBERS)
    start = initial_networks([1, 2, 3], 2, (6, 5), 1)
    network, row = torch.arange(3).repeat_interleave(10), torch.arange(10).repeat(3)
    value = torch.from_numpy(rng.normal(size=30)).to(NUMBERS)
    labels = Labels(network, row, torch.zeros_like(row), value, torch.full((30,), 0.1))
    decay = torch.tensor([1e-3, 1e-2, 0.0])
    together = trained(start, X, labels, decay_of(start, decay), steps=40)
    second = np.array([1])
    alone = trained(
        start.take(torch.tensor([1])), X[[1]], labels.of(second), decay_of(start.take(torch.tensor([1])), decay[[1]]), 40
    )
    for a, b in zip(together.weights, alone.weights, strict=True):
        assert torch.allclose(a[1], b[0], atol=1e-5)


def test_spreads_cover_new_cells():
    """About nine in ten new cells lie within 1.645 standard deviations."""
    inside = []
    for seed in range(2):
        X, Y, new, truth = cells(seed, related=True, few=40)
        mean, std = MultiTaskRegressor(["a", "b"], **QUICK).fit(X, Y).predict(new, return_std=True)
        inside.append(np.mean(np.abs(mean["b"] - truth[:, 1]) < 1.645 * std["b"]))
    assert 0.82 < np.mean(inside) < 0.99


def test_units_do_not_matter_and_runs_repeat():
    """Properties in other units give the same predictions in those units; a second fit gives the same to the last bit."""
    X, Y, new, _ = cells(6, related=True, many=30)
    options = {"members": 2, "steps": 40, "folds": 3}
    first = MultiTaskRegressor(["a", "b"], **options).fit(X, Y).predict(new)
    again = clone(MultiTaskRegressor(["a", "b"], **options)).fit(X, Y).predict(new)
    other = MultiTaskRegressor(["a", "b"], {"a": 1.0, "b": 1.0}, **options).fit(X, Y * [1000, 1e-3] + [5, 0]).predict(new)
    assert np.array_equal(first["b"], again["b"])
    assert other["a"] == pytest.approx(1000 * first["a"] + 5, rel=1e-3, abs=3)
    assert other["b"] == pytest.approx(1e-3 * first["b"], rel=1e-3, abs=3e-6)


def test_rows_of_a_cell_stay_together():
    """Every row of a cell twice, its cell named: as many cells are compared as there are, not as many as rows."""
    X, Y, _, _ = cells(7, related=True, many=20, few=6)
    twice = np.repeat(np.arange(20), 2)
    model = MultiTaskRegressor(["a", "b"], members=1, steps=10).fit(X[twice], Y[twice], groups=twice)
    assert [row["cells"] for row in model.comparison_] == [20, 6]


def test_what_cannot_be_learned_is_said():
    """Shapes, names, weights, NaN in features, properties on too few cells."""
    X, Y, _, _ = cells(8, related=True, many=15)
    with pytest.raises(SpecError, match="a column for each of 3 tasks"):
        MultiTaskRegressor(["a", "b", "c"]).fit(X, Y)
    with pytest.raises(SpecError, match="names, each once"):
        MultiTaskRegressor(["a", "a"]).fit(X, Y)
    with pytest.raises(SpecError, match="number > 0 for each of 2 tasks"):
        MultiTaskRegressor(["a", "b"], [1.0, 0.0]).fit(X, Y)
    with pytest.raises(SpecError, match="must name \\['a', 'b'\\]"):
        MultiTaskRegressor(["a", "b"], {"a": 1.0}).fit(X, Y)
    with pytest.raises(SpecError, match="NaN or infinite values in columns \\[2\\]"):
        MultiTaskRegressor(["a", "b"]).fit(np.where(np.arange(6) == 2, np.nan, X), Y)
    with pytest.raises(SpecError, match="fewer than two labels for b"):
        MultiTaskRegressor(["a", "b"]).fit(X, np.where(np.arange(15)[:, None] < 1, Y, [[1.0, np.nan]]))
    with pytest.raises(SpecError, match="b is measured on 1 cell"):
        MultiTaskRegressor(["a", "b"]).fit(X, Y, groups=np.maximum(np.arange(15) - 11, 0))
    with pytest.raises(SpecError, match="6"):
        MultiTaskRegressor(["a"], members=1, steps=2, folds=2).fit(X, Y[:, 0]).predict(X[:, :4])
