"""Trials in the store, as long as no channel changes hands."""

import numpy as np
import pytest

from orchestrator.domain import CampaignSpec, Candidate, Estimate, TrialStatus
from orchestrator.domain.errors import CampaignError, IllegalMoveError
from orchestrator.store import NewTrial, TrialStore


@pytest.fixture
def plain_campaign(sqlite_store: TrialStore, spec: CampaignSpec) -> TrialStore:
    """The same on SQLite, for what does not depend on the engine."""
    sqlite_store.register_campaign(spec, lab_time_h=0.0)
    return sqlite_store


@pytest.fixture
def campaign(store: TrialStore, spec: CampaignSpec) -> TrialStore:
    """A lab with the campaign `fast`, without trials."""
    store.register_campaign(spec, lab_time_h=0.0)
    return store


def test_a_trial_comes_back_as_it_went_in(campaign: TrialStore) -> None:
    """Candidates keep their values to the last bit, their types, their order and their ids; numbers go on from 1."""
    candidates = [Candidate({"z": 0.1 + 0.2, "a": 3, "salt": "β"}, "p1"), Candidate({"z": 1e-300, "a": 4, "salt": "γ"})]
    added = campaign.add_trials("fast", [NewTrial(each, "sobol") for each in candidates], lab_time_h=1.0)
    more = campaign.add_trials("fast", [NewTrial(candidates[0], "BoTorch", TrialStatus.APPROVED)], lab_time_h=2.0)
    found = campaign.trials("fast")
    assert found == added + more
    assert [trial.number for trial in found] == [1, 2, 3]
    assert [trial.candidate for trial in found] == [*candidates, candidates[0]]
    assert list(found[0].candidate.parameters) == ["z", "a", "salt"]
    assert [type(given) for given in found[0].candidate.parameters.values()] == [float, int, str]
    assert [trial.status for trial in found] == ["proposed", "proposed", "approved"]
    assert [trial.origin for trial in found] == ["sobol", "sobol", "BoTorch"]
    assert found[0].attempt == 0
    assert campaign.trial("fast", 2) == found[1]


def test_numbers_belong_to_a_campaign(plain_campaign: TrialStore, spec: CampaignSpec) -> None:
    """Every campaign counts its trials from 1 and sees its own alone."""
    from dataclasses import replace

    plain_campaign.register_campaign(replace(spec, name="other"), lab_time_h=0.0)
    for name in ("fast", "other", "fast"):
        plain_campaign.add_trials(name, [NewTrial(Candidate({"c1": 2.0}), name)], lab_time_h=1.0)
    assert [(trial.number, trial.origin) for trial in plain_campaign.trials("fast")] == [(1, "fast"), (2, "fast")]
    assert [(trial.number, trial.origin) for trial in plain_campaign.trials("other")] == [(1, "other")]


def test_the_reason_for_a_proposal_is_kept(campaign: TrialStore) -> None:
    """The decision dossier is stored with the trial, numpy values and all; NaN becomes null, as JSON knows no NaN."""
    decision = {"acquisition": np.float64(0.5), "bounds": np.array([1.0, np.nan]), "model": {"beta": 3}, "pending": (2, 3)}
    new = [NewTrial(Candidate({"c1": c1}), "safe", decision=decision) for c1 in (1.0, 2.0)]
    campaign.add_trials("fast", new, lab_time_h=4.0)
    plain = {"acquisition": 0.5, "bounds": [1.0, None], "model": {"beta": 3}, "pending": [2, 3]}
    assert campaign.decisions("fast") == [{**plain, "trial": n, "lab_time_h": 4.0} for n in (1, 2)]


def test_a_decision_that_cannot_be_stored_stores_no_trial(plain_campaign: TrialStore) -> None:
    """If the dossier cannot be written the trial is not there either."""
    from orchestrator.domain.errors import StoreError

    with pytest.raises(StoreError, match="cannot be stored as JSON"):
        plain_campaign.add_trials("fast", [NewTrial(Candidate({"c1": 1.0}), "x", decision={"f": object()})], lab_time_h=1.0)
    assert plain_campaign.trials("fast") == []


def test_a_new_trial_is_proposed_or_approved(plain_campaign: TrialStore) -> None:
    """No trial is born running or ended."""
    with pytest.raises(CampaignError, match="proposed or approved"):
        plain_campaign.add_trials("fast", [NewTrial(Candidate({"c1": 1.0}), "x", TrialStatus.RUNNING)], lab_time_h=1.0)


def test_moves_without_a_channel(campaign: TrialStore) -> None:
    """A trial is approved or cancelled by a move, with its reason, and each move is in the log."""
    new = [NewTrial(Candidate({"c1": c1}), "sobol") for c1 in (1.0, 2.0)]
    campaign.add_trials("fast", new, lab_time_h=1.0)
    assert campaign.move("fast", 1, TrialStatus.APPROVED, lab_time_h=2.0).status is TrialStatus.APPROVED
    cancelled = campaign.move("fast", 2, TrialStatus.CANCELLED, lab_time_h=3.0, reason="a person said no")
    assert (cancelled.stopped_because, cancelled.ended_h) == ("a person said no", 3.0)
    assert campaign.trials("fast")[1] == cancelled
    logged = [(event.kind, event.trial, event.lab_time_h) for event in campaign.events("fast")]
    assert logged[-2:] == [("trial_approved", 1, 2.0), ("trial_cancelled", 2, 3.0)]


def test_illegal_moves_change_nothing(plain_campaign: TrialStore) -> None:
    """A move that the domain forbids, or that would take or free a channel, is refused and leaves no trace."""
    plain_campaign.add_trials("fast", [NewTrial(Candidate({"c1": 1.0}), "sobol")], lab_time_h=1.0)
    before = plain_campaign.events()
    with pytest.raises(IllegalMoveError, match="trial 1 is proposed and cannot become completed"):
        plain_campaign.move("fast", 1, TrialStatus.COMPLETED, lab_time_h=2.0)
    plain_campaign.move("fast", 1, TrialStatus.APPROVED, lab_time_h=2.0)
    with pytest.raises(IllegalMoveError, match="its channel must be taken in the same step"):
        plain_campaign.move("fast", 1, TrialStatus.DISPATCHING, lab_time_h=2.0)
    assert plain_campaign.trials("fast")[0].status is TrialStatus.APPROVED
    assert len(plain_campaign.events()) == len(before) + 1


def test_a_move_cannot_free_a_channel(running: TrialStore) -> None:
    """A trial on a channel ends through `finish` alone."""
    with pytest.raises(IllegalMoveError, match="its channel must be freed in the same step"):
        running.move("fast", 1, TrialStatus.FAILED, lab_time_h=3.0)
    assert running.channels()[0].trial == 1


def test_what_was_never_acknowledged_cannot_be_moved_to_running(sqlite_store: TrialStore, add_approved) -> None:
    """Running needs the cycler's reference."""
    add_approved(sqlite_store, 1)
    sqlite_store.begin_dispatch("fast", 1, cycler="sim", channel="1", lab_time_h=2.0)
    with pytest.raises(IllegalMoveError, match="no cycler has acknowledged it"):
        sqlite_store.move("fast", 1, TrialStatus.RUNNING, lab_time_h=3.0)


def test_an_unknown_trial_is_named(plain_campaign: TrialStore) -> None:
    """A wrong number is answered with how many trials there are."""
    with pytest.raises(CampaignError, match="has no trial 5; it has 0"):
        plain_campaign.move("fast", 5, TrialStatus.APPROVED, lab_time_h=1.0)
    with pytest.raises(CampaignError, match="has no trial 5"):
        plain_campaign.trial("fast", 5)


def test_results_from_elsewhere_are_completed_trials(plain_campaign: TrialStore, life: dict[str, Estimate]) -> None:
    """A told result is a completed trial with its outcome, numbered like any other; it never held a channel."""
    told = plain_campaign.tell("fast", Candidate({"c1": 2.0}), life, lab_time_h=5.0)
    assert (told.number, told.status, told.origin, told.outcome) == (1, TrialStatus.COMPLETED, "told", life)
    assert (told.attempt, told.channel, told.ended_h) == (0, None, 5.0)
    assert plain_campaign.trials("fast") == [told]
    assert plain_campaign.add_trials("fast", [NewTrial(Candidate({"c1": 2.0}), "x")], lab_time_h=6.0)[0].number == 2


def _life(mean: float, source: str = "predicted") -> dict[str, Estimate]:
    return {"cycle_life": Estimate(mean, 10.0, source, "cycles")}  # type: ignore[arg-type]


def test_later_predictions_replace_earlier_ones(running: TrialStore) -> None:
    """Among predictions the one made at the later cycle counts, in whatever order they come."""
    running.add_outcome("fast", 1, _life(500.0), at_cycle=100, lab_time_h=3.0)
    late = running.add_outcome("fast", 1, _life(700.0), at_cycle=40, lab_time_h=4.0)
    assert late.outcome == _life(500.0)
    again = running.add_outcome("fast", 1, _life(510.0), at_cycle=100, lab_time_h=5.0)
    assert again.outcome == running.trials("fast")[0].outcome == _life(510.0)
    assert again.status is TrialStatus.RUNNING


def test_a_prediction_never_supersedes_a_measurement(running: TrialStore) -> None:
    """Once measured, a metric stays measured; the whole history is kept."""
    running.add_outcome("fast", 1, _life(500.0), at_cycle=100, lab_time_h=3.0)
    running.add_outcome("fast", 1, _life(812.0, "measured"), lab_time_h=4.0)
    after = running.add_outcome("fast", 1, _life(400.0), at_cycle=900, lab_time_h=5.0)
    assert after.outcome == _life(812.0, "measured")
    history = running.outcome_history("fast", 1)
    assert [(row["mean"], row["source"], row["at_cycle"], row["lab_time_h"]) for row in history] == [
        (500.0, "predicted", 100, 3.0),
        (812.0, "measured", None, 4.0),
        (400.0, "predicted", 900, 5.0),
    ]


def test_outcomes_belong_to_their_trials(plain_campaign: TrialStore) -> None:
    """With many trials each has its own outcome."""
    for n in range(51):
        plain_campaign.tell("fast", Candidate({"c1": 1.0}), _life(float(n), "measured"), lab_time_h=1.0)
    assert [trial.outcome["cycle_life"].mean for trial in plain_campaign.trials("fast")] == [float(n) for n in range(51)]
