"""The campaign's lock."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import update

from orchestrator.domain import CampaignSpec
from orchestrator.domain.errors import CampaignError
from orchestrator.store import TrialStore
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
