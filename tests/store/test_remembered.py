"""What a process remembers of trials is never older than the log."""

import pytest

from orchestrator.domain import CampaignSpec, Candidate, Estimate, TrialStatus
from orchestrator.store import NewTrial, TrialStore

NEW = NewTrial(Candidate({"c1": 2.0}), "sobol")


@pytest.fixture
def campaign(store: TrialStore, spec: CampaignSpec) -> TrialStore:
    """A lab with the campaign `fast` and three trials, all read once."""
    store.register_campaign(spec, lab_time_h=0.0)
    store.add_trials("fast", [NEW] * 3, lab_time_h=0.0)
    assert len(store.trials("fast")) == 3
    return store


def test_changes_by_another_process_are_seen(campaign: TrialStore, url: str) -> None:
    """Two stores on one lab: each sees trials, moves, outcomes and stops that the other wrote."""
    with TrialStore.open(url) as other:
        other.move("fast", 2, TrialStatus.APPROVED, lab_time_h=1.0)
        other.add_outcome("fast", 1, {"cycle_life": Estimate(700.0, source="predicted")}, lab_time_h=1.0)
        other.request_stop("fast", 3, reason="smoke", by="person", lab_time_h=1.0)
        other.add_trials("fast", [NEW], lab_time_h=1.0)
        seen = campaign.trials("fast")
        assert seen == other.trials("fast") == [other.trial("fast", n) for n in (1, 2, 3, 4)]
    assert seen[0].outcome["cycle_life"].mean == 700.0
    assert seen[1].status is TrialStatus.APPROVED
    assert seen[2].stop_requested == "smoke"


def test_a_stop_of_the_whole_campaign_reaches_every_open_trial(campaign: TrialStore) -> None:
    """An event of the campaign as a whole has every trial read again."""
    assert {t.stop_requested for t in campaign.trials("fast")} == {None}
    campaign.request_stop("fast", None, reason="holiday", by="person", lab_time_h=1.0)
    assert {t.stop_requested for t in campaign.trials("fast")} == {"holiday"}
