"""Dispatch: who holds a channel, under which key and fence, and how it is given back."""

import multiprocessing
from collections.abc import Callable

import pytest

from orchestrator.domain import Estimate, Trial, TrialStatus
from orchestrator.domain.errors import CampaignError, IllegalMoveError, StoreError
from orchestrator.store import ChannelRecord, RecordingFile, StaleFenceError, TrialStore

AddApproved = Callable[[TrialStore, int], list[Trial]]
FILE = RecordingFile("recordings/fast_1_1-0123.parquet", "ab" * 32, 5, 1)


def _finish(store: TrialStore, fence: int, outcome: dict[str, Estimate], **given: object) -> Trial:
    fate = {"status": TrialStatus.COMPLETED, "stopped_because": None, "ended_h": 100.0, "recording": None, "summaries": []}
    return store.finish("fast", 1, fence=fence, outcome=outcome, **{**fate, **given})  # type: ignore[arg-type]


def test_an_intent_takes_the_channel_under_a_new_fence(store: TrialStore, add_approved: AddApproved) -> None:
    """Beginning a dispatch gives the trial its key and its channel, which it holds alone, and raises the fence."""
    add_approved(store, 1)
    trial = store.begin_dispatch("fast", 1, cycler="sim", channel="2", lab_time_h=2.0)
    assert trial is not None
    assert (trial.status, trial.attempt, trial.key) == (TrialStatus.DISPATCHING, 1, "fast/1/1")
    assert (trial.cycler, trial.channel, trial.fence) == ("sim", "2", 1)
    assert store.trials("fast") == [trial]
    assert store.channels()[1] == ChannelRecord("sim", "2", "held", "fast", 1, 1)
    assert [channel.state for channel in store.channels()] == ["free", "held", "free"]


def test_an_intent_is_confirmed_once_its_key_may_be_submitted(store: TrialStore, add_approved: AddApproved) -> None:
    """Of each attempt by itself; a key that nobody heard of was never submitted."""
    add_approved(store, 1)
    first = store.begin_dispatch("fast", 1, cycler="sim", channel="2", lab_time_h=2.0)
    assert first is not None
    assert not store.was_confirmed("fast/1/1")
    store.confirm_intent("fast", 1, fence=first.fence or 0)
    assert store.was_confirmed("fast/1/1")
    store.withdraw_dispatch("fast", 1, fence=first.fence or 0, reason="busy", lab_time_h=2.0)
    store.begin_dispatch("fast", 1, cycler="sim", channel="1", lab_time_h=2.0)
    assert not store.was_confirmed("fast/1/2")
    assert not store.was_confirmed("fast/9/1")


def test_a_channel_that_is_taken_is_not_taken_again(store: TrialStore, add_approved: AddApproved) -> None:
    """For a channel that is held, quarantined or unknown, the dispatch does not begin and nothing changes."""
    add_approved(store, 2)
    store.begin_dispatch("fast", 1, cycler="sim", channel="1", lab_time_h=2.0)
    store.quarantine("sim", "2", reason="dirty", lab_time_h=2.0)
    before = (store.trials("fast"), store.channels(), store.events())
    for channel in ("1", "2", "99"):
        assert store.begin_dispatch("fast", 2, cycler="sim", channel=channel, lab_time_h=3.0) is None
    assert (store.trials("fast"), store.channels(), store.events()) == before


def test_only_approved_trials_are_dispatched(running: TrialStore) -> None:
    """A trial that runs already is not dispatched a second time, on any channel."""
    with pytest.raises(IllegalMoveError, match="trial 1 is running and cannot become dispatching"):
        running.begin_dispatch("fast", 1, cycler="sim", channel="2", lab_time_h=3.0)
    assert running.channels()[1].state == "free"


def test_an_acknowledged_trial_runs(running: TrialStore) -> None:
    """The acknowledgement stores the cycler's reference and start; the same one again is harmless."""
    trial = running.trials("fast")[0]
    assert (trial.status, trial.run_ref, trial.started_h) == (TrialStatus.RUNNING, "run-1", 2.5)
    events = running.events()
    assert running.acknowledge("fast", 1, run_ref="run-1", started_h=2.5, fence=1) == trial
    assert running.events() == events
    with pytest.raises(IllegalMoveError):
        running.acknowledge("fast", 1, run_ref="run-2", started_h=2.5, fence=1)


def test_a_withdrawn_dispatch_frees_the_channel_and_spends_the_key(store: TrialStore, add_approved: AddApproved) -> None:
    """Nothing was started: the trial waits again, the channel is free, and the next attempt has a new key and fence."""
    add_approved(store, 1)
    store.begin_dispatch("fast", 1, cycler="sim", channel="1", lab_time_h=2.0)
    back = store.withdraw_dispatch("fast", 1, fence=1, reason="chamber too warm", lab_time_h=3.0)
    assert (back.status, back.key, back.channel, back.fence, back.attempt) == (TrialStatus.APPROVED, None, None, None, 1)
    assert store.channels()[0] == ChannelRecord("sim", "1", "free", fence=1)
    again = store.begin_dispatch("fast", 1, cycler="sim", channel="1", lab_time_h=4.0)
    assert again is not None
    assert (again.key, again.fence) == ("fast/1/2", 2)


def test_a_late_answer_to_an_earlier_attempt_is_not_let_in(store: TrialStore, add_approved: AddApproved, life) -> None:
    """After a second dispatch, whatever comes under the first one's fence is refused and changes nothing."""
    add_approved(store, 1)
    store.begin_dispatch("fast", 1, cycler="sim", channel="1", lab_time_h=2.0)
    store.withdraw_dispatch("fast", 1, fence=1, reason="no answer", lab_time_h=3.0)
    store.begin_dispatch("fast", 1, cycler="sim", channel="1", lab_time_h=4.0)
    before = (store.trials("fast"), store.channels(), store.events())
    with pytest.raises(StaleFenceError, match="under fence 2; what came for fence 1"):
        store.acknowledge("fast", 1, run_ref="run-1", started_h=2.5, fence=1)
    with pytest.raises(StaleFenceError):
        store.withdraw_dispatch("fast", 1, fence=1, reason="late", lab_time_h=5.0)
    with pytest.raises(StaleFenceError):
        _finish(store, 1, life)
    assert (store.trials("fast"), store.channels(), store.events()) == before


def test_an_unknown_trial_keeps_its_channel(running: TrialStore) -> None:
    """What cannot be told is parked with its reason and its channel; an answer lets it run on."""
    parked = running.park_unknown("fast", 1, reason="no answer", lab_time_h=3.0)
    assert (parked.status, parked.stopped_because, parked.channel) == (TrialStatus.UNKNOWN, "no answer", "1")
    assert running.channels()[0].state == "held"
    events = running.events()
    assert running.park_unknown("fast", 1, reason="still none", lab_time_h=4.0) == parked
    assert running.events() == events
    found = running.acknowledge("fast", 1, run_ref="run-1", started_h=2.5, fence=1)
    assert (found.status, found.stopped_because) == (TrialStatus.RUNNING, None)


def test_an_unknown_trial_that_never_started_waits_again(running: TrialStore) -> None:
    """A person who finds that nothing runs gives the channel and the trial back."""
    running.park_unknown("fast", 1, reason="no answer", lab_time_h=3.0)
    back = running.withdraw_dispatch("fast", 1, fence=1, reason="not started", lab_time_h=4.0)
    assert (back.status, back.run_ref, back.started_h, back.stopped_because) == (TrialStatus.APPROVED, None, None, None)
    assert running.channels()[0].state == "free"


def test_a_result_is_taken_in_whole(running: TrialStore, life: dict[str, Estimate]) -> None:
    """Outcome, state, recording, summaries, the violated limit and the channel's release arrive together."""
    summaries = [{"cycle_count": 1, "capacity_Ah": 1.1}, {"cycle_count": 50, "capacity_Ah": float("nan")}]
    ended = _finish(running, 1, life, stopped_because="early", recording=FILE, summaries=summaries, limits_violated=True)
    assert (ended.status, ended.outcome, ended.ended_h, ended.stopped_because) == (TrialStatus.COMPLETED, life, 100.0, "early")
    assert (ended.key, ended.channel) == ("fast/1/1", "1")
    assert running.trials("fast")[0] == ended
    assert running.channels()[0] == ChannelRecord("sim", "1", "free", fence=1)
    assert running.recording_of("fast", 1) == FILE
    assert running.cycle_summaries("fast", 1) == [summaries[0], {"cycle_count": 50, "capacity_Ah": None}]
    assert running.limits_violated("fast") == 1
    last = running.events("fast")[-1]
    assert (last.kind, last.trial, last.lab_time_h) == ("trial_completed", 1, 100.0)


def test_a_result_delivered_twice_counts_once(running: TrialStore, life: dict[str, Estimate]) -> None:
    """The second delivery changes nothing, even if it says something else, or the channel has a new holder."""
    first = _finish(running, 1, life, recording=FILE, summaries=[{"cycle_count": 1}])
    running.begin_dispatch("fast", 2, cycler="sim", channel="1", lab_time_h=101.0)
    before = (running.trials("fast"), running.channels(), running.events(), running.outcome_history("fast", 1))
    for fence in (1, 2):
        again = _finish(running, fence, {"cycle_life": Estimate(1.0)}, status=TrialStatus.FAILED, limits_violated=True)
        assert again == first
    assert (running.trials("fast"), running.channels(), running.events(), running.outcome_history("fast", 1)) == before
    assert len(running.cycle_summaries("fast", 1)) == 1
    assert running.limits_violated("fast") == 0


def test_a_result_that_cannot_be_stored_frees_nothing(running: TrialStore, life: dict[str, Estimate]) -> None:
    """If any part of a result is refused, no part of it is stored: the trial still runs and holds its channel."""
    before = (running.trials("fast"), running.channels(), running.events())
    with pytest.raises(StoreError, match="cannot be stored"):
        _finish(running, 1, life, recording=FILE, summaries=[{"cycle_count": object()}])
    assert (running.trials("fast"), running.channels(), running.events()) == before
    assert running.recording_of("fast", 1) is None


@pytest.mark.parametrize(
    ("number", "status"), [(1, TrialStatus.APPROVED), (1, TrialStatus.CANCELLED), (2, TrialStatus.COMPLETED)]
)
def test_a_trial_ends_only_as_it_may(running: TrialStore, number: int, status: TrialStatus) -> None:
    """A running trial does not finish as something that is no end or not one of its own; a waiting one has no run to finish."""
    fence: int = running.trial("fast", number).fence  # type: ignore[assignment]
    with pytest.raises(IllegalMoveError):
        running.finish("fast", number, status=status, outcome={}, stopped_because=None, ended_h=9.0, fence=fence)
    assert running.channels()[0].state == "held"


def test_a_failed_dispatch_may_end_at_once(store: TrialStore, add_approved: AddApproved) -> None:
    """A test that died before it was acknowledged is failed, and its channel is free."""
    add_approved(store, 1)
    store.begin_dispatch("fast", 1, cycler="sim", channel="1", lab_time_h=2.0)
    assert _finish(store, 1, {}, status=TrialStatus.FAILED).status is TrialStatus.FAILED
    assert store.channels()[0].state == "free"
    assert store.recording_of("fast", 1) is None


def test_a_missing_trial_is_named(running: TrialStore) -> None:
    """A wrong number is answered in words."""
    with pytest.raises(CampaignError, match="no trial 9; it has 2"):
        running.begin_dispatch("fast", 9, cycler="sim", channel="2", lab_time_h=1.0)


def _race(url: str, numbers: list[int], start, wins) -> None:
    store = TrialStore.open(url)
    for channel in ("1", "2", "3"):
        start.wait()
        for number in numbers:
            if store.trial("fast", number).status is TrialStatus.APPROVED:
                trial = store.begin_dispatch("fast", number, cycler="sim", channel=channel, lab_time_h=2.0)
                if trial is not None:
                    wins.put((channel, number, trial.fence))
    store.close()


def test_processes_that_want_the_same_channel(url: str, add_approved: AddApproved) -> None:
    """When several processes begin to dispatch to one channel at once, exactly one gets it: held once, fence 1."""
    store = TrialStore.open(url)
    add_approved(store, 12)
    store.close()
    fork = multiprocessing.get_context("fork")
    start, wins = fork.Barrier(3), fork.Queue()
    racers = [fork.Process(target=_race, args=(url, [n, n + 3, n + 6, n + 9], start, wins)) for n in (1, 2, 3)]
    for racer in racers:
        racer.start()
    won = sorted(wins.get(timeout=60) for _ in range(3))
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    assert wins.empty()
    assert [(channel, fence) for channel, _, fence in won] == [("1", 1), ("2", 1), ("3", 1)]
    with TrialStore.open(url) as after:
        assert [(channel.name, channel.trial) for channel in after.channels()] == [(channel, n) for channel, n, _ in won]
        dispatching = [trial.number for trial in after.trials("fast") if trial.status is TrialStatus.DISPATCHING]
        assert dispatching == sorted(n for _, n, _ in won)
