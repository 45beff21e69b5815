"""What a proposer is told: what counts as settled, and how it is written down."""

from dataclasses import replace

import pytest

from orchestrator.domain import CampaignSpec, Candidate, Estimate, Objective, RangeParameter, SearchSpace, Trial, TrialStatus
from orchestrator.proposal.history import read_history

SPEC = CampaignSpec(
    name="h", space=SearchSpace((RangeParameter("x", 0.0, 1.0),)), objectives=(Objective("f", "maximize", threshold=0.0),)
)


def trials(count, running=()):
    """Trials in a row, some of which still run."""
    return [
        Trial(n, Candidate({"x": n / 1000}), TrialStatus.RUNNING)
        if n in running
        else Trial(n, Candidate({"x": n / 1000}), TrialStatus.COMPLETED, outcome={"f": Estimate(float(n))})
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize(("count", "settled"), [(63, 0), (64, 64), (75, 70), (300, 282)])
def test_the_estimates_that_came_first_are_settled_in_steps(count, settled):
    """Steps of a tenth from 64 on."""
    assert read_history(SPEC, trials(count)).settled("f") == list(range(settled))


def test_what_is_settled_stays_while_tests_end_one_after_the_other():
    """Whatever still runs, and whatever ends next: the first to end are the first."""
    ended = [replace(t, ended_h=float((t.number * 37) % 100)) for t in trials(80)]
    first = {t.number for t in sorted(ended, key=lambda t: t.ended_h)[:77]}
    known = read_history(SPEC, ended).observed("f")
    assert {known[i].number for i in read_history(SPEC, ended).settled("f")} == first
    later = [*ended, Trial(81, Candidate({"x": 0.9}), TrialStatus.RUNNING), replace(trials(82)[-1], ended_h=100.0)]
    known = read_history(SPEC, later).observed("f")
    assert {known[i].number for i in read_history(SPEC, later).settled("f")} == first


def test_the_basis_of_a_decision_stays_short():
    """Runs of trial numbers are drawn together: a dossier of ten thousand trials is a line."""
    basis = read_history(SPEC, trials(300, (90, 250))).basis()
    assert basis == {"observed": {"f": "1-89, 91-249, 251-300"}, "pending": "90, 250", "failed": ""}


@pytest.mark.parametrize(
    ("causes", "barred"), [(["device"] * 5, 0), (["solver"], 0), (["solver"] * 2, 1), ([None], 1), (["infeasible"], 1)]
)
def test_what_was_not_the_candidates_fault_does_not_bar_it(causes, barred):
    """A power cut never, a solver's failure when it comes again; anything else at once."""
    same = Candidate({"x": 0.5})
    failed = [Trial(n, same, TrialStatus.FAILED, cause=cause) for n, cause in enumerate(causes, 1)]
    assert len(read_history(SPEC, failed).failed) == barred
