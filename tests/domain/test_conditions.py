"""Mixtures, parameters that exist under a choice, context, and shared values, as a spec states them."""

import pytest

from orchestrator.domain import (
    CampaignSpec,
    Candidate,
    ChoiceParameter,
    ContextParameter,
    DerivedParameter,
    IntegerParameter,
    LinearConstraint,
    Objective,
    OutcomeConstraint,
    RangeParameter,
    SafetyLimits,
    SearchSpace,
    SpecError,
)
from orchestrator.domain.spec_file import read_spec
from orchestrator.domain.value import from_plain, to_plain

PULSE = ChoiceParameter("pulse", ("no", "yes"))
RATE = RangeParameter("rate", 1.0, 5.0, only_if={"pulse": "yes"})
ROOM = ContextParameter("room_degC", 15, 45, value=30, unit="degC")


def mixture(**changes) -> SearchSpace:
    parameters = (*(RangeParameter(n, 0.0, 1.0) for n in ("li", "ni", "co")), PULSE, RATE, ROOM)
    return SearchSpace(**{"parameters": parameters, "constraints": ("li + ni + co == 1",), **changes})


def given(**values) -> Candidate:
    return Candidate({"li": 0.5, "ni": 0.25, "co": 0.25, "pulse": "no", "room_degC": 20.0, **values})


def test_a_sum_may_be_off_by_rounding_and_no_more():
    """What a person typed with six digits is inside; a wrong sum is named."""
    space = mixture()
    assert space.violations(given(li=0.5000005)) == []
    assert space.violations(given(li=0.6)) == ["constraint 'li + ni + co == 1' does not hold"]
    assert space.violations(given(li=0.4)) == ["constraint 'li + ni + co == 1' does not hold"]


def test_a_parameter_is_there_exactly_where_its_choice_says():
    """Missing where it exists and given where it does not are two different faults."""
    space = mixture()
    assert space.violations(given(pulse="yes", rate=2.0)) == []
    assert space.violations(given(pulse="yes")) == ["rate is missing"]
    assert space.violations(given(rate=2.0)) == ["rate exists only if pulse = yes"]
    assert space.settled(given(rate=2.0).parameters) == given()


def test_conditions_follow_one_another():
    """What rests on a choice that does not exist does not exist either."""
    shape = ChoiceParameter("shape", ("square", "sine"), only_if={"pulse": ["yes"]})
    phase = RangeParameter("phase", 0.0, 1.0, only_if={"shape": ["sine"]})
    space = SearchSpace((PULSE, shape, phase))
    everything = {"pulse": "no", "shape": "sine", "phase": 0.5}
    assert space.settled(everything).parameters == {"pulse": "no"}
    assert space.settled({**everything, "pulse": "yes"}).parameters == {**everything, "pulse": "yes"}
    assert space.violations(Candidate({"pulse": "no", "phase": 0.5})) == ["phase exists only if shape = sine and pulse = yes"]


def test_a_constraint_holds_where_all_it_names_exists():
    """It binds nothing where one of its parameters is absent, or where its own condition is not met."""
    space = mixture(constraints=("rate >= 8*li", LinearConstraint("ni >= 0.5", only_if={"pulse": ["no"]})))
    assert space.violations(given(ni=0.6)) == []
    assert space.violations(given()) == ["constraint 'ni >= 0.5' does not hold"]
    assert space.violations(given(pulse="yes", rate=2.0)) == ["constraint 'rate >= 8*li' does not hold"]


def test_derived_parameters_share_the_condition_of_what_they_read():
    """They are computed where they exist and left out elsewhere."""
    space = mixture(parameters=(PULSE, RATE, DerivedParameter("twice", "2*rate", only_if={"pulse": ["yes"]})), constraints=())
    assert space.complete(Candidate({"pulse": "yes", "rate": 2.0})).parameters["twice"] == 4.0
    assert space.complete(Candidate({"pulse": "no"})).parameters == {"pulse": "no"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"constraints": ("li + ni + co == 5",)}, r"no point inside the bounds keeps all of: li \+ ni \+ co == 5\. Widen"),
        ({"constraints": ("li + 0.1*room_degC <= 2",)}, "no point .* at room_degC = 30"),
        ({"constraints": ("rate + li == 0.5", LinearConstraint("li == 3", only_if={"pulse": "no"}))}, "no point inside"),
        ({"constraints": (LinearConstraint("li == 1", only_if={"pulse": "maybe"}),)}, "'maybe', which is no value of pulse"),
        ({"parameters": (RangeParameter("a", 0, 1, only_if={"b": "x"}),)}, "names 'b', which is no choice of this space"),
        ({"parameters": (PULSE, RangeParameter("a", 0, 1, only_if={"pulse": []}))}, "gives no value of pulse. Values: no, yes"),
        (
            {
                "parameters": (
                    ChoiceParameter("a", ("x", "y"), only_if={"b": "x"}),
                    ChoiceParameter("b", ("x", "y"), only_if={"a": "x"}),
                )
            },
            "exists only if itself does: a > b > a",
        ),
        (
            {"parameters": (PULSE, RATE, DerivedParameter("twice", "2*rate"))},
            r'reads rate, which does not always exist. Give it the same condition: only_if = { pulse = \["yes"\] }',
        ),
        (
            {
                "parameters": (PULSE, RATE, RangeParameter("rest", 0, 1, only_if={"pulse": "no"})),
                "constraints": ("rate >= rest",),
            },
            "binds parameters that never exist together",
        ),
        ({"parameters": (ROOM,)}, "holds no free parameter"),
        ({"held": {"nickel": 1.0}}, "held.nickel: is not a parameter that can be held"),
        ({"held": {"li": 2.0}}, "li = 2.0 is not between 0 and 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, message):
    """One clear fault each, when the space is made."""
    with pytest.raises(SpecError, match=message) as caught:
        mixture(**{"constraints": (), **changes})
    assert len(caught.value.faults) == 1


def test_a_parameter_is_described_with_all_that_binds_it():
    """A person reads where it exists, what it is set to now, and that tests share it."""
    space = mixture(parameters=(*mixture().parameters, RangeParameter("chamber", 20, 40, shared=True)))
    assert space.describe("rate") == "between 1 and 5 (where pulse = yes)"
    assert space.describe("room_degC") == "between 15 and 45 degC (now 30.0)"
    assert space.describe("chamber") == "between 20 and 40 (the same in all tests that run at once)"
    assert LinearConstraint("li == 1", only_if={"pulse": "no"}).describe() == "li == 1 where pulse = no"


def test_context_lies_inside_its_bounds():
    """The present value is one of those that results may have."""
    with pytest.raises(SpecError, match=r"room = 50 is not between 15 and 45\. Set it to what it is now"):
        ContextParameter("room", 15, 45, value=50)
    assert mixture().violations(given(room_degC=46.0)) == ["room_degC = 46.0 is not between 15 and 45 degC"]
    assert mixture().at_present(given()).parameters["room_degC"] == 30


def test_a_space_with_all_of_it_travels_as_json():
    """What was written is read back equal; a space that has none of it is written, and hashed, as ever."""
    shared = IntegerParameter("chamber", 20, 40, shared=True)
    space = mixture(parameters=(*mixture().parameters, shared), constraints=(LinearConstraint("li >= 0.1", {"pulse": ("no",)}),))
    assert from_plain(SearchSpace, to_plain(space)) == space
    plain = to_plain(SearchSpace((RangeParameter("a", 0, 1), ChoiceParameter("b", ("x", "y"))), ("a <= 0.5",)))
    assert set(plain) == {"parameters", "constraints"}
    assert set(plain["parameters"][0]) == {"name", "lower", "upper", "unit", "log", "type"}
    assert plain["constraints"] == ["a <= 0.5"]


SPEC = """\
name = "mixture"
[space]
constraints = ["li + ni == 1", { text = "ni >= 0.2", only_if = { pulse = ["no"] } }]
[[space.parameters]]
name = "li"
lower = 0.0
upper = 1.0
[[space.parameters]]
name = "ni"
lower = 0.0
upper = 1.0
[[space.parameters]]
name = "pulse"
values = ["no", "yes"]
shared = true
[[space.parameters]]
name = "rate"
lower = 1.0
upper = 5.0
only_if = { pulse = ["yes"] }
[[space.parameters]]
name = "room_degC"
type = "context"
lower = 15.0
upper = 45.0
value = 30.0
[[objectives]]
metric = "life"
goal = "maximize"
"""


def test_toml_says_the_same_as_python(tmp_path):
    """Every new field is read where a person would write it."""
    file = tmp_path / "spec.toml"
    file.write_text(SPEC)
    space = read_spec(file).space
    assert [p.name for p in space.shared] == ["pulse"]
    assert space.present == {"room_degC": 30.0}
    assert space.violations(Candidate({"li": 0.9, "ni": 0.1, "pulse": "yes", "rate": 2.0, "room_degC": 30.0})) == []
    assert from_plain(CampaignSpec, to_plain(read_spec(file))) == read_spec(file)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('only_if = { pulse = ["yes"] }', 'only_if = { pulse = ["maybe"] }', 16, "no value of pulse. Values: no, yes"),
        ('"li + ni == 1"', '"li + ni == 3"', 3, "no point inside the bounds keeps all of"),
        ('"li + ni == 1"', '"li + ni = 1"', 3, "is not an inequality or equality"),
        ("value = 30.0\n", "", 21, "value: is missing"),
        ("value = 30.0", "value = 60.0", 26, "room_degC = 60 is not between 15 and 45"),
        ("shared = true", "shared = 3", 15, "shared"),
        ('pulse = ["no"] } }', "pulse = [] } }", 3, "gives no value of pulse"),
    ],
)
def test_each_fault_has_its_line(tmp_path, old, new, line, message):
    """A fault names the field and, where there is one, the line it stands in."""
    assert old in SPEC
    file = tmp_path / "spec.toml"
    file.write_text(SPEC.replace(old, new))
    with pytest.raises(SpecError) as caught:
        read_spec(file)
    (fault,) = caught.value.faults
    assert message in str(fault)
    assert fault.line == line


def chamber_spec(parameter, **changes) -> CampaignSpec:
    space = SearchSpace((RangeParameter("c1", 1.0, 3.0), parameter))
    return CampaignSpec("chamber", space, (Objective("life", "maximize"),), **changes)


@pytest.mark.parametrize("parameter", [ROOM, IntegerParameter("chamber", 20, 40, shared=True)])
def test_ax_s_own_generators_are_not_asked_for_what_they_cannot_keep(parameter):
    """The spec is refused, with the strategy that can."""
    with pytest.raises(SpecError, match=r"knows no equalities, conditions, context, shared.*'auto'"):
        chamber_spec(parameter, strategy="ax")


def test_a_safe_seed_is_of_the_present_context():
    """One that says nothing of it is vouched for as things are; one of another context is not proposed now."""
    safe = {"constraints": (OutcomeConstraint("heat", upper=40, safe=True),)}
    seeds = ({"c1": 1.0}, {"c1": 2.0, "room_degC": 20.0})
    spec = chamber_spec(ROOM, safe_seed=seeds, **safe)
    assert [c.parameters for c in spec.safe_candidates] == [{"room_degC": 30.0, "c1": 1.0}]


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        (RangeParameter("ambient_temperature_degC", 20, 60), "not above the chamber's 60 degC"),
        (ContextParameter("ambient_temperature_degC", 20, 60, value=56), "not above the chamber's 56 degC"),
        (ChoiceParameter("ambient_temperature_degC", ("warm", "hot")), "must be numbers in -60..120 degC"),
        (IntegerParameter("ambient_temperature_degC", -90, 20), "must be numbers in -60..120 degC"),
    ],
)
def test_a_chamber_of_the_space_keeps_what_every_chamber_must(parameter, message):
    """Its hottest setting lies below the limit at which every test would stop."""
    with pytest.raises(SpecError, match=message):
        chamber_spec(parameter, safety_limits=SafetyLimits(max_temperature_degC=55))
    cool = ContextParameter("ambient_temperature_degC", 20, 60, value=30)
    assert chamber_spec(cool, safety_limits=SafetyLimits(max_temperature_degC=55)).name


def test_a_parameter_that_can_never_exist_is_refused():
    """It needs a value of a choice that exists only where another needed one does not."""
    gate, inner = ChoiceParameter("m", ("a", "b")), ChoiceParameter("k", ("a", "b"), only_if={"m": ("a",)})
    with pytest.raises(SpecError, match="can never exist"):
        SearchSpace((gate, inner, RangeParameter("x", 0.0, 1.0, only_if={"k": ("a",), "m": ("b",)})))


@pytest.mark.parametrize("given", [{1: "x <= 1"}, {"txt": "x <= 1"}, {}])
def test_a_constraint_that_is_another_table_is_refused(given):
    """With what it may hold, never a TypeError."""
    with pytest.raises(SpecError, match="table of text and only_if"):
        from_plain(
            SearchSpace, {"parameters": [{"type": "range", "name": "x", "lower": 0.0, "upper": 2.0}], "constraints": [given]}
        )
