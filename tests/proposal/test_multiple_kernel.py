"""Several kernels: exact gradients, centred and normalised, and shares that are what each group of features explains."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from orchestrator.proposal.hyperparameter_search import fit_hyperparameters
from orchestrator.proposal.marginal_likelihood import FeatureGroup, Prior
from orchestrator.proposal.multiple_kernel import GroupedLikelihood, KernelSum
from orchestrator.proposal.surrogate import Readings, fit_surrogate

GROUPS = (FeatureGroup("a", (0, 2)), FeatureGroup("b", (1,)), FeatureGroup("c", (3, 4)))


def grouped(*sizes: int) -> tuple[FeatureGroup, ...]:
    """Groups of so many neighbouring columns each: g0, g1 ..."""
    ends = np.cumsum((0, *sizes))
    return tuple(FeatureGroup(f"g{i}", tuple(range(ends[i], ends[i + 1]))) for i in range(len(sizes)))


def effect(rng: np.random.Generator, X: np.ndarray, kind: str) -> np.ndarray:
    """A function of the columns: linear, a wave, or rough; mean 0 and variance 1 over the points."""
    direction = rng.standard_normal(X.shape[1])
    if kind == "linear":
        f = X @ direction
    elif kind == "wave":
        f = np.sin(rng.uniform(2, 6) * X @ direction / np.linalg.norm(direction) + rng.uniform(0, 6))
    else:
        waves = rng.standard_normal((X.shape[1], 60)) / (0.4 * np.sqrt(X.shape[1]))
        f = np.cos(X @ waves + rng.uniform(0, 6.28, 60)) @ rng.standard_normal(60)
    return (f - f.mean()) / f.std()


def truth(seed: int, n: int, noise: float, shares: tuple[float, ...], sizes: tuple[int, ...]) -> tuple[Readings, Prior]:
    """Readings of a response whose groups explain these shares; one share more than groups is the first two's product."""
    rng, kinds, groups = np.random.default_rng(seed), ("linear", "wave", "rough"), grouped(*sizes)
    X = rng.random((n, sum(sizes)))
    effects = [effect(rng, X[:, list(g.columns)], kinds[(seed + i) % 3]) for i, g in enumerate(groups)]
    product = effects[0] * effects[1]
    effects.append((product - product.mean()) / product.std())
    y = sum(np.sqrt(share) * f for share, f in zip(shares, effects, strict=False))
    return Readings(X, 100 + 7 * (y + noise * rng.standard_normal(n)), np.full(n, 7 * noise)), Prior(groups=groups)


@pytest.mark.parametrize("known_level", [False, True])
def test_the_gradient_is_exact(known_level):
    """Finite differences agree, replicates among the points included."""
    rng = np.random.default_rng(0)
    X = rng.random((20, 5))
    X[3] = X[2]
    prior = Prior(groups=GROUPS, known_level=known_level)
    problem = GroupedLikelihood(X, rng.standard_normal(20), np.full(20, 0.1), prior)
    theta = 0.5 * rng.standard_normal(10) - 0.5
    assert problem.loss(theta)[1] == pytest.approx(approx_fprime(theta, lambda t: problem.loss(t)[0], 1e-6), abs=1e-4)
    assert problem.before(theta)[1] == pytest.approx(approx_fprime(theta, lambda t: problem.before(t)[0], 1e-7), abs=1e-5)


def test_kernels_are_centred_and_have_their_weight_as_trace():
    """Over the points read every component has mean 0, and the variance that its weight says."""
    rng = np.random.default_rng(0)
    X = rng.random((20, 5))
    problem = GroupedLikelihood(X, rng.standard_normal(20), np.full(20, 0.1), Prior(groups=GROUPS))
    learned = problem.at(0.5 * rng.standard_normal(10) - 0.5)
    kernels = KernelSum(GROUPS, learned, X)
    for component, weight in zip(kernels.components(X, X), learned.weights, strict=True):
        assert np.abs(component.mean(axis=0)).max() < 1e-12
        assert component.trace() / 20 == pytest.approx(learned.signal * weight)
    elsewhere = rng.random((7, 5))
    assert kernels.variance(elsewhere) == pytest.approx(np.diag(kernels.between(elsewhere, elsewhere)))
    assert np.linalg.eigvalsh(kernels.between(elsewhere, elsewhere)).min() > 0


def test_it_is_the_same_belief_as_its_botorch_model():
    """Mean and joint covariance agree to 1e-9 with several kernels too, for batches of points as well."""
    import torch

    from orchestrator.proposal.botorch_model import botorch_model

    surrogate, X = fit_surrogate(*truth(0, 25, 0.1, (0.6, 0.4), (1, 2))), np.random.default_rng(5).random((2, 6, 3))
    posterior = botorch_model(surrogate).posterior(torch.from_numpy(X))
    for i in range(2):
        assert posterior.mean[i, :, 0].numpy() == pytest.approx(surrogate.scaled_mean(X[i]), abs=1e-9)
        covariance = posterior.distribution.covariance_matrix[i].numpy()
        assert covariance == pytest.approx(surrogate.scaled_covariance(X[i], X[i]), abs=1e-9)
    single = botorch_model(surrogate).posterior(torch.from_numpy(X[0][:, None]))
    assert single.variance[:, 0, 0].numpy() == pytest.approx(surrogate.scaled_variance(X[0]), abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("n", "noise", "shares", "sizes"),
    [
        (60, 0.2, (0.8, 0.2, 0.0), (2, 2, 2)),
        (60, 0.2, (0.8, 0.2, 0.0), (2, 3, 30)),
        (120, 0.5, (0.8, 0.2, 0.0), (1, 2, 12)),
        (100, 0.1, (0.5, 0.2, 0.0, 0.3), (2, 2, 4)),
    ],
)
def test_shares_are_what_each_group_explains(seed, n, noise, shares, sizes):
    """A truth of 0.8, 0.2 and 0 is recovered within 0.1, whatever the groups' sizes and the effects' shapes; a product too."""
    found = fit_surrogate(*truth(seed, n, noise, shares, sizes)).shares
    wanted = dict(zip([*(f"g{i}" for i in range(len(sizes))), "together"], (*shares, 0.0), strict=False))
    assert {name: share.mean for name, share in found.items()} == pytest.approx(wanted, abs=0.1)
    assert sum(share.mean for share in found.values()) == pytest.approx(1)
    assert all(0 <= share.sd < 0.1 for share in found.values())


def test_groups_foretell_better_where_effects_add_up():
    """Thirty results of seventeen columns: the error of unseen truths is less than half of one kernel's."""
    errors = {True: [], False: []}
    for seed in range(3):
        whole, prior = truth(seed, 230, 0.1, (0.8, 0.2, 0.0), (2, 3, 12))
        seen, unseen = (Readings(whole.X[part], whole.mean[part], whole.sem[part]) for part in (slice(30), slice(30, None)))
        for grouping in errors:
            mean, _ = fit_surrogate(seen, prior if grouping else Prior()).posterior(unseen.X)
            errors[grouping].append(np.mean((mean - unseen.mean) ** 2))
    assert np.mean(errors[True]) < 0.25 * np.mean(errors[False])


def test_more_readings_than_a_block_holds_teach_the_same_shares(monkeypatch):
    """Blocks are dealt out so that each is a sample of the whole."""
    readings, prior = truth(1, 160, 0.2, (0.8, 0.2, 0.0), (1, 2, 2))
    monkeypatch.setattr("orchestrator.proposal.hyperparameter_search.LARGEST_DEAL", 80)
    found = fit_surrogate(readings, prior).shares
    assert [found[f"g{i}"].mean for i in range(3)] == pytest.approx([0.8, 0.2, 0.0], abs=0.1)


def test_nothing_is_concluded_of_a_group_that_was_never_varied():
    """Its weight stays what it was believed to be, and points that vary it are uncertain."""
    readings, prior = truth(0, 30, 0.1, (0.6, 0.4), (1, 1))
    X = np.column_stack([readings.X, np.full(30, 0.5)])
    surrogate = fit_surrogate(Readings(X, readings.mean, readings.sem), Prior(groups=grouped(1, 1, 1)))
    assert surrogate.hyperparameters.signal * surrogate.hyperparameters.weights[2] == pytest.approx(prior.signal / 4)
    assert surrogate.shares["g2"].mean == pytest.approx(0, abs=1e-4)
    varied = X.copy()
    varied[:, 2] = 0.9
    assert (surrogate.posterior(varied)[1] > 2 * surrogate.posterior(X)[1]).all()


@pytest.mark.parametrize(
    ("mean", "sem"), [([5.0], [0.0]), ([5.0] * 4, [0.0] * 4), ([1e-9, 2e-9, 3e-9], [0.0] * 3), ([0.0, 0.0], [1.0, 1.0])]
)
def test_little_or_equal_data_give_a_sound_belief(mean, sem):
    """Finite means, positive standard deviations, shares between 0 and 1."""
    X = np.random.default_rng(0).random((len(mean), 3))
    surrogate = fit_surrogate(Readings(X, np.array(mean), np.array(sem)), Prior(groups=grouped(1, 2)))
    centre, sd = surrogate.posterior(np.random.default_rng(1).random((5, 3)))
    assert np.isfinite(centre).all()
    assert (sd > 0).all()
    assert all(0 <= share.mean <= 1 for share in surrogate.shares.values())


def test_the_same_readings_teach_the_same():
    """Hyperparameters and shares come out bit by bit the same."""
    readings, prior = truth(2, 40, 0.2, (0.8, 0.2), (2, 1))
    y, noise = (readings.mean - 100) / 7, (readings.sem / 7) ** 2
    one, two = fit_hyperparameters(readings.X, y, noise, prior), fit_hyperparameters(readings.X, y, noise, prior)
    assert np.array_equal(one.weights, two.weights)
    assert fit_surrogate(readings, prior).shares == fit_surrogate(readings, prior).shares
