"""Ticks of a campaign in virtual time, in turn with those of the others: time passes only once each has seen what ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flows.campaign import TickReport, advance_campaign
from flows.lab import Lab


def ticks_in_turn(lab: Lab, name: str, goes_on: Callable[[], bool], tell: Callable[[str], None]) -> Iterator[TickReport]:
    """Make a campaign's tick, and in virtual time further ones, until it ends or nothing is left to do for now.

    After each, every other running campaign gets one too: until it has dealt with what ended time stands still, channels that it
    claims stay free, and without its ticks it would claim none.

    Args:
        lab: the opened lab.
        name: the campaign.
        goes_on: whether there is time for more.
        tell: is told when another campaign cannot be ticked; its own tick fails with that.

    Yields:
        Every tick's report, the other campaigns' too.

    Raises:
        CampaignError: if there is no such campaign.
        StoreError: as `advance_campaign`.
    """
    others = [campaign.name for campaign in lab.store.campaigns() if campaign.status == "running" and campaign.name != name]
    quiet_since_h = None
    while True:
        yield (report := advance_campaign(lab, name))
        if report.ended or report.skipped or not lab.virtual_time or not goes_on():
            return
        theirs = [each for other in tuple(others) if (each := _tick(lab, other, others, tell)) is not None]
        yield from theirs
        if report.changed or any(each.changed for each in theirs):
            quiet_since_h = None
        elif quiet_since_h == (quiet_since_h := lab.now_h()):
            return


def _tick(lab: Lab, name: str, others: list[str], tell: Callable[[str], None]) -> TickReport | None:
    """A tick of another campaign, which is left out from now on if it ends or fails."""
    try:
        report = advance_campaign(lab, name)
    except Exception as error:  # noqa: BLE001 - one campaign's fault must not keep the others waiting
        tell(f"{name} could not be ticked: {error}")
        others.remove(name)
        return None
    if report.ended:
        others.remove(name)
    return report
