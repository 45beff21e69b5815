"""Campaigns in the store."""

from datetime import UTC, datetime

import pytest

from orchestrator.domain import (
    CampaignSpec,
    CandidateTable,
    ChoiceParameter,
    CyclerSpec,
    IntegerParameter,
    LinearConstraint,
    Objective,
    OutcomeConstraint,
    RangeParameter,
    SafetyLimits,
    SearchSpace,
)
from orchestrator.domain.errors import CampaignError, StoreError
from orchestrator.store import TrialStore

RICH = CampaignSpec(
    name="rich",
    space=SearchSpace(
        parameters=(RangeParameter("c1", 0.1, 6.0, unit="C"), IntegerParameter("n", 1, 5), ChoiceParameter("salt", ("a", "β"))),
        constraints=(LinearConstraint("c1 <= n"),),
    ),
    objectives=(Objective("charge_time_min", "minimize", threshold=45.0), Objective("cycle_life", "maximize")),
    constraints=(OutcomeConstraint("temperature_max_degC", upper=0.1 + 0.2, safe=True),),
    safe_seed=({"c1": 1.0, "n": 1, "salt": "β"},),
    safety_limits=SafetyLimits(max_voltage_V=3.65),
    cyclers=(CyclerSpec("sim", "simulated", {"channels": 8, "table": None}),),
)
TABLE = CampaignSpec(
    name="table",
    space=CandidateTable(rows=({"id": "p1", "C1": 3.6, "life": None}, {"C1": 4.0, "life": 900}), features=("C1",)),
    objectives=(Objective("cycle_life", "maximize"),),
)


@pytest.mark.parametrize("spec", [RICH, TABLE], ids=["space", "table"])
def test_a_spec_comes_back_as_it_went_in(store: TrialStore, spec: CampaignSpec) -> None:
    """A stored spec is equal to the registered one, to the last bit and with the same hash, also for another process."""
    from orchestrator.store import ledger

    made = store.register_campaign(spec, lab_time_h=3.0)
    ledger._specs_read.clear()
    found = store.campaign(spec.name)
    assert found == made
    assert found.spec == spec
    assert found.spec.sha256 == spec.sha256
    assert (found.spec_version, found.status, found.status_reason, found.started_h) == (1, "running", None, 3.0)


def test_times_come_back_aware(store: TrialStore, spec: CampaignSpec) -> None:
    """When a campaign was made is an aware time in UTC, the one that was stored."""
    store.register_campaign(spec, lab_time_h=0.0)
    assert store.campaign("fast").created_at == datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    assert store.campaign("fast").created_at.tzinfo is UTC


def test_a_name_is_taken_once(store: TrialStore, spec: CampaignSpec) -> None:
    """A second campaign of a name is refused, with the way to go on with the first; nothing is written."""
    store.register_campaign(spec, lab_time_h=0.0)
    with pytest.raises(CampaignError, match="voltloop resume fast"):
        store.register_campaign(spec, lab_time_h=0.0)
    assert len(store.campaigns()) == 1
    assert len(store.events()) == 1


def test_an_unknown_campaign_names_those_there_are(sqlite_store: TrialStore, spec: CampaignSpec) -> None:
    """Asking for a campaign that is not there lists the known ones; an empty lab says how to start."""
    with pytest.raises(CampaignError, match=r"no campaign 'x' in this lab.*voltloop run"):
        sqlite_store.campaign("x")
    sqlite_store.register_campaign(spec, lab_time_h=0.0)
    sqlite_store.register_campaign(TABLE, lab_time_h=0.0)
    with pytest.raises(CampaignError, match="It has: fast, table"):
        sqlite_store.campaign("x")
    assert [record.name for record in sqlite_store.campaigns()] == ["fast", "table"]


def test_only_what_is_given_changes(sqlite_store: TrialStore, spec: CampaignSpec) -> None:
    """Wall time adds up without an event; the reference point and the end are kept until they are given again."""
    sqlite_store.register_campaign(spec, lab_time_h=0.0)
    sqlite_store.set_campaign("fast", add_wall_s=1.5, lab_time_h=1.0)
    sqlite_store.set_campaign("fast", add_wall_s=2.0, lab_time_h=2.0)
    assert [event.kind for event in sqlite_store.events("fast")] == ["campaign_registered"]
    sqlite_store.set_campaign("fast", reference_point={"cycle_life": 250}, lab_time_h=3.0)
    ended = sqlite_store.set_campaign("fast", status="completed", reason="the budget is used", ended_h=9.0, lab_time_h=9.0)
    assert (ended.wall_s, ended.reference_point, ended.ended_h) == (3.5, {"cycle_life": 250.0}, 9.0)
    assert (ended.status, ended.status_reason) == ("completed", "the budget is used")
    assert sqlite_store.campaign("fast") == ended
    assert [event.kind for event in sqlite_store.events("fast")][1:] == ["reference_point_fixed", "campaign_completed"]


def test_a_campaign_set_going_again_has_no_end(sqlite_store: TrialStore, spec: CampaignSpec) -> None:
    """A stopped campaign that runs again has neither an end, nor a reason, nor the request that stopped it."""
    sqlite_store.register_campaign(spec, lab_time_h=0.0)
    sqlite_store.request_stop("fast", None, reason="holidays", by="person", lab_time_h=1.0)
    assert sqlite_store.campaign("fast").stop_requested == "holidays"
    sqlite_store.set_campaign("fast", status="stopped", reason="holidays", ended_h=2.0, lab_time_h=2.0)
    again = sqlite_store.set_campaign("fast", status="running", lab_time_h=3.0)
    assert (again.ended_h, again.status_reason, again.stop_requested) == (None, None, None)


def test_waking_a_campaign_keeps_the_request_to_stop_it(sqlite_store: TrialStore, spec: CampaignSpec) -> None:
    """A stop asked for while a campaign waited for a person is still to be carried out when it runs on."""
    sqlite_store.register_campaign(spec, lab_time_h=0.0)
    sqlite_store.set_campaign("fast", status="needs_attention", reason="look", lab_time_h=1.0)
    sqlite_store.request_stop("fast", None, reason="enough", by="person", lab_time_h=1.0)
    assert sqlite_store.set_campaign("fast", status="running", lab_time_h=2.0).stop_requested == "enough"


def test_an_unknown_status_is_refused(sqlite_store: TrialStore, spec: CampaignSpec) -> None:
    """A status that no campaign can have never reaches the database."""
    with pytest.raises(CampaignError, match="'paused' is no status"):
        sqlite_store.register_campaign(spec, lab_time_h=0.0, status="paused")  # type: ignore[arg-type]
    assert sqlite_store.campaigns() == []


def test_a_request_to_stop_is_stored_once(running: TrialStore) -> None:
    """A trial's stop request shows on the trial with its first reason; repeating it writes nothing."""
    running.request_stop("fast", 1, reason="too warm", by="ada", lab_time_h=3.0, cause="interlock")
    running.request_stop("fast", 1, reason="too warm", by="ada", lab_time_h=4.0)
    first, second = running.trials("fast")
    assert (first.stop_requested, second.stop_requested) == ("too warm", None)
    assert running.campaign("fast").stop_requested is None
    asked = [event for event in running.events("fast") if event.kind == "stop_requested"]
    assert [(event.trial, event.data) for event in asked] == [(1, {"reason": "too warm", "by": "ada", "cause": "interlock"})]


def test_a_request_to_stop_all_shows_on_every_trial_that_has_not_ended(running: TrialStore) -> None:
    """Stopping the campaign asks every trial that goes on, and none that has ended."""
    from orchestrator.domain import TrialStatus

    running.move("fast", 2, TrialStatus.CANCELLED, lab_time_h=3.0, reason="withdrawn")
    running.request_stop("fast", None, reason="enough", by="person", lab_time_h=4.0)
    assert [trial.stop_requested for trial in running.trials("fast")] == ["enough", None]


def test_nothing_is_left_to_stop_at_the_end(running: TrialStore) -> None:
    """What has ended cannot be asked to stop."""
    from orchestrator.domain import TrialStatus

    running.move("fast", 2, TrialStatus.CANCELLED, lab_time_h=3.0)
    with pytest.raises(CampaignError, match="trial 2 of 'fast' is cancelled already"):
        running.request_stop("fast", 2, reason="x", by="person", lab_time_h=4.0)
    running.set_campaign("fast", status="stopped", lab_time_h=4.0)
    with pytest.raises(CampaignError, match="campaign 'fast' is stopped already"):
        running.request_stop("fast", None, reason="x", by="person", lab_time_h=4.0)


def test_a_spec_changed_from_outside_is_noticed(sqlite_store: TrialStore, spec: CampaignSpec) -> None:
    """A stored spec that is not what its hash says is refused, not run."""
    from orchestrator.store import ledger

    sqlite_store.register_campaign(spec, lab_time_h=0.0)
    ledger._specs_read.clear()
    with sqlite_store.database.write() as session:
        session.connection().exec_driver_sql("DROP TRIGGER spec_versions_no_update")
        session.connection().exec_driver_sql("UPDATE spec_versions SET spec = json_set(spec, '$.seed', 8)")
    with pytest.raises(StoreError, match="changed from outside"):
        sqlite_store.campaign("fast")
