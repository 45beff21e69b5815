"""What may vary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import (
    Candidate,
    ChoiceParameter,
    DerivedParameter,
    IntegerParameter,
    LinearConstraint,
    RangeParameter,
    SearchSpace,
    SpecError,
)
from orchestrator.domain.value import from_plain, to_plain


def charging_space() -> SearchSpace:
    return SearchSpace(
        (RangeParameter("c1", 1.0, 6.0, unit="C"), RangeParameter("c2", 1.0, 6.0)), (LinearConstraint("c1 >= c2"),)
    )


def test_reversed_bounds_are_refused_with_both_numbers():
    """A fault names the field, what was given and what to do."""
    with pytest.raises(SpecError, match=r"c1: lower must be below upper \(got lower = 6, upper = 1\). Exchange them."):
        RangeParameter("c1", 6.0, 1.0)


@pytest.mark.parametrize("bounds", [(float("nan"), 1.0), (0.0, float("inf")), ("a", 1.0), (None, 1.0)])
def test_bounds_must_be_finite_numbers(bounds):
    """Nothing that is no number gets into a space."""
    with pytest.raises(SpecError):
        RangeParameter("c1", *bounds)


def test_several_faults_come_at_once():
    """All wrong fields of one value are reported together."""
    with pytest.raises(SpecError) as caught:
        RangeParameter("c1", "x", 1.0, colour="red")
    assert {fault.where for fault in caught.value.faults} == {"RangeParameter.lower", "RangeParameter.colour"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c1 * c2 <= 3", "multiplies two parameters"),
        ("c1 + c2", "is not an inequality"),
        ("c1 = c2", "is not an inequality or equality"),
        ("1 <= 2", "names no parameter"),
        ("__import__('os') <= c1", "not arithmetic"),
        ("c1 <=", "is not an expression"),
    ],
)
def test_what_is_no_linear_inequality_is_refused(text, message):
    """A constraint that cannot be read is never constructed."""
    with pytest.raises(SpecError, match=message):
        LinearConstraint(text)


def test_an_unknown_parameter_in_a_constraint_is_named():
    """A misspelt name is told together with the known ones."""
    with pytest.raises(SpecError, match=r"unknown parameter 'c9'\. Known: c1"):
        SearchSpace((RangeParameter("c1", 0.0, 1.0),), (LinearConstraint("c1 >= c9"),))


def test_constraints_without_a_common_point_are_refused():
    """The linear program finds that no point is left."""
    with pytest.raises(SpecError, match="no point inside the bounds keeps all of"):
        SearchSpace((RangeParameter("a", 0.0, 1.0),), (LinearConstraint("a >= 0.7"), LinearConstraint("a <= 0.3")))


def test_integers_count_as_integers_for_feasibility():
    """A box with real points but no whole one has no feasible candidate."""
    with pytest.raises(SpecError, match="no point inside"):
        SearchSpace((IntegerParameter("n", 0, 5),), (LinearConstraint("3*n >= 1"), LinearConstraint("3*n <= 2")))


def test_violations_say_which_rule_is_broken():
    """Bounds, missing and unknown names and constraints are told apart."""
    space = charging_space()
    assert space.violations(Candidate({"c1": 3.0, "c2": 2.0})) == []
    assert "constraint 'c1 >= c2' does not hold" in space.violations(Candidate({"c1": 2.0, "c2": 3.0}))
    assert space.violations(Candidate({"c1": 9.0, "c2": 3.0})) == ["c1 = 9.0 is not between 1 and 6 C"]
    assert {"c2 is missing", "x is not a parameter of this space (c1, c2)"} == set(
        space.violations(Candidate({"c1": 2.0, "x": 1.0}))
    )


def test_derived_parameters_are_computed_and_may_bind_the_space():
    """A derived parameter is replaced by what it is computed from."""
    space = SearchSpace(
        (RangeParameter("a", 0.0, 1.0), RangeParameter("b", 0.0, 1.0), DerivedParameter("m", "(a + b) / 2")),
        (LinearConstraint("m <= 0.5"),),
    )
    assert space.complete(Candidate({"a": 0.2, "b": 0.4})).parameters["m"] == pytest.approx(0.3)
    assert space.violations(Candidate({"a": 0.9, "b": 0.9})) == ["constraint 'm <= 0.5' does not hold"]
    assert dict(space.inequalities[0].coefficients) == {"a": 0.5, "b": 0.5}


def test_derived_parameters_may_not_go_in_a_circle():
    """Two derived parameters that read each other have no value."""
    with pytest.raises(SpecError, match="in a circle"):
        SearchSpace(
            (RangeParameter("a", 0.0, 1.0), DerivedParameter("p", "q"), DerivedParameter("q", "p")), (LinearConstraint("p <= 1"),)
        )


def test_a_choice_needs_two_values_of_one_kind():
    """Numbers and text do not mix."""
    with pytest.raises(SpecError, match="all numbers or all text"):
        ChoiceParameter("salt", ("LiPF6", 3))
    with pytest.raises(SpecError, match="at least two"):
        ChoiceParameter("salt", ("LiPF6",))


def test_a_space_travels_as_json():
    """What was written is read back equal."""
    space = charging_space()
    assert from_plain(SearchSpace, to_plain(space)) == space


@given(
    st.dictionaries(
        st.sampled_from(["c1", "c2", "c3"]), st.one_of(st.floats(), st.integers(), st.sampled_from(["", "x", "1"])), max_size=3
    )
)
def test_violations_never_break(parameters):
    """Any candidate that can be constructed gets an answer."""
    try:
        candidate = Candidate(parameters)
    except SpecError:
        return
    assert isinstance(charging_space().violations(candidate), list)
