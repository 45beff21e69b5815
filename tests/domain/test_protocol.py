"""Steps always end, inside limits they cannot pass."""

import pytest

from orchestrator.domain import (
    ConstantCurrent,
    ConstantVoltage,
    Loop,
    Protocol,
    Rest,
    SafetyLimits,
    SpecError,
    UnsafeProtocolError,
)

WINDOW = SafetyLimits(max_voltage_V=3.65, min_voltage_V=2.0, max_current_A=5.0)


def test_a_step_without_end_cannot_be_constructed():
    """Every step says when it ends."""
    with pytest.raises(SpecError, match="has no end condition"):
        ConstantCurrent(1.0)
    with pytest.raises(SpecError, match="has no end condition"):
        ConstantVoltage(3.6)


@pytest.mark.parametrize(
    ("step", "named"),
    [
        (ConstantCurrent(1.0, until_duration_s=60.0), "charges on to any voltage, past max_voltage_V"),
        (ConstantCurrent(1.0, until_capacity_Ah=0.1), "charges on to any voltage, past max_voltage_V"),
        (ConstantCurrent(1.0, until_voltage_V=3.7), "3.7 V is past the limit max_voltage_V"),
        (ConstantCurrent(-1.0, until_voltage_V=1.9), "1.9 V is past the limit min_voltage_V"),
        (ConstantCurrent(-1.0, until_duration_s=9.0), "discharges on to any voltage, past min_voltage_V"),
        (ConstantCurrent(6.0, until_voltage_V=3.6), "6 A is past the limit max_current_A"),
        (ConstantVoltage(3.7, until_duration_s=9.0), "3.7 V is past the limit max_voltage_V"),
        (ConstantVoltage(1.0, until_duration_s=9.0), "1 V is past the limit min_voltage_V"),
    ],
)
def test_a_step_that_could_pass_a_limit_is_named(step, named):
    """A protocol with such a step is never constructed, alone or inside a loop."""
    with pytest.raises(UnsafeProtocolError, match=named):
        Protocol((Rest(10.0), step), WINDOW)
    with pytest.raises(UnsafeProtocolError, match=r"steps\[0\].*" + named.split(" past")[0]):
        Protocol((Loop((step,), 3),), WINDOW)


def test_tightened_limits_are_checked_again():
    """A protocol that was safe is refused under stricter limits, and keeps the stricter of two."""
    protocol = Protocol((ConstantCurrent(1.0, until_voltage_V=3.6),), WINDOW)
    assert protocol.under(SafetyLimits(max_temperature_degC=50.0)).limits.named == {**WINDOW.named, "max_temperature_degC": 50.0}
    with pytest.raises(UnsafeProtocolError):
        protocol.under(SafetyLimits(max_voltage_V=3.5))


def test_loops_unroll_in_order():
    """`walk` gives the steps as they run."""
    charge, rest = ConstantCurrent(1.0, until_voltage_V=3.6), Rest(1.0)
    assert list(Protocol((Loop((charge, Loop((rest,), 2)), 2),), WINDOW).walk()) == [charge, rest, rest, charge, rest, rest]


@pytest.mark.parametrize("make", [lambda: Rest(0.0), lambda: Loop((Rest(1.0),), 0), lambda: Loop((), 2), lambda: Protocol(())])
def test_empty_and_endless_things_are_refused(make):
    """Nothing of zero length gets to a cycler."""
    with pytest.raises(SpecError):
        make()
