"""What a person should know of a campaign at this moment beyond its trials: emergency stops, stops asked for, what to do."""

from __future__ import annotations

from collections.abc import Iterable

from flows.lab import Lab
from flows.latch import EMERGENCY, LIFT
from orchestrator.domain.trial import TrialStatus
from orchestrator.store import CampaignRecord, Event

ENDED = ("completed", "stopped")


def standing(lab: Lab, name: str) -> list[str]:
    """What holds a campaign up, what was asked of it and not yet done, and what a person is to do: a line each."""
    campaign = lab.store.campaign(name)
    latched = latch_lines(lab, lab.cyclers_for(campaign.spec))
    lines = [f"spec: version {campaign.spec_version}"] if campaign.spec_version > 1 else []
    told = campaign.status in ENDED or (campaign.status_reason or "").startswith(EMERGENCY)
    lines += [] if told else latched
    lines += pending_stops(lab, campaign)
    if campaign.status == "needs_attention" and (todo := what_to_do(lab, campaign)):
        lines.append(f"to do: {todo}")
    return lines


def latch_lines(lab: Lab, cyclers: Iterable[str] | None = None) -> list[str]:
    """The emergency stops that hold now, of these cyclers or of all, as the latch itself says."""
    latched = lab.latch.latched() if cyclers is None else {name: lab.latch.reason_for(name) for name in cyclers}
    by_order = {words.partition(" at ")[2]: words for words in latched.values() if words}  # the whole lab's comes last
    said = list(by_order.values())
    return [*said, f"nothing is started there; {LIFT}"] if said else []


def why(lab: Lab, campaign: CampaignRecord) -> str | None:
    """Why a campaign has its status, in words: a stop with who asked for it, an emergency stop as its latch stands now."""
    reason = campaign.status_reason
    if campaign.status == "stopped" and reason and (by := who_asked(lab, campaign.name, None, reason)):
        return f"{reason}; asked for by {by}"
    if campaign.status == "needs_attention" and lifted(lab, campaign):
        return f"{(reason or '').removesuffix(f'; {LIFT}')}; it has been lifted"
    return reason


def lifted(lab: Lab, campaign: CampaignRecord) -> bool:
    """Whether a campaign waits because of an emergency stop that holds no more."""
    if not (campaign.status_reason or "").startswith(EMERGENCY):
        return False
    return not any(map(lab.latch.reason_for, lab.cyclers_for(campaign.spec)))


def what_to_do(lab: Lab, campaign: CampaignRecord) -> str | None:
    """What has a campaign that waits for a person go on; None where its reason says so."""
    name, reason = campaign.name, campaign.status_reason or ""
    if reason.startswith(EMERGENCY):
        return f"`voltloop resume {name}` goes on, and so does a running service" if lifted(lab, campaign) else None
    if "`voltloop" in reason:
        return None
    trials = lab.store.trials(name)
    if unknown := [trial for trial in trials if trial.status is TrialStatus.UNKNOWN]:
        first = unknown[0]
        look = f"look whether '{first.key}' runs on {first.cycler}/{first.channel}"
        return f"{look}, then `voltloop settle {name} {first.number} started --key {first.key}` or `not-started`"
    if any(trial.status is TrialStatus.PROPOSED for trial in trials):
        return f"`voltloop approve {name} --all`, or `voltloop reject`"
    if "channel" in reason:
        return f"`voltloop channels list` shows why; release one, then `voltloop resume {name}`"
    return f"look at `voltloop status {name}`; `voltloop resume {name}` goes on as it is"


def ended_for_good(lab: Lab, name: str) -> str | None:
    """That a campaign has ended and cannot simply go on, and what can be done; None while it has not."""
    campaign = lab.store.campaign(name)
    if campaign.status not in ENDED:
        return None
    more = "start a new one with `voltloop run SPEC.toml`"
    if campaign.status == "completed":
        more = f"a larger budget opens it again: `voltloop amend {name} CHANGES.toml` (docs/amendments.md)"
    return f"'{name}' has ended ({campaign.status}: {why(lab, campaign)}) and cannot go on; {more}."


def who_asked(lab: Lab, name: str, number: int | None, reason: str) -> str | None:
    """Who asked first, for this reason, that a trial stops, or with None (or if nobody asked for the trial) the campaign."""
    asked = [event for event in lab.store.events(name, kinds=("stop_requested",)) if event.data.get("reason") == reason]
    mine = [event for event in asked if event.trial == number] or [event for event in asked if event.trial is None]
    return _by(mine[0]) if mine else None


def pending_stops(lab: Lab, campaign: CampaignRecord) -> list[str]:
    """Stops that were asked for and are not confirmed yet, a line each; the campaign's own stands for all of its trials."""
    name = campaign.name
    if campaign.status in ENDED:
        return []
    lines = []
    if reason := campaign.stop_requested:
        lines.append(f"stop of the campaign {_asked(who_asked(lab, name, None, reason), reason)}")
    for trial in lab.store.trials(name):
        if trial.status.ended or not trial.stop_requested or trial.stop_requested == reason:
            continue
        by = who_asked(lab, name, trial.number, trial.stop_requested)
        lines.append(f"trial {trial.number}: stop {_asked(by, trial.stop_requested)}")
    return lines


def stop_asked_for(lab: Lab, name: str, number: int | None) -> str | None:
    """By whom and why a trial, or with None the campaign, is to stop already; None if nobody has asked for it."""
    reason = of_all = lab.store.campaign(name).stop_requested
    if number is not None:
        reason = lab.store.trial(name, number).stop_requested
        reason = None if reason == of_all else reason
    return f"asked for by {who_asked(lab, name, number, reason) or 'somebody'}: {reason}" if reason else None


def _asked(by: str | None, reason: str) -> str:
    return f"asked for by {by or 'somebody'}: {reason}; not confirmed yet"


def _by(event: Event) -> str | None:
    by = event.data.get("by")
    return str(by) if by else None
