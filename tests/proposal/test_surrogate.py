"""The surrogate: exact algebra, known noise, a learned spread, sound with little or odd data."""

import numpy as np
import pytest
from scipy.optimize import check_grad

from orchestrator.proposal.marginal_likelihood import MarginalLikelihood, Prior, matern
from orchestrator.proposal.surrogate import Readings, fit_surrogate


def readings(n: int, sem: float = 0.0, spread: float = 0.0, seed: int = 0) -> Readings:
    random = np.random.default_rng(seed)
    X = random.random((n, 2))
    mean = 100 + 50 * np.sin(3 * X[:, 0]) + 30 * X[:, 1] + np.hypot(sem, spread) * random.standard_normal(n)
    return Readings(X, mean, np.full(n, sem))


@pytest.mark.parametrize("known_level", [False, True])
def test_the_gradient_of_the_marginal_likelihood_is_exact(known_level):
    """Finite differences agree, duplicates among the points included."""
    random = np.random.default_rng(1)
    X = random.random((15, 3))
    X[3] = X[2]
    problem = MarginalLikelihood(X, random.standard_normal(15), np.full(15, 0.1), Prior(known_level=known_level))
    at = 0.4 * random.standard_normal(5)
    assert check_grad(lambda p: problem.loss(p)[0], lambda p: problem.loss(p)[1], at) < 1e-5


@pytest.mark.parametrize("smooth", [False, True])
def test_it_is_the_same_belief_as_its_botorch_model(smooth):
    """Mean and joint covariance agree to 1e-10, so that any BoTorch acquisition may stand on it."""
    import torch

    from orchestrator.proposal.botorch_model import botorch_model

    surrogate, X = fit_surrogate(readings(20, sem=3.0), Prior(smooth=smooth)), np.random.default_rng(5).random((6, 2))
    posterior = botorch_model(surrogate).posterior(torch.from_numpy(X))
    assert posterior.mean[:, 0].numpy() == pytest.approx(surrogate.scaled_mean(X), abs=1e-10)
    assert posterior.distribution.covariance_matrix.numpy() == pytest.approx(surrogate.scaled_covariance(X, X), abs=1e-10)
    assert surrogate.posterior(X)[1] ** 2 == pytest.approx(np.diag(surrogate.scaled_covariance(X, X)) * surrogate.scale**2)


@pytest.mark.parametrize("n", [40, 160])
def test_the_evidence_says_how_smooth_a_response_is(n):
    """A sine is believed to have every derivative, an edge is not; with many points a subset of them decides."""
    X = np.random.default_rng(2).random((n, 2))
    believed = [
        fit_surrogate(Readings(X, mean, np.zeros(n)), Prior(smooth=None)).hyperparameters.smooth
        for mean in (np.sin(5 * X[:, 0]) + X[:, 1], np.abs(X[:, 0] - 0.5) + np.abs(X[:, 1] - 0.3))
    ]
    assert believed == [True, False]


def test_botorch_never_compiles_its_kernel():
    """The C++ build of qLogNEHVI, a minute under a lock, is switched off as soon as BoTorch is touched."""
    import botorch.acquisition.multi_objective.logei as log_hypervolume

    import orchestrator.proposal.botorch_model  # noqa: F401

    assert log_hypervolume._load_attempted
    assert log_hypervolume._C is None


def test_known_noise_is_believed():
    """A result with a large stated error moves the belief less than one with a small one."""
    X = np.array([[0.2, 0.5], [0.5, 0.5], [0.8, 0.5], [0.5, 0.1]])
    mean = np.array([10.0, 20.0, 10.0, 10.0])
    sure = fit_surrogate(Readings(X, mean, np.full(4, 0.1)))
    doubted = fit_surrogate(Readings(X, mean, np.array([0.1, 10.0, 0.1, 0.1])))
    assert doubted.posterior(X[[1]])[0][0] < sure.posterior(X[[1]])[0][0] - 2
    assert doubted.posterior(X[[1]])[1][0] > sure.posterior(X[[1]])[1][0]


def test_what_differs_from_cell_to_cell_is_learned():
    """Replicates that scatter beyond their stated errors show the spread, within a factor of two."""
    X = np.repeat(np.random.default_rng(0).random((10, 2)), 4, axis=0)
    random = np.random.default_rng(2)
    mean = 100 * X[:, 0] + 8.0 * random.standard_normal(40)
    assert 4.0 < fit_surrogate(Readings(X, mean, np.full(40, 0.5))).spread < 16.0
    exact = Readings(X, 100 * X[:, 0], np.full(40, 0.5))
    assert fit_surrogate(exact).spread < 2.0


def test_the_belief_is_calibrated():
    """About two thirds of unseen truths lie within one standard deviation, and nearly all within three."""
    within = []
    for seed in range(8):
        surrogate = fit_surrogate(readings(25, sem=4.0, seed=seed))
        X = np.random.default_rng(100 + seed).random((50, 2))
        mean, sd = surrogate.posterior(X)
        within.append(np.abs(mean - (100 + 50 * np.sin(3 * X[:, 0]) + 30 * X[:, 1])) / sd)
    share = np.concatenate(within)
    assert np.mean(share < 1) > 0.55
    assert np.mean(share < 3) > 0.97


@pytest.mark.parametrize(
    ("mean", "sem"),
    [
        ([5.0], [0.0]),
        ([5.0, 5.0, 5.0], [0.0] * 3),
        ([0.0, 0.0], [0.0] * 2),
        ([1e9, 1e9 + 1], [0.0] * 2),
        ([1e-12, 2e-12], [0.0] * 2),
    ],
)
def test_one_result_or_equal_results_give_a_sound_belief(mean, sem):
    """No division by nothing: finite mean near the data, positive standard deviation."""
    X = np.linspace(0, 1, len(mean))[:, None]
    centre, sd = fit_surrogate(Readings(X, np.array(mean), np.array(sem))).posterior(np.array([[0.3], [0.9]]))
    assert np.isfinite(centre).all()
    assert (sd > 0).all()
    assert np.abs(centre - np.mean(mean)).max() <= 3 * np.ptp(mean) + 0.2 * np.abs(mean).max() + 1e-9


def test_many_rows_come_in_parts_and_agree():
    """The posterior of more rows than are handled at once is that of each row alone."""
    surrogate, X = fit_surrogate(readings(10)), np.random.default_rng(0).random((8200, 2))
    mean, sd = surrogate.posterior(X)
    assert mean.shape == sd.shape == (8200,)
    assert surrogate.posterior(X[[8195]])[0][0] == pytest.approx(mean[8195])


def test_matern_is_a_correlation():
    """1 at distance nothing, positive definite, falling with distance."""
    X = np.linspace(0, 2, 9)[:, None]
    K = matern(X, X, np.ones(1))
    assert np.diag(K) == pytest.approx(np.ones(9), abs=1e-6)
    assert np.linalg.eigvalsh(K).min() > 0
    assert (np.diff(K[0]) < 0).all()


def _odd(scale: float, sem: float) -> Readings:
    """Twelve results and two replicates of the first that differ, in units of `scale`."""
    whole = readings(12)
    X = np.vstack([whole.X, whole.X[:1], whole.X[:1]])
    mean = np.concatenate([whole.mean, whole.mean[0] + np.array([20.0, -15.0])])
    return Readings(X, scale * mean, np.full(14, scale * sem))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sem", [0.0, 2.0])
@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e12])
def test_a_belief_knows_no_units(scale, sem):
    """Results in femtoamperes or teraohms are believed alike, replicates that differ without a stated error among them."""
    X = np.random.default_rng(3).random((6, 2))
    mean, sd = fit_surrogate(_odd(scale, sem)).posterior(X)
    plain_mean, plain_sd = fit_surrogate(_odd(1.0, sem)).posterior(X)
    assert mean / scale == pytest.approx(plain_mean, rel=1e-4)
    assert sd / scale == pytest.approx(plain_sd, rel=1e-3)


@pytest.mark.filterwarnings("error")
def test_replicates_count_by_their_errors():
    """Of two results of one candidate the better known one counts for more; one without error is believed against one with."""
    X = np.array([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9], [0.9, 0.1]])
    for sems in ([1.0, 10.0, 1.0, 1.0], [0.0, 10.0, 0.0, 0.0]):
        mean, sd = fit_surrogate(Readings(X, np.array([10.0, 20.0, 5.0, 6.0]), np.array(sems))).posterior(X[:1])
        assert 7.0 < mean[0] < 14.0
        assert 0 < sd[0] < 5.0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sem", [0.0, 3.0])
@pytest.mark.parametrize("value", [0.0, 5.0, -1e12, 1e-9])
def test_a_constant_objective_is_believed_constant(value, sem):
    """Many equal results: the mean stays there, and nothing is NaN."""
    X = np.random.default_rng(0).random((150, 3))
    sems = np.full(150, sem * abs(value))
    mean, sd = fit_surrogate(Readings(X, np.full(150, value), sems)).posterior(np.random.default_rng(1).random((9, 3)))
    assert mean == pytest.approx(np.full(9, value), rel=1e-3, abs=1e-12)
    assert np.isfinite(sd).all()
    assert (sd > 0).all()
