"""Preferences: what may be stated, how it is described, how it is read from the command line."""

import pytest

from orchestrator.decision import EpsilonConstraint, WeightedSum, parse_epsilon, parse_weights
from orchestrator.domain import CampaignSpec, Objective, OutcomeConstraint, RangeParameter, SearchSpace, SpecError

SPEC = CampaignSpec(
    name="charge",
    space=SearchSpace([RangeParameter("c1", 1.0, 6.0, unit="C")]),
    objectives=(Objective("charge_time_min", "minimize"), Objective("cycle_life", "maximize")),
    constraints=(OutcomeConstraint("temperature_max_degC", upper=40.0), OutcomeConstraint("mean_voltage_V", lower=3.0)),
)


def test_limits_take_the_direction_of_their_metric():
    """Minimised metrics and upper constraints are limited from above, maximised ones and lower constraints from below."""
    limits = {"charge_time_min": 30, "cycle_life": 500, "temperature_max_degC": 38, "mean_voltage_V": 3.2}
    bounds = {b.metric: (b.lower, b.upper) for b in EpsilonConstraint(limits).bounds(SPEC)}
    assert bounds == {
        "charge_time_min": (None, 30),
        "cycle_life": (500, None),
        "temperature_max_degC": (None, 38),
        "mean_voltage_V": (3.2, None),
    }


def test_a_preference_describes_itself():
    """With the spec the words say what is optimised, in which direction limits work, and how surely."""
    assert EpsilonConstraint({"charge_time_min": 30}).describe(SPEC) == (
        "maximize cycle_life subject to charge_time_min <= 30 with probability >= 0.95"
    )
    assert "charge_time_min = 30" in EpsilonConstraint({"charge_time_min": 30}, confidence=0.9).describe()
    assert "0.25 charge_time_min + 0.75 cycle_life" in WeightedSum({"charge_time_min": 1, "cycle_life": 3}).describe()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EpsilonConstraint({}), "limits: is empty"),
        (lambda: EpsilonConstraint({"cycle_life": float("nan")}), "finite"),
        (lambda: EpsilonConstraint({"cycle_life": 500}, confidence=1.0), "confidence: is a probability"),
        (lambda: WeightedSum({}), "no positive weight"),
        (lambda: WeightedSum({"cycle_life": -1.0, "charge_time_min": 2.0}), "weights.cycle_life: must be >= 0"),
        (lambda: EpsilonConstraint({"resistance": 3}).bounds(SPEC), "limits.resistance: is not a metric of this campaign"),
    ],
)
def test_a_preference_that_means_nothing_is_refused(make, message):
    """Empty, infinite, negative or unknown: the message says where and what."""
    with pytest.raises(SpecError, match=message):
        make()


def test_limits_and_weights_are_read_from_text():
    """The command line's short forms give the same preferences as Python."""
    expected = EpsilonConstraint({"charge_time_min": 30.0, "cycle_life": 500.0}, confidence=0.9)
    assert parse_epsilon(" charge_time_min <= 30, cycle_life>=5e2", SPEC, confidence=0.9) == expected
    assert parse_weights("charge_time_min=1,cycle_life=2.5", SPEC) == WeightedSum({"charge_time_min": 1.0, "cycle_life": 2.5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Write limits such as"),
        ("charge_time_min", "'charge_time_min' is not a limit"),
        ("charge_time_min=30", "'charge_time_min=30' is not a limit"),
        ("charge_time_min<=fast", "needs a number \\(got 'fast'\\)"),
        ("charge_time_min<=nan", "finite"),
        ("charge_time_min<=30,charge_time_min<=20", "given twice"),
        ("charge_time<=30", "epsilon.charge_time: is not a metric of this campaign. Known: charge_time_min"),
        ("charge_time_min>=30", 'Write "charge_time_min<=30"'),
        ("cycle_life<=500", 'Write "cycle_life>=500"'),
    ],
)
def test_limits_that_cannot_be_read_are_refused(text, message):
    """One clear message that quotes what was written; a limit in the useless direction is a mistake, not a wish."""
    with pytest.raises(SpecError, match=message):
        parse_epsilon(text, SPEC)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" , ", "Write weights such as"),
        ("cycle_life>=2", "is not a weight"),
        ("cycle_life=much", "needs a number"),
        ("cycle_life=0", "no positive weight"),
        ("cycle_life=1,cycle_life=2", "given twice"),
        ("temperature_max_degC=1", "weights.temperature_max_degC: is not a metric"),
    ],
)
def test_weights_that_cannot_be_read_are_refused(text, message):
    """One clear message that quotes what was written; only objectives carry weights."""
    with pytest.raises(SpecError, match=message):
        parse_weights(text, SPEC)


def test_every_fault_of_a_text_is_reported_at_once():
    """Two mistakes in one text are two faults in one error."""
    with pytest.raises(SpecError) as raised:
        parse_epsilon("charge_time_min>=30,life<=500,nonsense", SPEC)
    assert len(raised.value.faults) == 3
