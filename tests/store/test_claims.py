"""Claims on channels, on both engines."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain import CampaignSpec, Estimate, TrialStatus
from orchestrator.domain.errors import CampaignError
from orchestrator.domain.sharing import Claim
from orchestrator.store import TrialStore

TWO_MINUTES, SIX_HOURS = 120.0, 6 * 3600.0


@pytest.fixture
def shared(running: TrialStore, spec: CampaignSpec) -> TrialStore:
    """A lab of three channels whose campaign `fast` holds one, and a campaign `slow` that holds none."""
    running.register_campaign(replace(spec, name="slow"), lab_time_h=1.0)
    return running


def claim(
    store: TrialStore, name: str = "slow", wanted: int = 2, at_least_s: float = TWO_MINUTES, cyclers: tuple[str, ...] = ("sim",)
) -> None:
    store.claim_channels(name, cyclers, wanted=wanted, priority=2.0, since_h=1.0, lab_time_h=2.0, at_least_s=at_least_s)


def test_a_claim_is_seen_with_what_its_campaign_holds(shared: TrialStore) -> None:
    """Every campaign's claim, the oldest campaign first, beside the free channels, from one moment."""
    claim(shared, "slow", cyclers=("sim", "other"))
    claim(shared, "fast", wanted=3)
    free, claims = shared.on_offer()
    assert free == [("sim", "2"), ("sim", "3")]
    assert claims == [
        Claim("fast", frozenset({"sim"}), 1, 3, 2.0, 1.0, 2.0),
        Claim("slow", frozenset({"sim", "other"}), 0, 2, 2.0, 1.0, 2.0),
    ]


def test_a_claim_is_replaced_lowered_and_dropped(shared: TrialStore) -> None:
    """The latest statement counts; lowering never raises; who drops a claim claims nothing."""
    claim(shared, cyclers=("sim", "other"))
    claim(shared, wanted=5)
    shared.lower_claim("slow", 9)
    assert [(c.wanted, c.cyclers) for c in shared.on_offer()[1]] == [(5, {"sim"})]
    shared.lower_claim("slow", 0)
    assert [c.wanted for c in shared.on_offer()[1]] == [0]
    shared.drop_claim("slow")
    assert shared.on_offer()[1] == []
    with pytest.raises(CampaignError, match="there is no campaign 'none'"):
        claim(shared, "none")


def test_a_claim_that_is_not_stated_again_runs_out(shared: TrialStore, system_time) -> None:
    """A campaign whose process died keeps no channel idle for ever."""
    claim(shared)
    system_time.pass_by(TWO_MINUTES - 1)
    assert shared.on_offer()[1]
    system_time.pass_by(1)
    assert shared.on_offer()[1] == []
    claim(shared, "fast", at_least_s=300.0)
    system_time.pass_by(299)
    assert shared.on_offer()[1]
    system_time.pass_by(1)
    assert shared.on_offer()[1] == []


def test_a_claim_outlasts_rare_ticks(shared: TrialStore, system_time) -> None:
    """Where ticks come every twenty minutes a claim stands for an hour; never for more than six hours."""
    claim(shared)
    system_time.pass_by(1200)
    claim(shared)
    system_time.pass_by(3599)
    assert shared.on_offer()[1]
    system_time.pass_by(30 * 24 * 3600)
    claim(shared)
    system_time.pass_by(SIX_HOURS)
    assert shared.on_offer()[1] == []


@pytest.mark.parametrize("status", ["needs_attention", "completed", "stopped"])
def test_only_campaigns_that_run_claim(shared: TrialStore, status) -> None:
    """One that waits for a person or has ended leaves its share to the others at once."""
    claim(shared)
    shared.set_campaign("slow", status=status, lab_time_h=2.0)
    assert shared.on_offer()[1] == []


def test_a_clock_set_back_an_hour_makes_no_claim_last_longer(shared: TrialStore, system_time) -> None:
    """What was stated by the wrong clock counts for nothing until it is stated again; hosts' clocks may differ a little."""
    claim(shared)
    system_time.now -= timedelta(hours=1)
    assert shared.on_offer()[1] == []
    claim(shared)
    system_time.now -= timedelta(seconds=30)
    assert shared.on_offer()[1]
    system_time.pass_by(30 + TWO_MINUTES)
    assert shared.on_offer()[1] == []


def test_a_quarantined_channel_with_a_trial_counts_as_held(shared: TrialStore, life: dict[str, Estimate]) -> None:
    """Held is what a trial is on; afterwards it is neither held nor free."""
    claim(shared, "fast")
    shared.quarantine("sim", "1", reason="noisy", lab_time_h=3.0)
    assert [c.held for c in shared.on_offer()[1]] == [1]
    shared.finish("fast", 1, status=TrialStatus.COMPLETED, outcome=life, stopped_because=None, ended_h=9.0, fence=1)
    free, claims = shared.on_offer()
    assert (free, [c.held for c in claims]) == ([("sim", "2"), ("sim", "3")], [0])
