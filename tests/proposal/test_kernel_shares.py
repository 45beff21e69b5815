"""Shares from a campaign: groups of a spec become columns of the surrogate, and come back with their names."""

import numpy as np
import pytest

from orchestrator import (
    Campaign,
    CampaignSpec,
    Candidate,
    CandidateTable,
    ChoiceParameter,
    Estimate,
    Objective,
    RangeParameter,
    SearchSpace,
    SurrogateSpec,
)
from orchestrator.domain import Trial, TrialStatus
from orchestrator.proposal.beliefs import feature_groups
from orchestrator.proposal.space_encoding import SpaceEncoding
from orchestrator.proposal.table_encoding import TableEncoding

NAMES = ("a0", "a1", "b", "c0", "c1")
GROUPS = {"first": ("a0", "a1"), "second": ("b",)}


def told(space, groups, n=60, seed=0):
    """A campaign with n results of which 0.8 of the variance is from a0 and a1, 0.2 from b."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(1, n + 1):
        candidate = space.candidate(number - 1) if isinstance(space, CandidateTable) else space.complete(_drawn(rng))
        x = candidate.parameters
        mean = 8 * np.sin(3 * x["a0"] - 2 * x["a1"]) / 0.65 * 0.8**0.5 + 8 * (x["b"] - 0.5) * 12**0.5 * 0.2**0.5
        outcome = {"m": Estimate(100 + mean + 0.8 * rng.standard_normal(), sem=0.8)}
        trials.append(Trial(number, candidate, TrialStatus.COMPLETED, outcome=outcome))
    spec = CampaignSpec("shares", space, (Objective("m", "maximize"),), surrogate=SurrogateSpec(groups=groups))
    return Campaign(spec, tuple(trials))


def _drawn(rng):
    return Candidate(dict(zip(NAMES, map(float, rng.random(5)), strict=True)))


SPACE = SearchSpace([RangeParameter(name, 0.0, 1.0) for name in NAMES])


def table(n=60):
    rng = np.random.default_rng(1)
    return CandidateTable([dict(zip(NAMES, map(float, rng.random(5)), strict=True)) for _ in range(n)], NAMES)


@pytest.mark.parametrize("space", [SPACE, table()], ids=["space", "table"])
def test_a_campaign_tells_its_shares(space):
    """Named groups, what none names, and what groups do together: within 0.1 of the truth, with a standard deviation."""
    shares = told(space, GROUPS).kernel_shares()["m"]
    assert list(shares) == ["first", "second", "other", "together"]
    assert [shares[g].mean for g in shares] == pytest.approx([0.8, 0.2, 0, 0], abs=0.1)
    assert all(0 <= shares[g].sem < 0.1 for g in shares)


@pytest.mark.parametrize("groups", [{}, {"all": NAMES}])
def test_one_group_or_none_is_one_kernel(groups):
    """Nothing is reported, and the belief is the same number for number."""
    campaign, plain = told(SPACE, groups, 20), told(SPACE, {}, 20)
    assert campaign.kernel_shares() == {}
    candidates = [trial.candidate for trial in plain.trials]
    assert campaign.predict(candidates) == plain.predict(candidates)


def test_without_results_there_are_no_shares():
    """An empty campaign, and one with a single result, say nothing."""
    assert Campaign(told(SPACE, GROUPS, 0).spec).kernel_shares() == {}
    assert told(SPACE, GROUPS, 1).kernel_shares() == {}


def test_the_dossier_of_a_proposal_tells_the_shares():
    """They are on record with the decision that rested on them."""
    proposal = told(table(), GROUPS, 30).proposals(1)[0]
    assert set(proposal.decision["surrogates"]["m"]["shares"]) == {"first", "second", "other", "together"}


def test_every_column_is_in_one_group():
    """Choices and formulas read by several columns go to their group whole; what does not vary is in none."""
    salt = ChoiceParameter("salt", ["LiPF6", "LiFSI", "LiTFSI"])
    space = SearchSpace([salt, RangeParameter("c", 0.1, 2.0), RangeParameter("x", 0, 1)])
    spec = CampaignSpec("g", space, (Objective("m", "maximize"),), surrogate=SurrogateSpec(groups={"salt": ["salt", "c"]}))
    assert [(g.name, g.columns) for g in feature_groups(spec, SpaceEncoding(space))] == [("salt", (0, 1, 2, 3)), ("other", (4,))]
    rows = [{"formula": f, "t": t, "same": 1.0} for f, t in [("LiCoO2", 1.0), ("LiNiO2", 2.0), ("LiMn2O4", 3.0)]]
    formulas = CandidateTable(rows, ("formula", "t", "same"))
    groups = {"composition": ["formula"], "process": ["t"], "constant": ["same"]}
    spec = CampaignSpec("g", formulas, (Objective("m", "maximize"),), surrogate=SurrogateSpec(groups=groups))
    encoding = TableEncoding(formulas)
    found = {g.name: g.columns for g in feature_groups(spec, encoding)}
    assert set(found) == {"composition", "process"}
    assert len(found["composition"]) > 1
    assert sorted(c for columns in found.values() for c in columns) == list(range(encoding.dimension))
