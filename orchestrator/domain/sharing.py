"""A lab's channels shared among campaigns: in proportion to their priorities, none idle that somebody could use, nobody starved.

Free channels are dealt one by one, each to the campaign that holds the fewest for its priority (weighted max-min fairness
in whole channels, as in Bertsekas and Gallager, Data Networks, 2nd ed., section 6.5). A campaign that holds none comes before
any that holds one; among those the one with the largest priority times waiting time, so that where campaigns outnumber
channels they take turns, the important ones more often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.value import value


@value
class Sharing:
    """What a campaign may take of a lab that it shares.

    Attributes:
        priority: its weight, above 0; campaigns that want more channels than there are share them in this proportion.
        quota: channels that it may hold at once across the lab; None for as many as it can use.
    """

    priority: float = 1.0
    quota: int | None = None

    def __post_init__(self) -> None:
        faults = []
        if not (math.isfinite(self.priority) and self.priority > 0):
            problem = f"is a weight above 0 (got {self.priority:g})."
            faults.append(Fault("priority", problem, "1 is usual; 2 gets twice the channels of 1."))
        if self.quota is not None and self.quota < 1:
            problem = f"is a number of channels, 1 or more (got {self.quota})."
            faults.append(Fault("quota", problem, "Leave it out for as many as there are."))
        if faults:
            raise SpecError(faults)


@dataclass(frozen=True)
class Claim:
    """What one campaign says it could use now.

    Attributes:
        campaign: its name.
        cyclers: whose channels would do.
        held: channels that it holds, on any cycler.
        wanted: channels that it could use at once, those it holds included, over all its cyclers.
        priority: its weight, above 0.
        since_h: lab time at which it last started a test, or was registered.
        stated_h: lab time at which it said so.
    """

    campaign: str
    cyclers: frozenset[str]
    held: int
    wanted: int
    priority: float = 1.0
    since_h: float = 0.0
    stated_h: float = 0.0


def deal_channels(free: Sequence[tuple[str, str]], claims: Sequence[Claim], now_h: float) -> dict[str, list[tuple[str, str]]]:
    """Deal free channels to those who claim them.

    The same free channels and claims give the same deal to whoever asks. No channel stays undealt that somebody claims;
    nobody gets more than it wants.

    Args:
        free: cycler and name of every free channel, in the lab's order.
        claims: one for each campaign; equals keep their order.
        now_h: lab time, hours.

    Returns:
        For each campaign its channels, in the lab's order.
    """
    dealt: dict[str, set[tuple[str, str]]] = {claim.campaign: set() for claim in claims}
    for cycler in _least_claimed_first(free, claims):
        claiming = [claim for claim in claims if cycler in claim.cyclers]
        for channel in (each for each in free if each[0] == cycler):
            waiting = [claim for claim in claiming if claim.held + len(dealt[claim.campaign]) < claim.wanted]
            if not waiting:
                break
            first = min(waiting, key=lambda claim: _rank(claim, len(dealt[claim.campaign]), now_h))
            dealt[first.campaign].add(channel)
    return {campaign: [channel for channel in free if channel in mine] for campaign, mine in dealt.items()}


def _least_claimed_first(free: Sequence[tuple[str, str]], claims: Sequence[Claim]) -> list[str]:
    """Cyclers with free channels; who could take any takes those that few others can use."""
    cyclers = dict.fromkeys(cycler for cycler, _ in free)
    return sorted(cyclers, key=lambda cycler: sum(cycler in claim.cyclers for claim in claims))


def _rank(claim: Claim, dealt: int, now_h: float) -> tuple[float, float, float]:
    """The smallest is served first: few channels for its priority, then a long wait for its priority."""
    waited_h = max(0.0, now_h - claim.since_h)
    return (claim.held + dealt) / claim.priority, -claim.priority * waited_h, -claim.priority
