"""What a proposer is told: what counts as settled, and how it is written down."""

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


@pytest.mark.parametrize(
    ("count", "running", "settled"), [(63, (), 0), (64, (), 64), (75, (), 70), (300, (90,), 84), (300, (5,), 0)]
)
def test_what_comes_before_every_unfinished_test_is_settled_in_steps(count, running, settled):
    """Estimates after the first running test may still be joined by others; before it nothing changes."""
    assert read_history(SPEC, trials(count, running)).settled("f") == settled


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
