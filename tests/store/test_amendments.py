"""A new version of a campaign's spec: whole or not at all, with what it means for trials, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.domain import CampaignSpec, Candidate, Trial, TrialStatus
from orchestrator.domain.amendment import Amendment, amended
from orchestrator.domain.errors import CampaignError
from orchestrator.domain.trial import WITHDRAWN
from orchestrator.store import LockLostError, NewTrial, TrialStore

Add = Callable[[TrialStore, int], list[Trial]]
REST = {"name": "rest_min", "lower": 0.0, "upper": 30.0, "past": 5.0}


def change(spec: CampaignSpec, tmp_path, **partial) -> Amendment:
    return amended(spec, partial, tmp_path)


@pytest.fixture
def more_trials(spec, tmp_path) -> Amendment:
    return change(spec, tmp_path, budget={"trials": 99})


def amend(store: TrialStore, amendment: Amendment, **further) -> int:
    return store.amend("fast", amendment, **{"follows": 1, "by": "ada", "lab_time_h": 3.0, **further})


def test_a_version_follows_on_the_last(store, spec, more_trials):
    """The campaign has the new spec at once; earlier versions, who amended and what changed are kept."""
    store.register_campaign(spec, lab_time_h=0.0)
    assert amend(store, more_trials) == 2
    record = store.campaign("fast")
    assert (record.spec_version, record.spec) == (2, more_trials.spec)
    assert [(v.version, v.spec, v.amended_by) for v in store.spec_versions("fast")] == [
        (1, spec, None),
        (2, more_trials.spec, "ada"),
    ]
    said = store.events("fast", kinds=("campaign_amended",))[-1].data
    assert said["changes"] == [{"where": "budget.trials", "before": 24, "after": 99}]
    assert (said["spec_version"], said["by"], said["withdrawn"], said["flagged"]) == (2, "ada", [], [])


def test_trials_keep_the_version_they_were_proposed_under(store, add_approved: Add, more_trials):
    """Old trials stay of version 1, new ones are of version 2."""
    add_approved(store, 2)
    amend(store, more_trials)
    store.add_trials("fast", [NewTrial(Candidate({"c1": 2.0}), "sobol")], lab_time_h=4.0)
    assert [trial.spec_version for trial in store.trials("fast")] == [1, 1, 2]


def test_earlier_candidates_are_read_with_their_past_values(store, add_approved: Add, spec, tmp_path):
    """However often the spec was amended, every candidate is complete, and only by what came after its own version."""
    add_approved(store, 1)
    first = change(spec, tmp_path, space={"parameters": [REST]})
    amend(store, first)
    store.add_trials("fast", [NewTrial(Candidate({"c1": 2.0, "rest_min": 9.0}), "sobol")], lab_time_h=4.0)
    second = change(first.spec, tmp_path, space={"parameters": [{"name": "pulse", "values": ["yes", "no"], "past": "no"}]})
    amend(store, second, follows=2)
    expected = [{"c1": 1.0, "rest_min": 5.0, "pulse": "no"}, {"c1": 2.0, "rest_min": 9.0, "pulse": "no"}]
    assert [trial.candidate.parameters for trial in store.trials("fast")] == expected
    assert store.trial("fast", 1).candidate.parameters == expected[0]
    moved = store.begin_dispatch("fast", 1, cycler="sim", channel="1", lab_time_h=5.0)
    assert moved.candidate.parameters == expected[0]
    with TrialStore.open(store.database.path or store.database.engine.url.render_as_string(hide_password=False)) as again:
        assert [trial.candidate.parameters for trial in again.trials("fast")] == expected


def test_waiting_trials_that_it_forbids_are_withdrawn(store, add_approved: Add, more_trials):
    """They are cancelled for the reason given, and no failure of the candidate; a rejected one is left alone."""
    add_approved(store, 3)
    store.move("fast", 3, TrialStatus.CANCELLED, lab_time_h=2.0, reason="rejected")
    amend(store, more_trials, withdrawn={1: "too hot", 3: "too hot"})
    first, second, third = store.trials("fast")
    assert (first.status, first.stopped_because, first.cause, first.ended_h) == ("cancelled", "too hot", WITHDRAWN, 3.0)
    assert second.status is TrialStatus.APPROVED
    assert third.stopped_because == "rejected"
    assert store.events("fast", kinds=("campaign_amended",))[-1].data["withdrawn"] == [1]


def test_a_trial_being_started_cannot_be_withdrawn(store, add_approved: Add, more_trials):
    """Whoever amends has to settle it first; nothing of the amendment is stored."""
    add_approved(store, 2)
    store.begin_dispatch("fast", 2, cycler="sim", channel="1", lab_time_h=2.0)
    with pytest.raises(CampaignError, match="trial 2 of 'fast' is dispatching by now"):
        amend(store, more_trials, withdrawn={1: "too hot", 2: "too hot"})
    assert store.campaign("fast").spec_version == 1
    assert store.trial("fast", 1).status is TrialStatus.APPROVED
    assert not store.events("fast", kinds=("campaign_amended",))


def test_running_trials_that_it_forbids_are_flagged(running: TrialStore, more_trials, spec, tmp_path):
    """The flag and its event stay until a later version allows the trial again; it goes on running."""
    amend(running, more_trials, flagged={1: "too hot"})
    trial = running.trial("fast", 1)
    assert (trial.status, trial.flag, trial.stop_requested) == (TrialStatus.RUNNING, "too hot", None)
    assert [e.data for e in running.events("fast", kinds=("trial_flagged",))] == [{"reason": "too hot"}]
    amend(running, change(more_trials.spec, tmp_path, budget={"trials": 98}), follows=2)
    assert running.trial("fast", 1).flag is None
    assert running.events("fast", kinds=("trial_unflagged",))


def test_flagged_trials_are_stopped_if_asked(running: TrialStore, more_trials, spec, tmp_path):
    """The request names the amendment as its cause, and is made once."""
    amend(running, more_trials, flagged={1: "too hot"}, stop_flagged=True)
    again = change(more_trials.spec, tmp_path, budget={"trials": 98})
    amend(running, again, follows=2, flagged={1: "too hot"}, stop_flagged=True)
    assert running.trial("fast", 1).stop_requested == "too hot"
    assert [e.data for e in running.events("fast", kinds=("stop_requested",))] == [
        {"reason": "too hot", "by": "ada", "cause": "amendment"}
    ]


def test_the_version_that_a_running_test_was_begun_under_is_known(running: TrialStore, more_trials):
    """What was proposed under one version may be begun under the next; its test carries the limits of that one."""
    amend(running, more_trials)
    running.begin_dispatch("fast", 2, cycler="sim", channel="2", lab_time_h=4.0)
    begun = running.started_under("fast")
    assert (begun[1].budget.trials, begun[2].budget.trials) == (24, 99)


def test_an_amendment_of_an_older_version_is_refused(store, spec, more_trials):
    """Of two people who amend at once the second is told."""
    store.register_campaign(spec, lab_time_h=0.0)
    amend(store, more_trials)
    with pytest.raises(CampaignError, match="was amended meanwhile"):
        amend(store, more_trials)
    assert store.campaign("fast").spec_version == 2


def test_only_a_completed_campaign_is_reopened(store, spec, more_trials):
    """A stopped one stays so; a completed one runs again if that is asked for."""
    store.register_campaign(spec, lab_time_h=0.0)
    store.set_campaign("fast", status="stopped", reason="enough", ended_h=2.0, lab_time_h=2.0)
    with pytest.raises(CampaignError, match="'fast' is stopped and cannot be amended"):
        amend(store, more_trials, reopen=True)
    store.set_campaign("fast", status="completed", reason="done", ended_h=2.0, lab_time_h=2.0)
    with pytest.raises(CampaignError, match="'fast' is completed and cannot be amended"):
        amend(store, more_trials)
    amend(store, more_trials, reopen=True)
    record = store.campaign("fast")
    assert (record.status, record.status_reason, record.ended_h, record.spec_version) == ("running", None, None, 2)


def test_a_fixed_reference_point_follows_a_threshold(store, spec, tmp_path):
    """A threshold is the reference point's coordinate, whenever it is stated."""
    store.register_campaign(spec, lab_time_h=0.0)
    store.set_campaign("fast", reference_point={"cycle_life": 250.0}, lab_time_h=1.0)
    amend(store, change(spec, tmp_path, objectives=[{"metric": "cycle_life", "threshold": 400}]))
    assert store.campaign("fast").reference_point == {"cycle_life": 400.0}


def test_whoever_lost_the_lock_amends_nothing(store, add_approved: Add, more_trials):
    """An amendment that was stalled past its lease writes nothing."""
    add_approved(store, 1)
    with store.campaign_lock("fast", "amend") as fence:
        fenced = store.under("fast", fence)
    with store.campaign_lock("fast", "tick"), pytest.raises(LockLostError):
        amend(fenced, more_trials, withdrawn={1: "too hot"})
    assert store.campaign("fast").spec_version == 1
    assert store.trial("fast", 1).status is TrialStatus.APPROVED
