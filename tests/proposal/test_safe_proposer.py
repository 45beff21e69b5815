"""Feasible first: the safe set grows from the seeds and is never left."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.decision import hypervolume_trace
from orchestrator.domain import Candidate, CandidateTable, Estimate, Objective, OutcomeConstraint, Trial, TrialStatus
from orchestrator.domain.errors import NoSafeCandidateError
from orchestrator.proposal.beliefs import fit_beliefs
from orchestrator.proposal.history import read_history
from orchestrator.proposal.safe_proposer import ANCHORS, SafeProposer
from orchestrator.proposal.safe_set import BETA, beta_of, fit_safe_set
from orchestrator.proposal.sobol import sobol_candidates
from orchestrator.proposal.space_encoding import SpaceEncoding
from tests.proposal.landscape import LIMIT, RATES, measured, spec, told

REFERENCE = {"charge_time_min": 25.0, "cycle_life": 300.0}


def closed_loop(campaign_spec, trials=24, channels=4):
    """An asynchronous campaign: the oldest of the running tests ends, and a new one starts. Gives violations and hypervolume."""
    random, proposer = np.random.default_rng(campaign_spec.seed + 50), SafeProposer(campaign_spec)
    known, running, violations = [], [], 0
    while len(known) < trials or running:
        wanted = min(channels - len(running), trials - len(known))
        for proposal in proposer.propose(wanted, read_history(campaign_spec, known, (), REFERENCE)) if wanted else ():
            outcome, true = measured(proposal.candidate, random)
            violations += true > LIMIT
            known.append(Trial(len(known) + 1, proposal.candidate, TrialStatus.RUNNING))
            running.append((len(known) - 1, outcome))
        at, outcome = running.pop(0)
        known[at] = replace(known[at], status=TrialStatus.COMPLETED, outcome=outcome)
    outcomes = [t.outcome for t in known]
    return violations, hypervolume_trace(campaign_spec.objectives, campaign_spec.constraints, outcomes, REFERENCE)[-1]


@pytest.mark.parametrize("seed", range(2))
def test_no_test_passes_the_limit_and_the_front_beats_sobol(seed):
    """24 trials on a space a third of which is unsafe: no violation, and more hypervolume than 24 Sobol points."""
    campaign_spec = spec(seed=seed)
    violations, volume = closed_loop(campaign_spec)
    random = np.random.default_rng(seed)
    sobol = [measured(c, random) for c in sobol_candidates(campaign_spec.space, 24, seed)]
    baseline = hypervolume_trace(campaign_spec.objectives, campaign_spec.constraints, [o for o, _ in sobol], REFERENCE)[-1]
    assert sum(true > LIMIT for _, true in sobol) >= 5
    assert violations == 0
    assert volume > baseline


def test_it_starts_with_the_seeds_each_at_most_twice():
    """Before anything was measured only the seeds are safe; the rest of the channels wait."""
    campaign_spec = spec()
    found = [p.candidate for p in SafeProposer(campaign_spec).propose(8, read_history(campaign_spec, ()))]
    assert found == [*campaign_spec.safe_candidates, *campaign_spec.safe_candidates]
    assert SafeProposer(campaign_spec).propose(3, read_history(campaign_spec, (), found)) == []


def test_every_proposal_keeps_its_pessimistic_bound():
    """The bound of the safe set holds at each proposal, also for several at once."""
    campaign_spec = spec(seed=4)
    trials = told(campaign_spec, [*campaign_spec.safe_candidates] * 2)
    history = read_history(campaign_spec, trials, (), REFERENCE)
    found = SafeProposer(campaign_spec).propose(4, history)
    encoding = SpaceEncoding(campaign_spec.space)
    assert fit_safe_set(history, encoding).holds(encoding.encode([p.candidate for p in found])).all()
    assert len({p.candidate for p in found}) == 4


def test_where_nothing_was_measured_nothing_is_safe():
    """The prior mean stands at the limit: far from every test the bound is past it."""
    campaign_spec = spec()
    history = read_history(campaign_spec, told(campaign_spec, campaign_spec.safe_candidates))
    encoding = SpaceEncoding(campaign_spec.space)
    assert not fit_safe_set(history, encoding).holds(np.ones((1, 3)))[0]


def test_an_empty_safe_set_asks_for_a_person():
    """When even the seeds turn out unsafe, nothing is proposed and nothing is fallen back to."""
    campaign_spec = spec()
    hot = {"charge_time_min": Estimate(19.0), "cycle_life": Estimate(900.0), "temperature_max_degC": Estimate(40.0, 0.1)}
    trials = [replace(t, outcome=hot) for t in told(campaign_spec, [*campaign_spec.safe_candidates] * 2)]
    with pytest.raises(NoSafeCandidateError, match=r"no candidate keeps temperature_max_degC <= 36\.5 with confidence"):
        SafeProposer(campaign_spec).propose(1, read_history(campaign_spec, trials))


def test_lower_limits_and_several_limits_hold_jointly():
    """A lower bound is a wall as well, and a candidate must keep all of them."""
    walls = (
        OutcomeConstraint("temperature_max_degC", upper=LIMIT, safe=True),
        OutcomeConstraint("cycle_life", lower=400.0, safe=True),
    )
    campaign_spec = spec(constraints=walls)
    trials = told(campaign_spec, [*campaign_spec.safe_candidates] * 2)
    history = read_history(campaign_spec, trials, (), REFERENCE)
    encoding = SpaceEncoding(campaign_spec.space)
    safe = fit_safe_set(history, encoding)
    assert [side.sign for side in safe.sides] == [1.0, -1.0]
    X = encoding.encode([p.candidate for p in SafeProposer(campaign_spec).propose(2, history)])
    assert all((side.margin(X) >= 0).all() for side in safe.sides)


def test_tables_have_a_safe_set_too():
    """Rows are proposed only if their bound holds."""
    rows = tuple({"id": f"r{i}", **{name: 2.5 + (i * k) % 11 * 0.5 for k, name in enumerate(RATES, 1)}} for i in range(40))
    table = CandidateTable(rows, RATES)
    campaign_spec = spec(space=table, safe_seed=({"id": "r0"}, {"id": "r11"}))
    history = read_history(campaign_spec, told(campaign_spec, [*campaign_spec.safe_candidates] * 2), (), REFERENCE)
    found = SafeProposer(campaign_spec).propose(2, history)
    encoding = SafeProposer(campaign_spec).encoding
    assert fit_safe_set(history, encoding).holds(encoding.encode([p.candidate for p in found])).all()


def test_the_same_history_gives_the_same_proposals():
    """Seeds come from the campaign and what is known, from nothing else."""
    campaign_spec = spec(seed=9)
    history = read_history(campaign_spec, told(campaign_spec, campaign_spec.safe_candidates), (), REFERENCE)
    once, again = (SafeProposer(campaign_spec).propose(2, history) for _ in range(2))
    assert [p.candidate for p in once] == [p.candidate for p in again]


def test_a_real_spread_between_cells_keeps_the_next_cell_safe():
    """Cells that differ by 0.4 degC widen the bound about as much, however small their stated error."""
    campaign_spec, random = spec(), np.random.default_rng(3)
    cells = [c for c in campaign_spec.safe_candidates for _ in range(5)]

    def with_spread(sd):
        trials = list(told(campaign_spec, cells))
        for i, trial in enumerate(trials):
            heat = trial.outcome["temperature_max_degC"]
            spoilt = replace(heat, mean=heat.mean + sd * random.standard_normal(), sem=0.02)
            trials[i] = replace(trial, outcome={**trial.outcome, "temperature_max_degC": spoilt})
        (side,) = fit_safe_set(read_history(campaign_spec, trials), SpaceEncoding(campaign_spec.space)).sides
        return side.surrogate.spread

    assert 0.25 < with_spread(0.4) < 0.7
    assert with_spread(0.0) < 0.2


def test_few_readings_make_the_bound_stand_further_off():
    """Student's quantile: beta falls with the number of readings towards its level, never below."""
    betas = [beta_of(n) for n in (1, 4, 10, 40, 1000)]
    assert betas == sorted(betas, reverse=True)
    assert betas[-1] == pytest.approx(BETA, abs=0.02)
    assert min(betas) > BETA


def test_pending_tests_shrink_no_bound():
    """What is running has told nothing: the safe set is the same with and without it."""
    campaign_spec = spec(seed=4)
    trials = told(campaign_spec, [*campaign_spec.safe_candidates] * 2)
    proposer, encoding = SafeProposer(campaign_spec), SpaceEncoding(campaign_spec.space)
    history = read_history(campaign_spec, trials, (), REFERENCE)
    first = [p.candidate for p in proposer.propose(3, history)]
    waiting = read_history(campaign_spec, trials, first, REFERENCE)
    X = np.random.default_rng(0).random((50, 3))
    assert fit_safe_set(waiting, encoding).margin(X) == pytest.approx(fit_safe_set(history, encoding).margin(X))
    second = [p.candidate for p in proposer.propose(3, waiting)]
    assert fit_safe_set(history, encoding).holds(encoding.encode(second)).all()
    assert not set(first) & set(second)


def test_of_many_tested_points_the_sample_is_dense_around_those_that_matter():
    """Few points are all looked around; of many the seeds, the best safe one and the one nearest to the limit, and no more."""
    campaign_spec = spec(objectives=(Objective("cycle_life", "maximize"),))
    rates = np.random.default_rng(5).uniform(2.5, 6.0, (70, 3))
    tested = [Candidate(dict(zip(RATES, map(float, row), strict=True))) for row in rates]
    proposer, encoding = SafeProposer(campaign_spec), SpaceEncoding(campaign_spec.space)

    def anchors(count):
        history = read_history(campaign_spec, told(campaign_spec, tested[:count]))
        beliefs, safe = fit_beliefs(history, encoding), fit_safe_set(history, encoding)
        return proposer._anchors(history, beliefs, safe), beliefs, safe

    assert anchors(40)[0] == [*tested[:40], *campaign_spec.safe_candidates]
    found, beliefs, safe = anchors(70)
    X = encoding.encode(tested)
    margin, lives = safe.margin(X), np.array([b["cycle_life"].mean for b in beliefs.predict(X)])
    assert len(found) == ANCHORS
    assert {*campaign_spec.safe_candidates} < {*found}
    assert tested[int(np.argmax(np.where(margin >= 0, lives, -np.inf)))] in found
    assert tested[int(np.argmin(np.where(margin >= 0, margin, np.inf)))] in found
    assert tested[int(np.argmin(margin))] not in found


def test_the_dossier_keeps_what_was_believed_of_every_safe_metric():
    """Mean, sd with the spread, limit and beta stand in the decision; their bound keeps the limit."""
    campaign_spec = spec(seed=4)
    history = read_history(campaign_spec, told(campaign_spec, [*campaign_spec.safe_candidates] * 2), (), REFERENCE)
    for proposal in SafeProposer(campaign_spec).propose(2, history):
        (belief,) = proposal.decision["safety"]
        assert belief["metric"] == "temperature_max_degC"
        assert belief["mean"] + belief["beta"] * belief["sd"] <= belief["upper"] + 1e-9
