"""The log, and facts about the lab."""

from datetime import UTC, datetime
from threading import Thread

import pytest
from sqlalchemy.exc import DatabaseError

from orchestrator.domain import CampaignSpec
from orchestrator.domain.errors import CampaignError
from orchestrator.store import Event, TrialStore


def test_events_come_back_in_order(store: TrialStore, spec: CampaignSpec) -> None:
    """The log tells what happened when, by the system's clock and in lab time; a limit asks for the latest."""
    store.register_campaign(spec, lab_time_h=0.5)
    store.log("lab_opened", lab_time_h=1.0)
    store.log("recommended", campaign="fast", trial=3, data={"why": "best"}, lab_time_h=2.0)
    assert [event.kind for event in store.events()] == ["campaign_registered", "lab_opened", "recommended"]
    assert [event.kind for event in store.events("fast")] == ["campaign_registered", "recommended"]
    at = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    assert store.events(limit=1) == [Event(3, at, 2.0, "recommended", "fast", 3, {"why": "best"})]
    with pytest.raises(CampaignError, match="no campaign 'slow'"):
        store.events("slow")


def test_what_is_logged_once_is_logged_once(url: str) -> None:
    """However many programs say it at the same moment; other words are another event."""
    stores = [TrialStore.open(url) for _ in range(6)]
    wrote: list[bool] = []
    threads = [
        Thread(target=lambda s=store: wrote.append(s.log_once("pressed", "r1", lab_time_h=1.0, data={"id": "r1"})))
        for store in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wrote) == [False] * 5 + [True]
    assert stores[0].log_once("pressed", "r2", lab_time_h=2.0)
    assert [event.data for event in stores[0].events(kinds=["pressed"])] == [{"id": "r1"}, {}]
    for store in stores:
        store.close()


@pytest.mark.parametrize("table", ["events", "spec_versions"])
@pytest.mark.parametrize("change", ["UPDATE {} SET lab_time_h = 0", "DELETE FROM {}", "replace"])
def test_history_is_append_only(store: TrialStore, spec: CampaignSpec, table: str, change: str) -> None:
    """The database itself refuses to change, delete or replace an event or a spec's version."""
    store.register_campaign(spec, lab_time_h=0.5)
    if change == "replace":
        postgres = store.database.path is None
        change = "TRUNCATE {} CASCADE" if postgres else "INSERT OR REPLACE INTO {0} SELECT * FROM {0}"
    before = store.events()
    with (
        pytest.raises(DatabaseError, match="append-only"),
        store.database.engine.execution_options(voltloop_writes=True).begin() as connection,
    ):
        connection.exec_driver_sql(change.format(table))
    assert store.events() == before
    assert store.campaign("fast").spec == spec


def test_the_latest_lab_time_is_known(store: TrialStore, spec: CampaignSpec) -> None:
    """A virtual clock can go on from the latest lab time that anything was stored with; an empty lab has none."""
    assert store.last_lab_time_h() is None
    store.register_campaign(spec, lab_time_h=7.5)
    store.log("late", lab_time_h=12.25)
    store.log("out of order", lab_time_h=3.0)
    assert store.last_lab_time_h() == 12.25


def test_the_end_of_a_trial_counts_as_lab_time(running: TrialStore) -> None:
    """A result's own end is the latest lab time even if it lies ahead of everything else."""
    from orchestrator.domain import TrialStatus

    running.finish("fast", 1, status=TrialStatus.FAILED, outcome={}, stopped_because="x", ended_h=5000.0, fence=1)
    assert running.last_lab_time_h() == 5000.0


def test_facts_about_the_lab(store: TrialStore) -> None:
    """A fact is found under its name, replaced when stored again, and None when unknown."""
    assert store.fact("clock") is None
    store.set_fact("clock", {"kind": "virtual"}, lab_time_h=1.0)
    store.set_fact("clock", "system", lab_time_h=2.0)
    assert store.fact("clock") == "system"
