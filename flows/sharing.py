"""Several campaigns in one lab: what a tick claims, and which of the free channels are its to take.

A tick states how many channels its campaign could use, and takes of the free ones those that `deal_channels` gives it;
the rest it leaves to the campaigns that claim them. It must not hoard: what it could not use after all it claims no longer.
"""

from __future__ import annotations

from flows.tick import Tick, spent
from orchestrator.domain.sharing import Claim, deal_channels
from orchestrator.domain.trial import TrialStatus

_S = TrialStatus
# How long a claim stands unless the next tick comes, seconds. In virtual time ticks follow one another without a pause.
LASTS_S, LASTS_IN_VIRTUAL_TIME_S = 120.0, 10.0
POLLS = 3


def claim_channels(tick: Tick) -> None:
    """State how many channels the campaign could use now."""
    claim, cyclers = _claim(tick), tick.bench.cyclers.values()
    real_s = max([LASTS_S, *(POLLS * cycler.capabilities.poll_s for cycler in cyclers)])
    tick.bench.lab.store.claim_channels(
        tick.campaign.name,
        claim.cyclers,
        wanted=claim.wanted,
        priority=claim.priority,
        since_h=claim.since_h,
        lab_time_h=tick.bench.now_h,
        at_least_s=LASTS_IN_VIRTUAL_TIME_S if tick.bench.lab.virtual_time else real_s,
    )


def let_go(tick: Tick) -> None:
    """Claim no channel that this tick left unused: others may have it until the next."""
    if free_channels(tick) and not tick.having(_S.APPROVED):
        tick.bench.lab.store.lower_claim(tick.campaign.name, _held(tick))


def free_channels(tick: Tick, *, if_approved: bool = False) -> list[tuple[str, str]]:
    """Cycler and channel of every place that is the campaign's to take now.

    Args:
        tick: the tick.
        if_approved: count what waits for a person's approval as approved: the places worth proposing for.
    """
    free, claims = _on_offer(tick)
    mine = _claim(tick, if_approved=if_approved)
    others = [claim for claim in claims if claim.campaign != mine.campaign]
    # Oldest campaign first, as in everybody else's deal.
    order = {claim.campaign: place for place, claim in enumerate(claims)}
    everyone = sorted((*others, mine), key=lambda claim: order.get(claim.campaign, len(order)))
    return deal_channels(free, everyone, tick.bench.now_h)[mine.campaign]


def waits_for_others(tick: Tick) -> bool:
    """Whether channels of this campaign's cyclers are held or claimed by other campaigns: a later tick may get them."""
    quota = tick.spec.sharing.quota
    if quota is not None and _held(tick) >= quota:
        return False
    channels = tick.bench.lab.store.channels()
    if any(c.state == "held" and c.campaign != tick.campaign.name and c.cycler in tick.bench.cyclers for c in channels):
        return True
    some_free, could_start = bool(_on_offer(tick)[0]), _could_start(tick, if_approved=True) > 0
    return some_free and could_start and not free_channels(tick, if_approved=True)


def time_may_pass(tick: Tick) -> bool:
    """In virtual time: whether every campaign has seen what ended by now, and no free channel waits for its campaign's tick."""
    free, claims = tick.bench.lab.store.on_offer()
    name, now_h = tick.campaign.name, tick.bench.now_h
    if all(claim.campaign == name for claim in claims):
        return True
    looked = {claim.campaign for claim in claims if claim.stated_h >= now_h}
    there = {(c.capabilities.name, channel) for c in tick.bench.lab.cyclers for channel in c.capabilities.channels}
    deal = deal_channels([channel for channel in free if channel in there], claims, now_h)
    return looked == {name, *deal} and not any(deal.values())


def _on_offer(tick: Tick) -> tuple[list[tuple[str, str]], list[Claim]]:
    """The free channels that the campaign's cyclers have, and everybody's claims."""
    mine = {name: frozenset(cycler.capabilities.channels) for name, cycler in tick.bench.cyclers.items()}
    free, claims = tick.bench.lab.store.on_offer()
    return [(cycler, name) for cycler, name in free if name in mine.get(cycler, ())], claims


def _claim(tick: Tick, *, if_approved: bool = False) -> Claim:
    """What the campaign could use now."""
    held, quota = _held(tick), tick.spec.sharing.quota
    wanted = held + _could_start(tick, if_approved=if_approved)
    return Claim(
        campaign=tick.campaign.name,
        cyclers=frozenset(tick.bench.cyclers),
        held=held,
        wanted=wanted if quota is None else max(held, min(wanted, quota)),
        priority=tick.spec.sharing.priority,
        since_h=max((t.started_h for t in tick.trials.values() if t.started_h is not None), default=tick.campaign.started_h),
    )


def _held(tick: Tick) -> int:
    return sum(trial.status.holds_channel for trial in tick.trials.values())


def _could_start(tick: Tick, *, if_approved: bool) -> int:
    """Trials that could start now if there were channels without end: approved ones, and new ones that nobody need approve."""
    if tick.halt or tick.failing or tick.emergency:
        return 0
    approval, left = tick.spec.approval, max(0, tick.spec.budget.trials - spent(tick))
    approved = len(tick.having(_S.APPROVED))
    if if_approved or approval.mode == "none":
        return approved + len(tick.having(_S.PROPOSED)) + left
    if approval.mode == "every":
        return approved
    return approved + max(0, left - max(0, approval.first - max(tick.trials, default=0)))
