"""The states of a trial and the moves between them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import IllegalMoveError
from orchestrator.domain.trial import LEGAL_MOVES, TrialStatus, check_move

ENDS = {s for s in TrialStatus if s.ended}


def test_the_way_of_a_good_trial_is_legal():
    """Proposed, approved, dispatching, running, completed."""
    way = [TrialStatus.PROPOSED, TrialStatus.APPROVED, TrialStatus.DISPATCHING, TrialStatus.RUNNING, TrialStatus.COMPLETED]
    for before, after in pairwise(way):
        check_move(1, before, after)


def test_an_illegal_move_says_what_would_be_legal():
    """The message names trial, both states and the way out."""
    with pytest.raises(
        IllegalMoveError, match="trial 7 is proposed and cannot become running; from proposed it can become approved"
    ):
        check_move(7, TrialStatus.PROPOSED, TrialStatus.RUNNING)


@given(st.lists(st.sampled_from(list(TrialStatus)), max_size=12))
def test_no_walk_leaves_an_end_and_none_runs_without_dispatch(wishes):
    """However states are asked for, an ended trial stays ended and running follows dispatching or unknown alone."""
    state = TrialStatus.PROPOSED
    for wish in wishes:
        if wish in LEGAL_MOVES[state]:
            assert state not in ENDS
            assert wish is not TrialStatus.RUNNING or state in (TrialStatus.DISPATCHING, TrialStatus.UNKNOWN)
            state = wish


def test_every_state_can_be_reached_and_can_end():
    """No state is a trap and none is unreachable."""
    reached, front = {TrialStatus.PROPOSED}, [TrialStatus.PROPOSED]
    while front:
        front = [s for state in front for s in LEGAL_MOVES[state] if s not in reached]
        reached |= set(front)
    assert reached == set(TrialStatus)
