"""Several campaigns in one lab: shares by priority, quotas, nobody starved, nothing idle, nothing hoarded."""

import random
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from adapters.replay import ReplayCycler
from flows import Lab, advance_campaign, resume_campaign, run_campaign, start_campaign
from flows.cli import app
from flows.control import decide_trials
from orchestrator.domain import Approval, Budget, CandidateTable, CyclerSpec, Sharing, TrialStatus
from orchestrator.domain.errors import CyclerUnreachableError, RequestRefusedError
from tests.flows.conftest import small_spec
from tests.store.conftest import SteppedTime

ROWS = tuple({"x": float(i), "result": 10.0 - (i - 7) ** 2, "hours": 8.0 + (i * 7) % 5} for i in range(12))
ROUND_S = 1.0


def cycler(channels=6, **options):
    return ReplayCycler(ROWS, "result", noise_sd=1.0, duration_h="hours", channels=channels, **options)


def spec(name, trials, priority=1.0, quota=None, **changes):
    changes = {"space": CandidateTable(ROWS, ("x",)), "budget": Budget(trials=trials), "cyclers": (), **changes}
    return small_spec(name=name, sharing=Sharing(priority, quota), **changes)


@pytest.fixture
def system_time():
    return SteppedTime()


@pytest.fixture
def lab(folder, system_time):
    with Lab.open(folder, cyclers=[cycler()], now=system_time) as opened:
        yield opened


class Held:
    """Channels held by each campaign over lab time, watched from tick to tick."""

    def __init__(self, lab):
        self.lab, self.hours, self.at = lab, defaultdict(float), lab.now_h()
        self.most = defaultdict(int)

    def __call__(self):
        """Count the hours since the last look for those who held channels then."""
        counts = defaultdict(int)
        for channel in self.lab.store.channels():
            if channel.campaign:
                counts[channel.campaign] += 1
        for name, count in counts.items():
            self.hours[name] += count * (self.lab.now_h() - self.at)
            self.most[name] = max(self.most[name], count)
        self.at = self.lab.now_h()
        return counts


def starts_by_trial(lab, name):
    return sorted(t.started_h for t in lab.store.trials(name) if t.started_h is not None)


def busy_h(lab, names):
    """Channel-hours that tests took."""
    trials = [t for name in names for t in lab.store.trials(name) if t.started_h is not None]
    return sum((lab.now_h() if t.ended_h is None else t.ended_h) - t.started_h for t in trials)


def tick_all(lab, names, rng, system_time, until, watch=lambda: None, most=3000):
    """Tick campaigns in random order, a round a second, until something holds."""
    for _ in range(most):
        for name in rng.sample(names, len(names)):
            advance_campaign(lab, name)
            watch()
        system_time.pass_by(ROUND_S)
        if until():
            return
    pytest.fail("it took too long: " + ", ".join(f"{c.name} {c.status} {c.status_reason}" for c in lab.store.campaigns()))


@pytest.mark.parametrize("seed", range(2))
def test_shares_follow_priorities_and_every_campaign_finishes(lab, system_time, seed):
    """Priorities 1, 1 and 4 on six channels: once the first tests are over they hold one, one and four; then all end."""
    rng, held = random.Random(seed), Held(lab)
    specs = [spec("low", 10), spec("also-low", 10), spec("high", 26, priority=4.0)]
    for each in specs:
        start_campaign(lab, each)
    names = [each.name for each in specs]

    def some_have_enough():
        return any(len(lab.store.trials(each.name)) >= each.budget.trials for each in specs)

    tick_all(lab, names, rng, system_time, lambda: lab.now_h() > 15.0, held)
    held.hours.clear()
    tick_all(lab, names, rng, system_time, some_have_enough, held)
    total = sum(held.hours.values())
    shares = {name: hours / total for name, hours in held.hours.items()}
    assert shares == pytest.approx({"low": 1 / 6, "also-low": 1 / 6, "high": 4 / 6}, abs=0.02)
    tick_all(lab, names, rng, system_time, lambda: {c.status for c in lab.store.campaigns()} == {"completed"}, held)
    assert {channel.state for channel in lab.store.channels()} == {"free"}
    starts = lab.cyclers[0].physical_starts()
    assert (len(starts), set(starts.values())) == (46, {1})


def test_a_quota_is_never_exceeded(lab, system_time):
    """Two channels at most, also when alone; what it may not have goes to the others."""
    held = Held(lab)
    for each in (spec("small", 12, priority=9.0, quota=2), spec("rest", 12)):
        start_campaign(lab, each)
    done = lambda: {c.status for c in lab.store.campaigns()} == {"completed"}  # noqa: E731
    tick_all(lab, ["small", "rest"], random.Random(1), system_time, done, held)
    assert held.most["small"] == 2
    assert held.most["rest"] >= 4


def test_the_lowest_priority_is_never_starved(folder, system_time):
    """On two channels, beside three campaigns of four times its priority, each of its tests comes within a round and a half."""
    with Lab.open(folder, cyclers=[cycler(2)], now=system_time) as lab:
        for i in range(3):
            start_campaign(lab, spec(f"high-{i}", 10**4, priority=4.0))
        start_campaign(lab, spec("low", 10**4))
        names = [c.name for c in lab.store.campaigns()]
        tick_all(lab, names, random.Random(1), system_time, lambda: lab.now_h() > 250.0)
        assert busy_h(lab, names) / (2 * lab.now_h()) > 0.95
        starts = {name: starts_by_trial(lab, name) for name in names}
    round_h = 13 * 12.0 / 2  # thirteen turns of twelve hours at most on two channels
    assert max(b - a for a, b in pairwise([0.0, *starts["low"], 250.0])) < 1.5 * round_h
    assert max(b - a for name in names[:3] for a, b in pairwise([0.0, *starts[name], 250.0])) < 1.5 * round_h / 2


def test_alone_a_campaign_takes_everything(lab):
    """Priority and absence of a quota cost nothing where nobody else wants anything."""
    start_campaign(lab, spec("low", 12, priority=0.01))
    advance_campaign(lab, "low")
    assert lab.store.free_channels() == []
    start_campaign(lab, spec("second", 2))
    advance_campaign(lab, "second")
    assert lab.store.campaign("second").status == "running"


def test_a_campaign_that_stops_ticking_loses_its_claim(lab, system_time):
    """Its process died: its share stays idle for a moment, then the others take it; what runs is left alone."""
    for name in ("dead", "alive"):
        start_campaign(lab, spec(name, 40))
    advance_campaign(lab, "dead")
    assert lab.store.free_channels() == []
    advance_campaign(lab, "alive")
    assert lab.store.campaign("alive").status == "running"
    lab.clock.wait_until(100.0)
    assert advance_campaign(lab, "alive").trials == ()  # channels that a dead campaign's tests hold are not free
    advance_campaign(lab, "dead")
    counts = Held(lab)()
    assert counts["dead"] == 3
    advance_campaign(lab, "alive")
    assert Held(lab)()["alive"] == 3
    lab.clock.wait_until(300.0)
    system_time.pass_by(11.0)
    store = lab.store
    for trial in store.trials("dead"):  # as a person would, who ends the dead campaign's tests
        if trial.status is TrialStatus.RUNNING:
            store.finish(
                "dead", trial.number, status=TrialStatus.FAILED, outcome={}, stopped_because="", ended_h=300.0, fence=trial.fence
            )
    advance_campaign(lab, "alive")
    assert Held(lab)()["alive"] == 6


def test_a_campaign_of_a_process_that_was_interrupted_leaves_its_share(lab):
    """Ctrl-C: nobody goes on with it here, so its claim is dropped at once."""

    def interrupt(_report):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_campaign(lab, spec("small", 40), on_tick=interrupt)
    assert lab.store.on_offer()[1] == []


def test_what_a_campaign_cannot_use_it_does_not_claim(lab, folder):
    """Refused tests, approvals to come: channels go to the others within the same round."""
    start_campaign(lab, spec("asks", 12, priority=50.0, approval=Approval("every")))
    start_campaign(lab, spec("works", 12))
    advance_campaign(lab, "asks")
    assert lab.store.campaign("asks").status == "needs_attention"
    assert len(lab.store.trials("asks")) == 6
    advance_campaign(lab, "works")
    assert Held(lab)()["works"] == 6
    decide_trials(lab, "asks", [1, 2], approved=True)
    advance_campaign(lab, "asks")
    assert lab.store.campaign("asks").status == "running"
    advance_campaign(lab, "works")
    advance_campaign(lab, "asks")
    assert Held(lab)()["asks"] >= 1


def test_a_campaign_whose_share_is_claimed_by_others_waits_without_asking_a_person(lab, system_time):
    """All free channels are another's for the moment: nobody need be asked; when the claim has run out it goes on."""
    start_campaign(lab, spec("other", 40, priority=1000.0))
    start_campaign(lab, spec("small", 3))
    lab.store.claim_channels(
        "other", ["replay"], wanted=40, priority=1000.0, since_h=-50.0, lab_time_h=lab.now_h(), at_least_s=120.0
    )
    lab.store.claim_channels("small", ["replay"], wanted=3, priority=1.0, since_h=0.0, lab_time_h=lab.now_h(), at_least_s=120.0)
    advance_campaign(lab, "small")
    assert Held(lab)()["small"] == 1  # a campaign that holds nothing comes before any that holds something
    for channel in ("2", "3", "4", "5", "6"):
        lab.store.quarantine("replay", channel, reason="dirty", lab_time_h=lab.now_h())
    lab.clock.wait_until(50.0)
    lab.store.claim_channels(
        "other", ["replay"], wanted=40, priority=1000.0, since_h=-50.0, lab_time_h=lab.now_h(), at_least_s=120.0
    )
    report = advance_campaign(lab, "small")
    assert report.status == "running"
    assert lab.store.free_channels() == [("replay", "1")]
    assert advance_campaign(lab, "small").status == "running"
    system_time.pass_by(121.0)
    assert Held(lab)()["small"] == 0
    advance_campaign(lab, "small")
    assert Held(lab)()["small"] == 1
    assert lab.store.campaign("small").status == "running"


def test_a_quota_filled_by_unknown_tests_asks_a_person(folder):
    """Free channels are of no use then: somebody must look at those that may or may not be busy."""

    class Silent(ReplayCycler):
        def submit(self, request):
            raise CyclerUnreachableError("no answer")

    silent = Silent(ROWS, "result", duration_h="hours", channels=4)
    silent.capabilities = replace(silent.capabilities, searchable=False)
    with Lab.open(folder, cyclers=[silent]) as lab:
        start_campaign(lab, spec("small", 4, quota=2))
        for _ in range(3):
            report = advance_campaign(lab, "small")
        assert report.status == "needs_attention"
        assert [c.state for c in lab.store.channels()].count("held") == 2
        assert "a person must look at channel" in lab.store.campaign("small").status_reason


def test_a_campaign_whose_tests_are_refused_leaves_the_channels_to_others(folder):
    """Failing in a row, it claims nothing while a person is asked."""

    class Picky(ReplayCycler):
        def submit(self, request):
            if request.key.startswith("bad/"):
                raise RequestRefusedError("no such plate")
            return super().submit(request)

    with Lab.open(folder, cyclers=[Picky(ROWS, "result", duration_h="hours", channels=4)]) as lab:
        start_campaign(lab, spec("bad", 12, priority=100.0))
        start_campaign(lab, spec("good", 6))
        assert [advance_campaign(lab, "bad").status for _ in range(2)] == ["running", "needs_attention"]
        assert resume_campaign(lab, "good").status == "completed"


def test_the_terminal_shows_who_shares(folder):
    """Beside the channels: each campaign at work with priority, quota, what it holds and could use."""
    with Lab.open(folder, cyclers=[cycler()]) as lab:
        start_campaign(lab, spec("first", 40, priority=2.5, quota=3))
        advance_campaign(lab, "first")
        alone = CliRunner().invoke(app, ["channels", "list", "--lab", str(folder)]).output
        start_campaign(lab, spec("second", 2))
        advance_campaign(lab, "second")
    shown = CliRunner().invoke(app, ["channels", "list", "--lab", str(folder)]).output
    assert "priority" not in alone
    rows = [line.split() for line in shown.splitlines()]
    assert ["first", "2.5", "3", "3", "3"] in rows
    assert ["second", "1", "-", "2", "2"] in rows


def test_virtual_time_stops_at_every_cyclers_next_end(folder):
    """Two campaigns on cyclers of their own: neither jumps over the other's ends, so no channel of either waits."""

    def on(name, hours):
        table = {"table": list(ROWS), "target": "result", "duration_h": hours, "channels": 1}
        return (CyclerSpec(name, "replay", table),)

    with Lab.open(folder) as lab:
        start_campaign(lab, spec("long", 2, cyclers=on("slow", 50.0)))
        start_campaign(lab, spec("short", 10, cyclers=on("quick", 9.0)))
        rng = random.Random(0)
        for _ in range(40):
            for name in rng.sample(["long", "short"], 2):
                advance_campaign(lab, name)
        assert {b - a for a, b in pairwise(starts_by_trial(lab, "short"))} == {9.0}
        assert {c.status for c in lab.store.campaigns()} == {"completed"}
