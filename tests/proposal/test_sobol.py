"""Quasi-random points keep every bound and constraint, repeat with their seed, and cover the space."""

import numpy as np
import pytest

from orchestrator.domain import ChoiceParameter, DerivedParameter, IntegerParameter, RangeParameter, SearchSpace
from orchestrator.proposal.sobol import sobol_candidates

BOX = SearchSpace((RangeParameter("a", 0.0, 1.0), RangeParameter("b", 0.0, 1.0)))
MIXED = SearchSpace(
    (
        RangeParameter("a", 0.0, 1.0),
        RangeParameter("b", 1.0, 100.0, log=True),
        IntegerParameter("k", 1, 5),
        ChoiceParameter("salt", ("A", "B", "C")),
        ChoiceParameter("q", (1.0, 2.5, 7.0)),
        DerivedParameter("sum", "a + k"),
    ),
    ("a >= 0.5", "k + q <= 5", "sum <= 4.2"),
)
# Rejection from the box finds no point of this one.
SLIVER = SearchSpace(
    (
        RangeParameter("a", 0.0, 1.0),
        RangeParameter("b", 0.0, 1.0),
        IntegerParameter("k", 1, 5),
        ChoiceParameter("q", (1.0, 2.5, 7.0)),
    ),
    ("a + b <= 0.00001 + 0.00001*k", "k + q <= 3"),
)


@pytest.mark.parametrize("space", [BOX, MIXED, SLIVER])
def test_every_point_is_in_the_space(space):
    """Bounds, whole numbers, choices and constraints hold, derived parameters are computed."""
    found = sobol_candidates(space, 12, seed=3)
    assert [v for c in found for v in space.violations(c)] == []
    assert all(set(c.parameters) == {p.name for p in space.parameters} for c in found)


@pytest.mark.parametrize("space", [BOX, MIXED])
def test_a_sequence_goes_on_where_it_stopped(space):
    """The same seed gives the same points, and skipping gives the rest; another seed gives others."""
    whole = sobol_candidates(space, 9, seed=1)
    assert sobol_candidates(space, 4, seed=1, skip=5) == whole[5:]
    assert sobol_candidates(space, 9, seed=2) != whole


def test_the_box_is_covered():
    """Of 64 points every sixteenth part of the square holds four."""
    points = np.array([[c.parameters["a"], c.parameters["b"]] for c in sobol_candidates(BOX, 64, seed=0)])
    counts = np.histogram2d(points[:, 0], points[:, 1], bins=4, range=[[0, 1], [0, 1]])[0]
    assert (counts == 4).all()


def test_a_logarithmic_parameter_is_even_in_its_logarithm():
    """Half of the points lie below the geometric mean."""
    space = SearchSpace((RangeParameter("b", 1.0, 100.0, log=True),))
    values = np.array([c.parameters["b"] for c in sobol_candidates(space, 64, seed=0)])
    assert np.sum(values < 10) == 32


def test_what_little_is_left_is_not_one_corner():
    """In a sliver the points differ, and reach its far side."""
    found = sobol_candidates(SLIVER, 12, seed=0)
    assert len(set(found)) == 12
    assert max(c.parameters["a"] for c in found) > 1e-5 > min(c.parameters["a"] for c in found)
