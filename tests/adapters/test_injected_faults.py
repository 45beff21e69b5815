"""The vocabulary of what goes wrong in a lab: valid when made, read from specs, drawn from rates."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.peers.injected_faults import (
    CELL_FAULTS,
    DEVICE_FAULTS,
    LINE_FAULTS,
    SENSOR_FAULTS,
    SIZES,
    WHOLE_CYCLER,
    FaultKind,
    InjectedFault,
    faults_of_run,
    random_faults,
    read_faults,
)
from orchestrator.domain.errors import SpecError

CHANNELS = ("1", "2", "3")


def test_every_kind_belongs_to_one_family():
    """Of the cell, the sensors, the device or the line."""
    families = [CELL_FAULTS, SENSOR_FAULTS, DEVICE_FAULTS, LINE_FAULTS]
    assert sum(map(len, families)) == len(FaultKind)
    assert frozenset().union(*families) == frozenset(FaultKind)


@pytest.mark.parametrize("kind", FaultKind)
def test_every_kind_can_be_made_with_its_defaults(kind):
    """A kind and a time are enough; what its size is by default is a size it may have."""
    fault = InjectedFault(kind, 5.0)
    assert fault.magnitude == 0 or kind in SIZES
    if kind in SIZES and not math.isnan(fault.magnitude):
        assert InjectedFault(kind, size=fault.magnitude).magnitude == fault.magnitude


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"at_h": -1.0}, "at_h: must be a lab time >= 0 h"),
        ({"duration_h": 0.0, "kind": "channel_dead"}, "duration_h: must be positive"),
        ({"duration_h": 5.0}, "duration_h: means nothing for internal_short, which lasts. Leave it out."),
        ({"size": 0.0}, "size: of internal_short is the resistance of the short in ohm: it must be > 0"),
        ({"kind": "capacity_loss", "size": 1.0}, "must be >= 0 and below 1 (got 1)"),
        ({"kind": "sensor_dropout", "size": 1.5}, "share of the rows lost in 1: it must be > 0 and at most 1 (got 1.5)"),
        ({"kind": "channel_dead", "size": 3.0}, "size: means nothing for channel_dead"),
        ({"kind": "gremlins"}, "kind"),
        ({"when": 5.0}, "when: is not a known field"),
        ({"kind": None}, "kind"),
    ],
)
def test_wrong_faults_are_refused_with_where_and_why(fields, words):
    """Each message names the field in the list, what it must be, and what to do."""
    given_fault = {key: item for key, item in ({"kind": "internal_short", "at_h": 1.0} | fields).items() if item is not None}
    with pytest.raises(SpecError) as refused:
        read_faults([{"kind": "clock_jump"}, given_fault], CHANNELS)
    assert "faults[1]." in str(refused.value)
    assert words in str(refused.value)


def test_every_wrong_fault_of_a_plan_is_named_at_once():
    """Unknown channel, impossible place, wrong field: three faults, three lines."""
    with pytest.raises(SpecError) as refused:
        read_faults(
            [{"kind": "channel_dead", "channel": "9"}, {"kind": "capacity_loss"}, {"at_h": 1.0}], CHANNELS, LINE_FAULTS, "a line"
        )
    said = str(refused.value)
    assert "faults[0].channel: '9' is no channel of it. It has: 1, 2, 3." in said
    assert "faults[1].kind: capacity_loss cannot strike a line. Possible: acknowledgement_late" in said
    assert "faults[2].kind: is missing" in said


@pytest.mark.parametrize("given_plan", [{"kind": "power_loss"}, "power_loss", 7])
def test_a_plan_is_a_list(given_plan):
    """One table where a list is meant gets an example of what to write."""
    with pytest.raises(SpecError, match=r"Write faults = \[\{kind"):
        read_faults(given_plan, CHANNELS)


def test_objects_and_tables_make_the_same_plan():
    """In the order of time."""
    objects = [InjectedFault(FaultKind.POWER_LOSS, 9.0), InjectedFault(FaultKind.INTERNAL_SHORT, 3.0, "3", size=10.0)]
    tables = [{"kind": "internal_short", "at_h": 3.0, "channel": "3", "size": 10.0}, {"kind": "power_loss", "at_h": 9.0}]
    assert read_faults(objects, CHANNELS) == read_faults(tables, CHANNELS) == (objects[1], objects[0])


def test_a_run_is_struck_by_what_comes_after_its_start():
    """A cell is not struck by what happened before it was put in; a sensor that is broken stays so for the next run."""
    plan = [
        InjectedFault(FaultKind.CAPACITY_LOSS, 1.0),
        InjectedFault(FaultKind.CAPACITY_LOSS, 20.0),
        InjectedFault(FaultKind.CAPACITY_LOSS, 20.0, "2"),
        InjectedFault(FaultKind.THERMOCOUPLE_OPEN, 1.0, "1"),
        InjectedFault(FaultKind.THERMOCOUPLE_OPEN, 1.0, "1", duration_h=2.0),
        InjectedFault(FaultKind.CYCLER_UNREACHABLE, 20.0),
        InjectedFault(FaultKind.POWER_LOSS, 5.0),
        InjectedFault(FaultKind.CHANNEL_DEAD, 30.0),
    ]
    assert faults_of_run(plan, "1", 10.0) == (plan[1], plan[3], plan[7])


RATES = dict.fromkeys(FaultKind, 3.0)


@given(seed=st.integers(0, 2**32), horizon_h=st.floats(10.0, 2000.0))
def test_random_plans_repeat_and_stay_inside_their_bounds(seed, horizon_h):
    """The same arguments give the same plan, in the order of time, inside the horizon, on the channels given."""
    plan = random_faults(seed, CHANNELS, horizon_h, RATES)
    assert plan == random_faults(seed, CHANNELS, horizon_h, RATES)
    assert list(plan) == sorted(plan, key=lambda fault: fault.at_h)
    for fault in plan:
        assert 0 <= fault.at_h <= horizon_h
        assert fault.channel in ((None,) if fault.kind in WHOLE_CYCLER else CHANNELS)
        assert (fault.duration_h is None) == (fault.kind in CELL_FAULTS | {FaultKind.CLOCK_JUMP})
    assert read_faults(plan, CHANNELS) == plan


def test_random_plans_have_the_rates_asked_for():
    """Per thousand channel-hours: on channels one by one, on the whole cycler in all."""
    plan = random_faults(0, CHANNELS, 100_000.0, {FaultKind.CHANNEL_DEAD: 2.0, FaultKind.POWER_LOSS: 1.0})
    counts = {kind: sum(fault.kind is kind for fault in plan) for kind in (FaultKind.CHANNEL_DEAD, FaultKind.POWER_LOSS)}
    assert counts[FaultKind.CHANNEL_DEAD] == pytest.approx(600, abs=4 * math.sqrt(600))
    assert counts[FaultKind.POWER_LOSS] == pytest.approx(300, abs=4 * math.sqrt(300))
    assert sum(f.duration_h for f in plan) / len(plan) == pytest.approx(2.0, rel=0.15)


def test_another_seed_gives_another_plan():
    """Seeds matter."""
    assert random_faults(1, CHANNELS, 1000.0, RATES) != random_faults(2, CHANNELS, 1000.0, RATES)


def test_the_document_lists_every_kind_with_its_default():
    """docs/cyclers.md is true to the vocabulary."""
    document = (Path(__file__).resolve().parents[2] / "docs" / "cyclers.md").read_text()
    table = document[document.index("## Faults on command") : document.index("## The rules")]
    shown = dict(re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\|([^|]*)\|$", table, re.MULTILINE))
    assert set(shown) == set(FaultKind)
    for kind, default in shown.items():
        number = SIZES[kind][2] if kind in SIZES else None
        assert default.strip() == ("" if number is None else "not a number" if math.isnan(number) else f"{number:g}")


def test_a_channel_may_be_counted():
    """`channel = 1` in a spec means the channel named "1"."""
    assert read_faults([{"kind": "channel_dead", "channel": 1}], ["1", "2"])[0].channel == "1"
