"""The noisy expected improvement agrees with BoTorch's estimates, and keeps a batch apart."""

import numpy as np
import pytest
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
from botorch.models import ModelListGP
from botorch.sampling import SobolQMCNormalSampler

from orchestrator.domain import (
    CampaignSpec,
    Estimate,
    Objective,
    OutcomeConstraint,
    RangeParameter,
    SearchSpace,
    Trial,
    TrialStatus,
)
from orchestrator.proposal.acquisition import NoisyImprovement
from orchestrator.proposal.beliefs import fit_beliefs
from orchestrator.proposal.botorch_model import botorch_model
from orchestrator.proposal.history import read_history
from orchestrator.proposal.sobol import sobol_candidates, sobol_values
from orchestrator.proposal.space_encoding import SpaceEncoding

SPACE = SearchSpace(tuple(RangeParameter(name, 0.0, 1.0) for name in "abc"))


def known(objectives: int, constraints: tuple[OutcomeConstraint, ...] = ()):
    """A history of sixteen noisy tests with so many objectives, its beliefs, its points, and points to choose from."""
    goals = tuple(Objective(f"f{i}", "maximize", threshold=-1.3) for i in range(objectives))
    spec, random = CampaignSpec("known", SPACE, goals, constraints), np.random.default_rng(0)
    trials = []
    for number, candidate in enumerate(sobol_candidates(SPACE, 16, 1), 1):
        x = np.array(list(candidate.parameters.values()))
        outcome = {f"f{i}": -((x - np.eye(3)[i]) ** 2).sum() for i in range(objectives)} | {"g": x.sum()}
        told = {m: Estimate(float(v + 0.05 * random.standard_normal()), 0.05) for m, v in outcome.items()}
        trials.append(Trial(number, candidate, TrialStatus.COMPLETED, outcome=told))
    history, encoding = read_history(spec, trials), SpaceEncoding(SPACE)
    X = encoding.unit_from_values(sobol_values(encoding, 256, 5))
    return history, fit_beliefs(history, encoding), encoding.encode([p.candidate for p in history.points]), X


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_it_estimates_what_botorch_estimates(objectives):
    """QLogNEI and qLogNEHVI rank and value the candidates alike."""
    history, beliefs, baseline, X = known(objectives)
    ours = NoisyImprovement(history, beliefs, baseline, 0)
    models = ModelListGP(*(botorch_model(beliefs.surrogates[o.metric]) for o in history.spec.objectives))
    sampler, tested = SobolQMCNormalSampler(torch.Size([128]), seed=0), torch.from_numpy(baseline)
    if objectives == 1:
        theirs = qLogNoisyExpectedImprovement(models.models[0], tested, sampler=sampler, prune_baseline=False)
    else:
        theirs = qLogNoisyExpectedHypervolumeImprovement(
            models, [g.reference for g in ours.goals], tested, sampler=sampler, objective=IdentityMCMultiOutputObjective()
        )
    with torch.no_grad():
        value = theirs(torch.from_numpy(X)[:, None]).exp().numpy()
    assert np.corrcoef(ours(X), value)[0, 1] > 0.99
    assert value[ours(X).argmax()] > 0.9 * value.max()


def test_a_batch_keeps_apart_and_away_from_what_is_pending():
    """What is chosen or pending promises nothing a second time."""
    history, beliefs, baseline, X = known(1)
    acquisition, chosen = NoisyImprovement(history, beliefs, baseline, 0), []
    for _ in range(3):
        chosen.append(int(np.argmax(acquisition(X))))
        acquisition = acquisition.joined_by(X[chosen[-1:]])
    gap = np.linalg.norm(X[chosen][:, None] - X[chosen][None], axis=2)[np.triu_indices(3, 1)]
    assert gap.min() > 0.05
    again = NoisyImprovement(history, beliefs, np.vstack([baseline, X[chosen[:1]]]), 0)(X)
    assert again[chosen[0]] < 0.2 * NoisyImprovement(history, beliefs, baseline, 0)(X)[chosen[0]]


def test_constraints_weigh_by_their_probability():
    """Where the constraint is surely broken nothing is promised."""
    history, beliefs, baseline, X = known(2, (OutcomeConstraint("g", upper=1.0),))
    value = NoisyImprovement(history, beliefs, baseline, 0)(X)
    assert value[X.sum(axis=1) > 1.5].max() < 1e-2 * value.max()
    assert X[value.argmax()].sum() < 1.2


def test_a_reference_point_out_of_reach_still_orders_candidates():
    """Improvements that underflow leave the nearest to the reference point in front, not an arbitrary first row."""
    history, beliefs, baseline, X = known(2)
    far = NoisyImprovement(read_again(history, {"f0": 90.0, "f1": 90.0}), beliefs, baseline, 0)(X)
    assert (far > 0).all()
    assert len(np.unique(far)) > 100


def read_again(history, reference_point):
    from dataclasses import replace

    return replace(history, reference_point=reference_point)


def test_the_same_seed_gives_the_same_values():
    """Nothing is drawn from a global generator."""
    history, beliefs, baseline, X = known(2)
    np.random.seed(1)  # noqa: NPY002 - the global state is what must not matter
    once = NoisyImprovement(history, beliefs, baseline, 7)(X)
    np.random.seed(2)  # noqa: NPY002
    assert (NoisyImprovement(history, beliefs, baseline, 7)(X) == once).all()
