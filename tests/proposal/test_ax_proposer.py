"""Generation through Ax: constrained, single- and multi-objective, with pending trials."""

import pytest
from ax.core.observation import ObservationFeatures

from orchestrator.domain import (
    Candidate,
    ChoiceParameter,
    Estimate,
    IntegerParameter,
    LinearConstraint,
    Objective,
    OutcomeConstraint,
    RangeParameter,
    SearchSpace,
    TrialStatus,
)
from orchestrator.domain.errors import NeedsPersonError
from orchestrator.domain.trial import Trial
from orchestrator.proposal.ax_proposer import AxProposer, BeliefAdapter, ax_experiment
from orchestrator.proposal.history import read_history
from orchestrator.proposal.sobol import sobol_candidates
from orchestrator.proposal.space_encoding import SpaceEncoding
from orchestrator.proposal.strategy import proposer_for
from tests.proposal.landscape import SPACE, spec, told

ONE = {"objectives": (Objective("cycle_life", "maximize"),), "constraints": (), "safe_seed": ()}
CONSTRAINED = SearchSpace(SPACE.parameters, (LinearConstraint("c1 >= c2"),))


def campaign(**changes):
    return spec(**{**ONE, "space": CONSTRAINED, **changes})


@pytest.mark.parametrize(("strategy", "said"), [("auto", ("noisy improvement", "BeliefAdapter")), ("ax", ("BoTorch", "BoTorch"))])
def test_auto_generates_through_ax_and_says_so(monkeypatch, strategy, said):
    """With neither a table nor a safe constraint Ax makes the candidates: from our beliefs, or as it ships with "ax"."""
    from ax.adapter.base import Adapter

    campaign_spec, calls = campaign(strategy=strategy), []
    gen = Adapter.gen
    monkeypatch.setattr(Adapter, "gen", lambda self, *a, **k: calls.append(self) or gen(self, *a, **k))
    proposer = proposer_for(campaign_spec)
    assert isinstance(proposer, AxProposer)
    first = proposer.propose(2, read_history(campaign_spec, ()))
    assert [p.origin for p in first] == ["Sobol", "Sobol"]
    history = read_history(campaign_spec, told(campaign_spec, sobol_candidates(campaign_spec.space, 8, 1)))
    found = proposer.propose(1, history)
    assert [(p.origin, p.decision["generator"]) for p in found] == [said]
    assert len(calls) == 2
    assert not campaign_spec.space.violations(found[0].candidate)


def test_what_ax_says_of_candidates_is_what_the_campaign_believes():
    """Ax's own predictions come from the campaign's surrogates."""
    campaign_spec = campaign(constraints=(OutcomeConstraint("temperature_max_degC", upper=36.5),))
    history = read_history(campaign_spec, told(campaign_spec, sobol_candidates(campaign_spec.space, 8, 1)))
    encoding = SpaceEncoding(campaign_spec.space)
    adapter = BeliefAdapter(ax_experiment(history, campaign_spec.space), history, encoding)
    candidate = sobol_candidates(campaign_spec.space, 1, 5)[0]
    means, covariances = adapter.predict([ObservationFeatures(dict(candidate.parameters))])
    believed = AxProposer(campaign_spec).predict([candidate], history)[0]
    for metric, estimate in believed.items():
        assert (means[metric][0], covariances[metric][metric][0]) == pytest.approx((estimate.mean, estimate.sem**2))


@pytest.mark.timeout(120)
def test_several_objectives_with_constraint_and_pending_trials():
    """Candidates keep bounds and linear constraints, and keep away from what is pending."""
    campaign_spec = campaign(
        objectives=(
            Objective("charge_time_min", "minimize", threshold=25.0),
            Objective("cycle_life", "maximize", threshold=300.0),
        ),
        constraints=(OutcomeConstraint("temperature_max_degC", upper=36.5),),
    )
    known = told(campaign_spec, sobol_candidates(campaign_spec.space, 8, 1))
    waiting = sobol_candidates(campaign_spec.space, 1, 5)
    found = AxProposer(campaign_spec).propose(
        2, read_history(campaign_spec, known, waiting, {"charge_time_min": 25.0, "cycle_life": 300.0})
    )
    assert len({p.candidate for p in found} - set(waiting)) == 2
    assert not [v for p in found for v in campaign_spec.space.violations(p.candidate)]
    assert set(found[0].expected) == set(campaign_spec.metrics)


def test_mixed_spaces_give_whole_numbers_and_choices():
    """Integers come as integers, choices as one of their values."""
    space = SearchSpace((RangeParameter("c1", 2.5, 8.0), IntegerParameter("n", 1, 5), ChoiceParameter("salt", ("A", "B", "C"))))
    campaign_spec = campaign(space=space)
    candidates = sobol_candidates(space, 6, 1)
    random = [Trial(i, c, TrialStatus.COMPLETED, outcome={"cycle_life": _life(c)}) for i, c in enumerate(candidates, 1)]
    for proposal in AxProposer(campaign_spec).propose(2, read_history(campaign_spec, random)):
        assert not space.violations(proposal.candidate)
        assert isinstance(proposal.candidate.parameters["n"], int)


def _life(candidate):
    return Estimate(
        1000 / candidate.parameters["c1"] + 50 * candidate.parameters["n"] + 100 * (candidate.parameters["salt"] == "B"), 5.0
    )


def test_replicates_and_missing_metrics_are_attached():
    """A candidate tested twice gives two observations; a stopped test teaches what it measured."""
    campaign_spec = campaign(constraints=(OutcomeConstraint("temperature_max_degC", upper=36.5),))
    candidates = sobol_candidates(campaign_spec.space, 3, 1)
    known = list(told(campaign_spec, [*candidates, candidates[0]]))
    known.append(Trial(5, sobol_candidates(campaign_spec.space, 5, 2)[4], TrialStatus.EARLY_STOPPED,
                       outcome={"temperature_max_degC": known[0].outcome["temperature_max_degC"]}))  # fmt: skip
    data = ax_experiment(read_history(campaign_spec, known), campaign_spec.space).lookup_data().df
    assert list(data.groupby("metric_name").size().sort_index()) == [4, 5]


def test_the_same_history_gives_the_same_proposals():
    """To 1e-6, whatever ran before."""
    campaign_spec = campaign(seed=3)
    history = read_history(campaign_spec, told(campaign_spec, sobol_candidates(campaign_spec.space, 7, 1)))
    once, again = (AxProposer(campaign_spec).propose(1, history)[0].candidate.parameters for _ in range(2))
    assert once == pytest.approx(again, abs=1e-6)


def test_a_design_under_constraints_repeats_no_candidate():
    """One at a time, as channels become free: rejected points of the sequence do not bring earlier ones back."""
    campaign_spec, known = campaign(seed=1), []
    for number in range(1, 6):
        found = AxProposer(campaign_spec).propose(1, read_history(campaign_spec, known))
        known.append(Trial(number, found[0].candidate, TrialStatus.RUNNING))
    assert len({trial.candidate for trial in known}) == 5


COIN = SearchSpace((ChoiceParameter("x", ("a", "b")),))
SLURRY = SearchSpace(
    (RangeParameter("li", 0.0, 1.0), RangeParameter("ni", 0.0, 1.0), RangeParameter("co", 0.0, 1.0)), ("li + ni + co == 1",)
)


def tried(space, candidates, status=TrialStatus.COMPLETED):
    outcome = {"cycle_life": Estimate(400.0, 5.0)} if status is TrialStatus.COMPLETED else {}
    return [Trial(i, space.complete(c), status, outcome=outcome) for i, c in enumerate(candidates, 1)]


@pytest.mark.parametrize("strategy", ["auto", "expected_improvement"])
def test_a_space_of_fewer_points_than_wanted_is_used_up_then_repeats(strategy):
    """Two candidates, five wanted: both, then again; with both known, either; with both failed, a person is asked."""
    campaign_spec = campaign(space=COIN, strategy=strategy)
    proposer, both = proposer_for(campaign_spec), [Candidate({"x": "a"}), Candidate({"x": "b"})]
    found = [p.candidate for p in proposer.propose(5, read_history(campaign_spec, ()))]
    assert len(found) == 5
    assert set(found[:2]) == set(both)
    assert {p.candidate for p in proposer.propose(1, read_history(campaign_spec, tried(COIN, both)))} < set(both)
    one_failed = read_history(campaign_spec, tried(COIN, both[:1], TrialStatus.FAILED))
    assert {p.candidate for p in proposer.propose(3, one_failed)} == {both[1]}
    with pytest.raises(NeedsPersonError, match="each has failed"):
        proposer.propose(1, read_history(campaign_spec, tried(COIN, both, TrialStatus.FAILED)))


@pytest.mark.parametrize("strategy", ["auto", "expected_improvement"])
def test_a_design_drawn_one_by_one_is_the_design_drawn_at_once(strategy):
    """In a mixture too: the sequence goes on where the history stands, past what failed."""
    campaign_spec = campaign(space=SLURRY, strategy=strategy, seed=2)
    proposer = proposer_for(campaign_spec)
    at_once = [p.candidate for p in proposer.propose(4, read_history(campaign_spec, ()))]
    one_by_one = []
    for _ in range(4):
        history = read_history(campaign_spec, tried(SLURRY, one_by_one, TrialStatus.FAILED))
        one_by_one.append(proposer.propose(1, history)[0].candidate)
    assert one_by_one == at_once
    known = read_history(campaign_spec, tried(SLURRY, at_once[1:2], TrialStatus.FAILED))
    assert at_once[1] not in {p.candidate for p in proposer.propose(3, known)}
