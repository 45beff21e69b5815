"""Channels in the store."""

import pytest

from orchestrator.domain import Estimate, TrialStatus
from orchestrator.domain.errors import CampaignError
from orchestrator.store import ChannelRecord, TrialStore


def test_channels_are_made_known_once(store: TrialStore) -> None:
    """A cycler's channels keep their order and their state however often they are made known; new ones are added."""
    store.ensure_channels("b", ["1", "2", "10"])
    store.ensure_channels("a", ["1"])
    store.quarantine("b", "2", reason="dirty contact", lab_time_h=1.0)
    store.ensure_channels("b", ["1", "2", "10", "11"])
    assert [(c.cycler, c.name, c.state) for c in store.channels()] == [
        ("b", "1", "free"),
        ("b", "2", "quarantined"),
        ("b", "10", "free"),
        ("a", "1", "free"),
        ("b", "11", "free"),
    ]


def test_a_quarantined_channel_is_released_by_a_person(sqlite_store: TrialStore) -> None:
    """A quarantine shows its reason until it is lifted; both are in the log."""
    sqlite_store.ensure_channels("sim", ["1"])
    sqlite_store.quarantine("sim", "1", reason="dirty contact", lab_time_h=1.0)
    assert sqlite_store.channels() == [ChannelRecord("sim", "1", "quarantined", reason="dirty contact")]
    sqlite_store.release("sim", "1", lab_time_h=2.0)
    sqlite_store.release("sim", "1", lab_time_h=3.0)
    assert sqlite_store.channels() == [ChannelRecord("sim", "1", "free")]
    assert [event.kind for event in sqlite_store.events()] == ["channel_quarantined", "channel_released"]


def test_a_held_channel_is_not_released(running: TrialStore) -> None:
    """A person cannot free a channel that a trial holds."""
    with pytest.raises(CampaignError, match=r"is held by a trial.*voltloop stop"):
        running.release("sim", "1", lab_time_h=3.0)
    assert running.channels()[0].trial == 1


def test_a_quarantine_outlasts_the_trial_on_the_channel(running: TrialStore, life: dict[str, Estimate]) -> None:
    """A channel quarantined in mid-test keeps its trial to the end and is not free afterwards."""
    running.quarantine("sim", "1", reason="noisy", lab_time_h=3.0)
    assert running.channels()[0] == ChannelRecord("sim", "1", "quarantined", "fast", 1, 1, "noisy")
    running.finish("fast", 1, status=TrialStatus.COMPLETED, outcome=life, stopped_because=None, ended_h=9.0, fence=1)
    assert running.channels()[0] == ChannelRecord("sim", "1", "quarantined", None, None, 1, "noisy")


def test_lifting_a_quarantine_in_mid_test_leaves_the_channel_held(running: TrialStore) -> None:
    """Releasing a quarantined channel with a trial on it does not free it."""
    running.quarantine("sim", "1", reason="noisy", lab_time_h=3.0)
    running.release("sim", "1", lab_time_h=4.0)
    assert running.channels()[0] == ChannelRecord("sim", "1", "held", "fast", 1, 1)


def test_an_unknown_channel_names_those_there_are(sqlite_store: TrialStore) -> None:
    """A wrong channel is answered with the known ones."""
    sqlite_store.ensure_channels("sim", ["1", "2"])
    with pytest.raises(CampaignError, match=r"no channel '9' on a cycler 'sim'\. Known: sim 1, sim 2"):
        sqlite_store.quarantine("sim", "9", reason="x", lab_time_h=1.0)
