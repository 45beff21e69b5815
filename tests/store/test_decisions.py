"""A person's word on proposed trials: all of them or none, whoever else writes, and who gave it."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from orchestrator.domain import CampaignSpec, Candidate, TrialStatus
from orchestrator.domain.errors import CampaignError
from orchestrator.domain.trial import REJECTED
from orchestrator.store import NewTrial, TrialStore

BOTH = [1, 2]


@pytest.fixture
def asking(store: TrialStore, spec: CampaignSpec) -> TrialStore:
    """A lab whose campaign `fast` has six proposed trials."""
    store.register_campaign(spec, lab_time_h=0.0)
    store.add_trials("fast", [NewTrial(Candidate({"c1": 1.0 + n}), "sobol") for n in range(6)], lab_time_h=0.0)
    return store


def decide(store: TrialStore, numbers: list[int], *, approved: bool, by: str = "ada@bench", reason: str | None = None):
    """One decision at two hours."""
    return store.decide("fast", numbers, approved=approved, by=by, reason=reason, lab_time_h=2.0)


def states(store: TrialStore) -> list[str]:
    """Where the trials stand."""
    return [str(trial.status) for trial in store.trials("fast")]


def test_who_approved_is_kept_with_the_trial_and_in_the_log(asking: TrialStore) -> None:
    """The name stands with each trial, the reason in the log, in one transaction."""
    assert [trial.number for trial in decide(asking, [2, 1], approved=True, reason="looks sound")] == BOTH
    first = asking.trial("fast", 1)
    assert (first.status, first.decided_by, first.stopped_because) == (TrialStatus.APPROVED, "ada@bench", None)
    said = [(event.trial, event.data["by"], event.data["reason"]) for event in asking.events("fast", 2, ["trial_approved"])]
    assert said == [(1, "ada@bench", "looks sound"), (2, "ada@bench", "looks sound")]


def test_a_rejected_trial_says_by_whom_and_why(asking: TrialStore) -> None:
    """A rejection ends the trial; its cause is told from a fault of the test."""
    decide(asking, [1], approved=False, reason="too hot for the room")
    decide(asking, [2], approved=False)
    first, second = asking.trials("fast")[:2]
    assert (str(first.status), first.cause, first.ended_h) == ("cancelled", REJECTED, 2.0)
    assert first.stopped_because == "rejected by ada@bench: too hot for the room"
    assert second.stopped_because == "rejected by ada@bench"


def test_one_that_does_not_wait_leaves_all_as_they_were(asking: TrialStore) -> None:
    """A trial cancelled by a tick, one that does not exist: nothing is decided, and the message says which and what waits."""
    asking.move("fast", 2, TrialStatus.CANCELLED, lab_time_h=1.0, reason="the campaign is to stop")
    before = asking.events("fast")
    with pytest.raises(CampaignError, match=r"none was decided: trial 2 is cancelled\. .* there wait: 1, 3, 4, 5, 6"):
        decide(asking, BOTH, approved=True)
    with pytest.raises(CampaignError, match="has no trial 7"):
        decide(asking, [1, 7], approved=True)
    assert states(asking) == ["proposed", "cancelled", *["proposed"] * 4]
    assert asking.events("fast") == before


def test_saying_it_again_changes_nothing(asking: TrialStore) -> None:
    """The first name stands; the log does not grow; also once the trial runs."""
    asking.ensure_channels("sim", ["1"])
    decide(asking, [1], approved=True)
    decide(asking, [2], approved=False)
    asking.begin_dispatch("fast", 1, cycler="sim", channel="1", lab_time_h=2.5)
    before = asking.events("fast")
    assert decide(asking, [1, 1], approved=True, by="bob@bench") == []
    assert decide(asking, [2], approved=False, by="bob@bench") == []
    assert asking.trial("fast", 1).decided_by == "ada@bench"
    assert asking.events("fast") == before


def test_a_decision_is_not_turned_round(asking: TrialStore) -> None:
    """Who approved is named, and that a stop is the way to end what was approved."""
    decide(asking, [1], approved=True)
    decide(asking, [2], approved=False)
    with pytest.raises(CampaignError, match=r"trial 1 is approved, approved by ada@bench.*voltloop stop fast --trial N"):
        decide(asking, [1, 3], approved=False, by="bob@bench")
    with pytest.raises(CampaignError, match="trial 2 is cancelled, rejected by ada@bench"):
        decide(asking, [2, 3], approved=True, by="bob@bench")
    assert states(asking)[2] == "proposed"


def test_people_and_a_tick_at_once_never_share_a_batch(asking: TrialStore) -> None:
    """Two decide all six trials, a tick cancels the fourth, all at the same moment: one word holds for the whole batch."""
    together = Barrier(3)

    def say(what: str) -> str | None:
        together.wait()
        try:
            if what == "tick":
                asking.move("fast", 4, TrialStatus.CANCELLED, lab_time_h=2.0, reason="halt")
            else:
                decide(asking, [6, 5, 4, 3, 2, 1], approved=what == "yes", by=what)
        except CampaignError:
            return None
        return what

    with ThreadPoolExecutor(3) as people:
        done = set(people.map(say, ("yes", "no", "tick"))) - {None}
    deciders = [trial.decided_by for trial in asking.trials("fast")]
    assert done in ({"yes"}, {"no"}, {"tick"}, {"yes", "tick"})  # an approved trial may still be cancelled by a tick
    assert deciders == [next(iter(done - {"tick"}), None)] * 6
