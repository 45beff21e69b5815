"""A space as a cube and back, without loss."""

import numpy as np
import pytest

from orchestrator.domain import Candidate, ChoiceParameter, IntegerParameter, RangeParameter, SearchSpace
from orchestrator.proposal.pool import sampled_values, space_pool, spread_rows
from orchestrator.proposal.sobol import sobol_candidates, sobol_values
from orchestrator.proposal.space_encoding import SpaceEncoding

SPACE = SearchSpace(
    (
        RangeParameter("a", 2.0, 4.0),
        RangeParameter("b", 1.0, 100.0, log=True),
        IntegerParameter("k", 1, 5),
        ChoiceParameter("salt", ("A", "B", "C")),
        ChoiceParameter("grade", ("low", "mid", "high"), ordered=True),
    ),
    ("a >= k - 2",),
)
ENCODING = SpaceEncoding(SPACE)


def test_columns_are_what_a_kernel_should_read():
    """Ranges scaled, logarithms taken, ordered choices by rank, unordered ones a column each."""
    x = ENCODING.encode([Candidate({"a": 3.0, "b": 10.0, "k": 2, "salt": "B", "grade": "high"})])[0]
    assert x == pytest.approx([0.5, 0.5, 0.25, 0.0, 0.5, 0.0, 1.0])
    assert ENCODING.dimension == 7


def test_there_and_back_is_the_same_candidate():
    """Values, latent positions and candidates agree."""
    candidates = sobol_candidates(SPACE, 32, seed=5)
    V = ENCODING.values(candidates)
    assert [ENCODING.candidate(row) for row in V] == candidates
    again = ENCODING.values_from_latent(ENCODING.latent_from_values(V))
    assert again == pytest.approx(V)


def test_feasible_means_what_the_domain_means():
    """The mask agrees with the space's own check."""
    U = np.random.default_rng(0).random((200, 5))
    V = ENCODING.values_from_latent(U)
    said = [not SPACE.violations(ENCODING.candidate(row)) for row in V]
    assert ENCODING.feasible(V).tolist() == said
    assert 0 < sum(said) < 200


def test_a_choice_no_longer_offered_teaches_without_harm():
    """A trial of an amended spec keeps its other parameters' meaning."""
    x = ENCODING.encode([Candidate({"a": 3.0, "b": 10.0, "k": 2, "salt": "Z", "grade": "high"})])[0]
    assert x[3:6].tolist() == [0.0, 0.0, 0.0]


def test_a_pool_holds_anchors_and_their_neighbours_and_no_barred_candidate():
    """Perturbations are feasible and distinct, and what failed is not offered again."""
    anchors = sobol_candidates(SPACE, 3, seed=9)
    V = sampled_values(ENCODING, 64, 0, anchors)
    pool = space_pool(ENCODING, V, barred=anchors[:1])
    offered = [pool.candidate(i) for i in range(len(pool.X))]
    assert len(set(offered)) == len(offered) > 100
    assert anchors[0] not in offered
    assert anchors[1] in offered
    assert not [v for c in offered for v in SPACE.violations(c)]


def test_rows_are_spread_evenly_and_a_longer_list_begins_with_the_shorter():
    """Eight of a line's hundred rows leave no gap of more than a third, and none is taken twice."""
    X = np.linspace(0, 1, 100)[:, None]
    rows = spread_rows(X, 8, seed=1)
    assert len(set(rows)) == 8
    assert spread_rows(X, 5, seed=1) == rows[:5]
    assert np.diff(np.sort(np.r_[0, rows, 99])).max() <= 34
    assert not set(spread_rows(X, 8, seed=1, taken=rows)) & set(rows)


@pytest.mark.parametrize("size", [1.0, 1e8])
def test_an_equality_over_numbers_of_any_size_leaves_many_points(size):
    """What float64 cannot tell from equal is equal; and what is drawn is in the space."""
    space = SearchSpace(tuple(RangeParameter(name, 0.0, size) for name in "abc"), (f"a + 2*b - c == {size / 10!r}",))
    encoding = SpaceEncoding(space)
    V = sobol_values(encoding, 32, seed=1)
    assert len(np.unique(V, axis=0)) == 32
    assert [v for row in V for v in space.violations(encoding.candidate(row))] == []


def test_every_barred_candidate_is_left_out():
    """However many there are."""
    V = sobol_values(ENCODING, 300, seed=2)
    assert len(space_pool(ENCODING, V, [ENCODING.candidate(row) for row in V[50:]]).X) == 50
