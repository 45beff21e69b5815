"""Numbers, units and labels as people write them."""

import pytest

from orchestrator.decision.wording import label, number, outward, quantity, unit, with_error
from orchestrator.domain import Estimate


@pytest.mark.parametrize(
    ("mean", "sem", "shown"),
    [(640.4, 61.0, "640 ± 60"), (21.34, 0.21, "21.3 ± 0.2"), (21.34, 0.0, "21.34"), (21.34, 0.14, "21.34 ± 0.14"),
     (1234.0, 140.0, "1230 ± 140"),
     (0.91234, 0.0042, "0.912 ± 0.004"), (3.0, 1e-9, "3 ± 1e-09"), (-12.0, 5.0, "-12 ± 5"), (123456.0, 0.0, "1.23e+05"),
     (0.0, 0.0, "0")],
)  # fmt: skip
def test_digits_follow_the_error(mean, sem, shown):
    """A figure shows no digit that its error does not support."""
    assert with_error(mean, sem) == shown


def test_units_come_from_the_estimate_then_from_the_name():
    """A unit is stated by the estimate, else by the name's ending, else absent."""
    assert unit("charge_time_min") == "min"
    assert unit("temperature_max_degC") == "°C"
    assert unit("cycle_life", [None, Estimate(1.0, unit="cycles")]) == "cycles"
    assert unit("cycle_life") == ""
    assert quantity("cycle_life", Estimate(640, 60, unit="cycles")) == "640 ± 60 cycles"


def test_labels_are_words():
    """Metric names read as words, without the unit."""
    assert [label(m) for m in ("charge_time_min", "cycle_life", "temperature_max_degC", "V")] == [
        "charge time", "cycle life", "maximum temperature", "V",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bound", "upper", "rounded"),
    [
        (14.822, True, 14.9),
        (14.8, True, 14.8),
        (512.9, False, 512.0),
        (-3.333, True, -3.33),
        (-3.333, False, -3.34),
        (0.0, True, 0.0),
    ],
)
def test_bounds_round_outward(bound, upper, rounded):
    """A rounded bound is never stricter than what it was."""
    assert outward(bound, upper) == rounded


def test_numbers_read_without_exponents():
    """Four significant digits, trailing zeros dropped."""
    assert [number(x) for x in (0.5, 12.0, 1234.4, 0.012344, 45.0, 100.0)] == ["0.5", "12", "1234", "0.01234", "45", "100"]
