"""The campaign's lock."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import select, update

from orchestrator.domain import CampaignSpec
from orchestrator.domain.errors import CampaignError
from orchestrator.store import LockLostError, TrialStore
from orchestrator.store.process import this_process
from orchestrator.store.tables import LockRow


@pytest.fixture
def plain_campaign(sqlite_store: TrialStore, spec: CampaignSpec) -> TrialStore:
    """The same on SQLite, for what does not depend on the engine."""
    sqlite_store.register_campaign(spec, lab_time_h=0.0)
    return sqlite_store


@pytest.fixture
def campaign(store: TrialStore, spec: CampaignSpec) -> TrialStore:
    """A lab with the campaign `fast`."""
    store.register_campaign(spec, lab_time_h=0.0)
    return store


def test_one_holder_at_a_time(campaign: TrialStore) -> None:
    """While the lock is held, the next one in gets None; once given back it is taken under a higher fence."""
    with campaign.campaign_lock("fast", "first") as fence:
        assert fence == 1
        assert campaign.lock_holder("fast") == "first"
        with campaign.campaign_lock("fast", "second") as refused:
            assert refused is None
        assert campaign.lock_holder("fast") == "first"
    assert campaign.lock_holder("fast") is None
    with campaign.campaign_lock("fast", "third") as fence:
        assert fence == 2


def test_the_lock_is_given_back_after_an_error(plain_campaign: TrialStore) -> None:
    """An error inside the block frees the lock."""
    with pytest.raises(RuntimeError), plain_campaign.campaign_lock("fast", "first"):
        raise RuntimeError("tick failed")
    with plain_campaign.campaign_lock("fast", "second") as fence:
        assert fence == 2


def test_threads_of_one_process_exclude_each_other(campaign: TrialStore) -> None:
    """Of many threads that want the lock at once, one gets it, time and again."""
    gate, given_back = threading.Barrier(6), threading.Barrier(6)
    got: list[int | None] = []

    def ask() -> None:
        for _ in range(8):
            gate.wait()
            with campaign.campaign_lock("fast", "me") as fence:
                got.append(fence)
                given_back.wait()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fence for fence in got if fence is not None) == list(range(1, 9))
    assert len(got) == 48


def test_locks_belong_to_campaigns(plain_campaign: TrialStore, spec: CampaignSpec) -> None:
    """Two campaigns are advanced at the same time; one that is not there has no lock."""
    plain_campaign.register_campaign(replace(spec, name="other"), lab_time_h=0.0)
    with plain_campaign.campaign_lock("fast", "a") as one, plain_campaign.campaign_lock("other", "b") as two:
        assert (one, two) == (1, 1)
    with pytest.raises(CampaignError, match="no campaign 'x'"), plain_campaign.campaign_lock("x", "a"):
        pass


def test_a_lock_runs_out(campaign: TrialStore, system_time) -> None:
    """Past its time the lock is anybody's; its late holder can neither renew it nor give away its successor's."""
    with campaign.campaign_lock("fast", "stalled", ttl_s=600) as old:
        system_time.pass_by(599)
        with campaign.campaign_lock("fast", "second") as refused:
            assert refused is None
        system_time.pass_by(1)
        with campaign.campaign_lock("fast", "second") as new:
            assert (old, new) == (1, 2)
            assert not campaign.renew_lock("fast", old)
            campaign._give_back("fast", old)
            assert campaign.lock_holder("fast") == "second"


def test_a_renewed_lock_lasts(plain_campaign: TrialStore, system_time) -> None:
    """A holder that renews in time keeps the lock."""
    with plain_campaign.campaign_lock("fast", "slow", ttl_s=600) as fence:
        system_time.pass_by(500)
        assert plain_campaign.renew_lock("fast", fence, ttl_s=600)
        system_time.pass_by(500)
        with plain_campaign.campaign_lock("fast", "second") as refused:
            assert refused is None
    assert not plain_campaign.renew_lock("fast", fence)


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, False),
        ({"machine": "elsewhere"}, False),
        ({"namespace": "4"}, False),
        ({"started": "1"}, True),
        ({"boot": "earlier"}, True),
    ],
    ids=["alive", "another machine", "another container", "number used again", "machine restarted"],
)
def test_only_the_certainly_dead_lose_the_lock_early(plain_campaign: TrialStore, change: dict[str, str], taken: bool) -> None:
    """A lock is taken before its time only if its holder provably has ended; in doubt its time must run out."""
    holder = replace(this_process(), **change)
    with plain_campaign.campaign_lock("fast", "first"):
        with plain_campaign.database.write() as session:
            session.exec(update(LockRow).values(process=holder.to_text()))
        with plain_campaign.campaign_lock("fast", "second") as fence:
            assert (fence is not None) is taken


HOLDER = """
    import sys, time
    from orchestrator.store import TrialStore
    store = TrialStore.open(sys.argv[1])
    with store.campaign_lock("fast", "victim") as fence:
        print(fence, flush=True)
        sys.stdin.read()
"""


def test_a_killed_holder_loses_the_lock_at_once(campaign: TrialStore, url: str) -> None:
    """After kill -9 of the holder the next one gets the lock, while the holder's time has hours to run."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), url]
    victim = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"1\n"
        with campaign.campaign_lock("fast", "early") as refused:
            assert refused is None
        os.kill(victim.pid, signal.SIGKILL)
        # Dead, but not yet waited for: a zombie holds nothing either.
        os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)
        with campaign.campaign_lock("fast", "next") as fence:
            assert fence == 2
    finally:
        victim.kill()
        victim.communicate()


def test_a_tick_that_lost_its_lock_writes_nothing(campaign: TrialStore, system_time) -> None:
    """A stalled holder wakes up after another has taken over: each of its writes is refused whole; the other's hold."""
    with campaign.campaign_lock("fast", "stalled") as old:
        late = campaign.under("fast", old)
        late.log("in time", campaign="fast", lab_time_h=0.0)
        system_time.pass_by(601)
        with campaign.campaign_lock("fast", "second") as new:
            with pytest.raises(LockLostError, match="taken the campaign 'fast' over"):
                late.log("too late", campaign="fast", lab_time_h=0.0)
            with pytest.raises(LockLostError):
                late.set_campaign("fast", status="completed", lab_time_h=0.0)
            campaign.under("fast", new).log("of the second", campaign="fast", lab_time_h=0.0)
        with pytest.raises(LockLostError):
            campaign.under("fast", new).log("after giving it back", campaign="fast", lab_time_h=0.0)
    assert [event.kind for event in campaign.events("fast")][1:] == ["in time", "of the second"]
    assert campaign.campaign("fast").status == "running"


def test_writing_renews_the_lock(campaign: TrialStore, system_time) -> None:
    """A long tick that gets on with its work keeps the lock; one whose time ran out unnoticed keeps it if nobody wanted it."""
    with campaign.campaign_lock("fast", "long") as fence:
        writing = campaign.under("fast", fence)
        for seconds in (500, 500, 700):
            system_time.pass_by(seconds)
            writing.log("step", campaign="fast", lab_time_h=0.0)
        system_time.pass_by(599)
        with campaign.campaign_lock("fast", "second") as refused:
            assert refused is None


def test_a_long_computation_keeps_the_lock(campaign: TrialStore, system_time) -> None:
    """It writes nothing for longer than the lease: the lock is renewed beside it, and let run out afterwards."""
    with campaign.campaign_lock("fast", "thinking", ttl_s=0.03) as fence:
        with campaign.under("fast", fence).keeping("fast", fence, ttl_s=0.03):
            before = _expires_at(campaign)
            system_time.pass_by(10)
            until = time.monotonic() + 20
            while _expires_at(campaign) == before and time.monotonic() < until:
                pass
        with campaign.campaign_lock("fast", "second") as refused:
            assert refused is None
        system_time.pass_by(1)
        with campaign.campaign_lock("fast", "second") as taken:
            assert taken == fence + 1


def _expires_at(store: TrialStore) -> object:
    with store.database.read() as session:
        return session.exec(select(LockRow.expires_at)).one()


def test_a_clock_set_back_holds_no_lock_for_longer_than_its_time(plain_campaign: TrialStore, system_time) -> None:
    """The clock steps back an hour while a holder on another machine is dead: the next one waits its ten minutes, not seventy."""
    with plain_campaign.campaign_lock("fast", "elsewhere", ttl_s=600):
        with plain_campaign.database.write() as session:
            session.exec(update(LockRow).values(process=replace(this_process(), machine="elsewhere").to_text()))
        system_time.pass_by(-3600)
        with plain_campaign.campaign_lock("fast", "second") as refused:
            assert refused is None
        system_time.pass_by(600)
        with plain_campaign.campaign_lock("fast", "second") as fence:
            assert fence == 2


def test_a_holder_whose_connection_has_gone_loses_the_lock_on_postgres(cluster, system_time, spec: CampaignSpec) -> None:
    """Whatever machine it was on: with its connection gone the holder is dead, and the next one need not wait."""
    url = cluster.empty_lab()
    with TrialStore.open(url, now=system_time) as holder, TrialStore.open(url, now=system_time) as other:
        holder.register_campaign(spec, lab_time_h=0.0)
        with holder.campaign_lock("fast", "elsewhere") as fence:
            with holder.database.write() as session:
                session.exec(update(LockRow).values(process=replace(this_process(), machine="elsewhere").to_text()))
            with other.campaign_lock("fast", "early") as refused:
                assert refused is None
            with other.database.write() as session:
                session.exec(
                    text(
                        "SELECT pg_terminate_backend(l.pid, 20000) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
                        "WHERE l.locktype = 'advisory' AND d.datname = current_database()"
                    )
                )
            with other.campaign_lock("fast", "next") as taken:
                assert taken == fence + 1
                with pytest.raises(LockLostError):
                    holder.under("fast", fence).log("late", campaign="fast", lab_time_h=0.0)
