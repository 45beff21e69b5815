"""Ticks in turn: campaigns that share a lab in virtual time move on together, whatever the system's clock says."""

import pytest

from flows import Lab, start_campaign
from flows.turns import ticks_in_turn
from orchestrator.domain import Approval, Budget
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.errors import CyclerError
from tests.flows.conftest import replay, small_spec
from tests.store.conftest import SteppedTime

MOST = 200


@pytest.fixture
def lab(folder):
    """A lab whose system time stands still: no claim ever runs out."""
    with Lab.open(folder, cyclers=[replay()], now=SteppedTime()) as opened:
        yield opened


def ticks(lab, name, told=None):
    """The campaign of every tick, in turn."""
    left = iter(range(MOST))
    made = ticks_in_turn(lab, name, lambda: next(left, None) is not None, (told if told is not None else []).append)
    return [report.campaign for report in made]


def statuses(lab):
    return {campaign.name: campaign.status for campaign in lab.store.campaigns()}


def test_campaigns_that_share_a_lab_are_ticked_in_turn(lab):
    """Neither waits for the other's claim to run out, and no tick is made for nothing by the hundred."""
    for name in ("first", "second"):
        start_campaign(lab, small_spec(name=name, budget=Budget(trials=4)))
    made = ticks(lab, "first")
    assert statuses(lab)["first"] == "completed"
    assert {"first", "second"} == set(made)
    assert len(made) < 40
    ticks(lab, "second")
    assert set(statuses(lab).values()) == {"completed"}
    began = [[trial.started_h for trial in lab.store.trials(name)] for name in ("first", "second")]
    assert max(map(min, began)) <= 8.0  # both had a share from the start: a test takes five hours or more


def test_a_campaign_alone_goes_on_to_its_end(lab):
    """One run of ticks is all it needs."""
    start_campaign(lab, small_spec(name="alone"))
    assert set(ticks(lab, "alone")) == {"alone"}
    assert statuses(lab) == {"alone": "completed"}


def test_where_nothing_can_change_the_run_ends(lab):
    """All that is left waits for a person: no tick is repeated until the time is over."""
    start_campaign(lab, small_spec(name="asks", approval=Approval("every")))
    assert len(ticks(lab, "asks")) < 5


def test_the_time_is_kept(lab):
    """With no time left a campaign still gets its one tick."""
    start_campaign(lab, small_spec(name="alone"))
    assert len(list(ticks_in_turn(lab, "alone", lambda: False, print))) == 1


def test_one_campaigns_fault_does_not_keep_the_others_waiting(folder, monkeypatch):
    """It is told once, and the campaign left out; its own tick will fail with it."""
    with Lab.open(folder, cyclers=[replay()], now=SteppedTime()) as lab:
        for name in ("good", "bad"):
            start_campaign(lab, small_spec(name=name, budget=Budget(trials=4)))
        cyclers_for = lab.__class__.cyclers_for

        def broken(self, spec):
            if spec.name == "bad":
                raise CyclerError("no such driver")
            return cyclers_for(self, spec)

        monkeypatch.setattr(Lab, "cyclers_for", broken)
        told = []
        ticks(lab, "good", told)
        assert told == ["bad could not be ticked: no such driver"]
        assert statuses(lab)["good"] == "completed"


def test_in_real_time_a_campaign_gets_one_tick(folder):
    """The schedule makes the next."""
    with Lab.open(folder, cyclers=[replay()], clock=SystemClock()) as lab:
        start_campaign(lab, small_spec(name="real"))
        assert ticks(lab, "real") == ["real"]
