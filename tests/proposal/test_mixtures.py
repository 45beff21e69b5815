"""Points of spaces with equalities, conditions, context and held values: inside, even, and one point where they mean one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain import (
    Candidate,
    ChoiceParameter,
    ContextParameter,
    DerivedParameter,
    IntegerParameter,
    LinearConstraint,
    RangeParameter,
    SearchSpace,
)
from orchestrator.proposal.mixtures import broken_sticks, compositions, restored
from orchestrator.proposal.narrow_space import walk
from orchestrator.proposal.pool import perturbed, sampled_values, space_pool
from orchestrator.proposal.sobol import sobol_candidates, sobol_values
from orchestrator.proposal.space_encoding import SpaceEncoding


def ranges(names: str, upper: float = 1.0) -> tuple[RangeParameter, ...]:
    return tuple(RangeParameter(name, 0.0, upper) for name in names)


PULSE = ChoiceParameter("pulse", ("no", "yes", "both"))
SIMPLEX = SearchSpace(ranges("abc"), ("a + b + c == 1",))
CAPPED = SearchSpace(ranges("abc", 0.5), ("a + b + c == 1",))
EVERYTHING = SearchSpace(
    (
        *ranges("abc"),
        PULSE,
        RangeParameter("rate", 1.0, 100.0, log=True, only_if={"pulse": ["yes", "both"]}),
        ChoiceParameter("shape", ("square", "sine"), only_if={"pulse": "yes"}),
        IntegerParameter("periods", 1, 6, only_if={"shape": "sine"}),
        ChoiceParameter("grade", (1, 2, 3), ordered=True, only_if={"pulse": "no"}),
        ContextParameter("room", 15, 45, value=30),
        RangeParameter("chamber", 20, 40, shared=True),
        DerivedParameter("double", "2*rate", only_if={"pulse": ["yes", "both"]}),
    ),
    ("a + b + c == 1", "rate + 0.1*room <= 53", LinearConstraint("b >= 0.2", only_if={"pulse": "no"}), "rate >= periods"),
)
DOPED = SearchSpace(
    (ChoiceParameter("doped", ("no", "yes")), *ranges("ab"), RangeParameter("c", 0.05, 0.2, only_if={"doped": "yes"})),
    ("a + b + c == 1", LinearConstraint("a + b == 1", only_if={"doped": "no"})),
)
SPACES = {
    "simplex": SIMPLEX,
    "capped": CAPPED,
    "everything": EVERYTHING,
    "doped": DOPED,
    "held": EVERYTHING.holding({"pulse": "yes", "chamber": 25.0, "a": 0.25, "room": 40.0}),
    "crossing": SearchSpace(ranges("abcde"), ("a + b + c == 1", "c + d + e == 1", "a >= d")),
    "whole": SearchSpace(
        (*ranges("ab"), IntegerParameter("k", 0, 5), ChoiceParameter("q", (1.0, 2.5))), ("a + 3*b + k + q == 5",)
    ),
    "log": SearchSpace((RangeParameter("a", 1e-3, 1, log=True), *ranges("b")), ("a + b == 1",)),
    "conditional walk": SearchSpace(
        (*ranges("ab"), PULSE, RangeParameter("rate", 0, 5, only_if={"pulse": "yes"}), IntegerParameter("k", 1, 3)),
        ("a - b == 0.1*k", "rate + 3*b == 2"),
    ),
}


def outside(space: SearchSpace, V: np.ndarray) -> list[str]:
    encoding = SpaceEncoding(space)
    return [v for row in V for v in space.violations(encoding.candidate(row))]


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_point_drawn_or_moved_is_in_the_space(space):
    """Samples and perturbations keep every rule, sums to rounding, and carry the present and held values."""
    encoding = SpaceEncoding(space)
    V = sobol_values(encoding, 64, seed=3)
    near = perturbed(encoding, V[:12], seed=5)
    assert len(near) > 100
    for points in (V, near):
        assert outside(space, points[:200]) == []
        assert np.abs(encoding.excess(points)[:, encoding.equalities]).max() <= 1e-9
    for row in (*V[:10], *near[:10]):
        stated = encoding.candidate(row).parameters
        assert all(stated[name] == value for name, value in space.present.items() if name in stated)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["everything", "doped", "capped", "held"]), st.integers(0, 2**31 - 1))
def test_points_are_inside_whatever_the_seed(name, seed):
    """So is everything refined around told points that lie off the sum by a person's rounding."""
    space = SPACES[name]
    encoding = SpaceEncoding(space)
    told = [
        Candidate({n: round(v, 5) if isinstance(v, float) else v for n, v in c.parameters.items()})
        for c in sobol_candidates(space, 3, seed)
    ]
    pool = space_pool(encoding, sampled_values(encoding, 16, seed, told))
    assert [v for i in range(len(pool.X)) for v in space.violations(pool.candidate(i))] == []


@pytest.mark.parametrize("draw", [sobol_values, walk])
def test_a_composition_is_even_over_its_simplex(draw):
    """Means and variances of a flat Dirichlet, a corner's share, and no hole."""
    V = draw(SpaceEncoding(SIMPLEX), 2048, 1)
    assert V.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.02)
    assert V.var(axis=0) == pytest.approx([1 / 18] * 3, abs=0.006)
    assert (V > 0.5).mean(axis=0) == pytest.approx([0.25] * 3, abs=0.03)


def test_both_samplers_agree_where_bounds_cut_the_simplex():
    """The mapped sequence and the walk have the same means and spreads."""
    mapped, walked = sobol_values(SpaceEncoding(CAPPED), 2048, 1), walk(SpaceEncoding(CAPPED), 2048, 1)
    assert mapped.mean(axis=0) == pytest.approx(walked.mean(axis=0), abs=0.015)
    assert mapped.std(axis=0) == pytest.approx(walked.std(axis=0), abs=0.015)


def test_shares_of_a_stick_sum_to_one():
    """Also of one share, and at the cube's edges."""
    for U in (np.zeros((1, 4)), np.ones((1, 4)), np.full((1, 1), 0.3), np.random.default_rng(0).random((50, 6))):
        shares = broken_sticks(U)
        assert shares.sum(axis=1) == pytest.approx(np.ones(len(U)), abs=1e-12)
        assert (shares >= 0).all()


def test_what_is_moved_back_onto_a_sum_moves_little():
    """The nearest point in shares of the ranges' widths; at a bound the others make up."""
    encoding = SpaceEncoding(SIMPLEX)
    V = restored(encoding, np.array([[0.5, 0.3, 0.5], [1.4, -0.2, 0.1], [0.2, 0.3, 0.5]]))
    assert pytest.approx(np.array([[0.4, 0.2, 0.4], [0.95, 0.0, 0.05], [0.2, 0.3, 0.5]])) == V


def test_what_is_no_composition_is_walked():
    """Crossing sums, whole numbers and signs that differ have no map from the cube."""
    assert [len(compositions(SpaceEncoding(SPACES[n])) or ()) for n in ("simplex", "doped", "held")] == [1, 2, 1]
    assert [compositions(SpaceEncoding(SPACES[n])) for n in ("crossing", "whole", "log", "conditional walk")] == [None] * 4


def test_a_walk_goes_on_where_it_stopped_and_reaches_every_whole_number():
    """More points begin with the fewer; integers between their bounds are not left out."""
    space = SPACES["whole"]
    assert sobol_candidates(space, 260, seed=1)[:9] == sobol_candidates(space, 9, seed=1)
    assert {c.parameters["k"] for c in sobol_candidates(space, 64, seed=1)} == {0, 1, 2, 3, 4}


def test_candidates_that_differ_only_in_what_neither_has_are_one_point():
    """A kernel reads an absent parameter as one place, whatever a stored candidate says of it."""
    encoding = SpaceEncoding(EVERYTHING)
    common = {"a": 0.2, "b": 0.3, "c": 0.5, "pulse": "no", "grade": 2, "room": 20.0, "chamber": 30.0}
    plain, stray, other = encoding.encode([Candidate({**common, **m}) for m in ({}, {"rate": 3.0, "periods": 5}, {"grade": 3})])
    assert plain.tolist() == stray.tolist()
    assert plain.tolist() != other.tolist()
    there = encoding.encode([Candidate({**{k: v for k, v in common.items() if k != "grade"}, "pulse": "both", "rate": 10.0})])[0]
    assert encoding.dimension == len(there)
    changed = {name for name in encoding.column if any(there[c] != plain[c] for c in encoding.columns_of(name))}
    assert changed == {"pulse"}  # rate = 10 is the middle of its logarithm, where it rests; grade = 2 the middle of its ranks


def test_a_point_and_its_candidate_are_the_same():
    """There and back without loss, absent parameters included."""
    encoding = SpaceEncoding(EVERYTHING)
    found = sobol_candidates(EVERYTHING, 24, seed=2)
    assert [encoding.candidate(row) for row in encoding.values(found)] == found


def test_context_in_the_past_does_not_come_back():
    """Anchors tested at another context are looked around in the present one."""
    encoding = SpaceEncoding(EVERYTHING)
    tested = [EVERYTHING.complete(Candidate({**c.parameters, "room": 17.0})) for c in sobol_candidates(EVERYTHING, 4, seed=2)]
    V = sampled_values(encoding, 32, 1, tested)
    assert set(V[:, encoding.column["room"]]) == {30.0}
