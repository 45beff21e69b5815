"""From many cells to few: better than from scratch where the source knows something, chosen without the test cells."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from orchestrator.domain.errors import SpecError
from orchestrator.prognostics.multi_task import MultiTaskRegressor
from orchestrator.prognostics.network import HELD, NUMBERS, Labels, Pull, initial_networks, trained
from orchestrator.prognostics.network_regressor import NetworkRegressor, pretrained
from orchestrator.prognostics.transfer import TransferRegressor, Way, _strengths

OPTIONS = {"members": 2, "steps": 150}


def protocols(seed, kept=1.0, unit=1.0, many=90, few=10, new=200):
    """A source and a target protocol that share `kept` of the way from features to life; the target in a unit of its own."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(many + few + new, 5))
    own, others = rng.normal(size=(2, 5, 2)) / np.sqrt(5)

    def life(W):
        return np.tanh(2 * X @ W[:, 0]) + np.sin(1.5 * X @ W[:, 1])

    source, target = life(own), unit * (life(kept * own + (1 - kept) * others) + 0.5)
    noise = 0.1 * rng.normal(size=len(X))
    parts = slice(0, many), slice(many, many + few), slice(many + few, None)
    (a, b, c), measured = parts, target + unit * noise
    return (X[a], (source + noise)[a]), (X[b], measured[b]), (X[c], target[c])


@pytest.fixture(scope="module")
def source():
    (X, y), _, _ = protocols(0)
    return NetworkRegressor(**OPTIONS).fit(X, y)


def error(model, X, y):
    return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))


def test_ten_cells_are_enough_with_a_source(source):
    """A protocol that moves the level only: half the error of a network from scratch, with the choice told in a table."""
    _, few, new = protocols(0)
    model = TransferRegressor(source).fit(*few)
    said = model.predict_ways(new[0])
    assert error(model, *new) < 0.5 * error(NetworkRegressor(**OPTIONS).fit(*few), *new)
    assert {row["way"] for row in model.comparison_} == {"cka", "uniform", "fine_tuning", "from_scratch"} == set(said)
    assert np.array_equal(said[model.chosen_], model.predict(new[0]))
    assert [row["way"] for row in model.comparison_ if row["serves"]] == [model.chosen_]
    assert model.chosen_ == min(model.comparison_, key=lambda row: row["rmse"])["way"]


def test_a_target_in_another_unit_is_the_same_target(source):
    """Life in other units (times 50): errors times 50, no more."""
    _, few, new = protocols(0)
    _, scaled_few, scaled_new = protocols(0, unit=50.0)
    plain, scaled = TransferRegressor(source, folds=4).fit(*few), TransferRegressor(source, folds=4).fit(*scaled_few)
    assert error(scaled, *scaled_new) < 1.3 * 50 * error(plain, *new)


def test_layers_that_are_alike_are_held():
    """Strength grows with similarity: free at 0 and below, held at 0.99; uniform does not look."""
    strengths = _strengths(Way("cka", 0.1), np.array([-0.1, 0.0, 0.5, 0.9, 0.995]))
    assert strengths == pytest.approx([0, 0, 0.1, 0.9, HELD])
    assert _strengths(Way("uniform", 0.1), np.array([0.2, 0.9])) == pytest.approx([0.1, 0.1])


def test_what_the_target_keeps_is_found_alike(source):
    """Layers of the source are more alike to their adapted selves for the same protocol than for one with nothing in common."""
    _, same, _ = protocols(0)
    _, other, _ = protocols(0, kept=0.0)
    kept, changed = TransferRegressor(source, folds=3).fit(*same), TransferRegressor(source, folds=3).fit(*other)
    assert kept.layer_similarity_.shape == kept.layer_strength_.shape == (3,)
    assert (kept.layer_similarity_ > changed.layer_similarity_).all()
    assert (np.diff(kept.layer_strength_[np.argsort(kept.layer_similarity_)]) >= 0).all()


def test_a_held_layer_stays_and_a_free_one_moves():
    """Held: to the last bit; pulled: nearer to the anchor than free."""
    rng = np.random.default_rng(2)
    start = initial_networks([1], 3, (6, 6), 1)
    X, value = torch.from_numpy(rng.normal(size=(1, 20, 3))).to(NUMBERS), torch.from_numpy(rng.normal(size=20)).to(NUMBERS)
    nothing = torch.zeros(20, dtype=torch.int64)
    labels = Labels(nothing, torch.arange(20), nothing, value, torch.full((20,), 0.05))
    strength = torch.tensor([[HELD, 1.0, 0.0]])
    end = trained(start, X, labels, Pull(start, strength, strength), steps=60)
    free = trained(start, X, labels, Pull(start, 0 * strength, 0 * strength), steps=60)
    moved = [float((b - a).norm()) for a, b in zip(start.weights, end.weights, strict=True)]
    moved_freely = [float((b - a).norm()) for a, b in zip(start.weights, free.weights, strict=True)]
    assert moved[0] == 0
    assert torch.equal(start.biases[0], end.biases[0])
    assert 0 < moved[1] < 0.5 * moved_freely[1]
    assert moved[2] > 0


def test_the_source_is_left_as_it_is_and_runs_repeat(source):
    """Adapting changes nothing in the source; a second fit predicts the same to the last bit."""
    _, few, new = protocols(0)
    before = source.predict(new[0])
    first = TransferRegressor(source, "uniform", folds=4).fit(*few)
    again = TransferRegressor(source, "uniform", folds=4).fit(*few)
    assert np.array_equal(first.predict(new[0]), again.predict(new[0]))
    assert np.array_equal(before, source.predict(new[0]))
    assert len(set(first.layer_strength_)) == 1
    assert first.chosen_ != "cka"


def test_a_source_of_several_properties_names_one():
    """One property of a multi-task network may be the source; with several the task must be said."""
    (X, y), few, _ = protocols(3, many=30)
    several = MultiTaskRegressor(["life", "growth"], members=2, steps=20).fit(X, np.column_stack([y, -y]))
    known = pretrained(several, "growth")
    assert known.networks.weights[-1].shape[-1] == 1
    with torch.no_grad():
        said = known.networks.output(torch.from_numpy(known.inputs.into(few[0])).to(NUMBERS).expand(2, -1, -1))
    assert known.output.back(said.numpy().mean(axis=0))[:, 0] == pytest.approx(several.predict(few[0])["growth"], abs=1e-5)
    with pytest.raises(SpecError, match="must say which of \\['life', 'growth'\\]"):
        TransferRegressor(several).fit(*few)
    with pytest.raises(SpecError, match="'mass' is no task"):
        TransferRegressor(several, task="mass").fit(*few)


def test_five_cells_in_two_folds_are_enough(source):
    """Halves of two cells tell nothing of similarity, and the fit goes through."""
    _, (X, y), (new, _) = protocols(0)
    assert np.isfinite(TransferRegressor(source, folds=2).fit(X[:5], y[:5]).predict(new)).all()


def test_spreads_are_calibrated_on_the_target(source):
    """Of new target cells at least 80 % lie within 1.645 standard deviations, with ten cells to learn from."""
    _, few, new = protocols(0)
    mean, std = TransferRegressor(source).fit(*few).predict(new[0], return_std=True)
    assert np.mean(np.abs(mean - new[1]) < 1.645 * std) > 0.8


def test_what_cannot_be_transferred_is_said(source):
    """No fitted source, other features, too few cells, NaN, an unknown similarity."""
    _, (X, y), _ = protocols(0)
    with pytest.raises(SpecError, match="must be a fitted NetworkRegressor"):
        TransferRegressor(NetworkRegressor()).fit(X, y)
    with pytest.raises(SpecError, match="has 4 columns; the model learned from 5"):
        TransferRegressor(source).fit(X[:, :4], y)
    with pytest.raises(SpecError, match=r"at least 5 cells .* \(got 2\)"):
        TransferRegressor(source).fit(X, y, groups=np.arange(10) % 2)
    with pytest.raises(SpecError, match="has NaN"):
        TransferRegressor(source).fit(X, np.where(np.arange(10) > 1, y, np.nan))
    with pytest.raises(SpecError, match="'cka' or 'uniform'"):
        clone(TransferRegressor(source, "cosine")).fit(X, y)
