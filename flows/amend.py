"""A campaign amended while it runs: a new version of its spec, from a file of changes.

It takes the campaign's lock, so that no tick works meanwhile, and first settles every test that was just being started:
what runs is adopted, what does not is given up for good. Only then, and in one transaction with what it means for trials, the
new version is stored. Once this has returned nothing is started under the old limits any more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flows.bench import Bench
from flows.control import wake
from flows.cyclers import DEFAULT_CYCLERS
from flows.dispatch import close_intent
from flows.forbidden import forbidden_to_run, forbidden_to_start
from flows.lab import Lab
from flows.person import this_person
from flows.spec_check import amendment_checks
from flows.tick import costs
from orchestrator.domain.amendment import Amendment, as_of_today, read_amendment
from orchestrator.domain.campaign_spec import Budget
from orchestrator.domain.errors import CampaignError
from orchestrator.domain.trial import Trial, TrialStatus
from orchestrator.store import CampaignRecord

_S = TrialStatus
_WAITING = (_S.PROPOSED, _S.APPROVED, _S.DISPATCHING)
WHILE_STARTING = "the campaign was amended while it was being started"


@dataclass(frozen=True)
class Patience:
    """How long to wait for a tick at work, and how.

    Attributes:
        limit_s: seconds until an amendment gives up.
        poll_s: seconds between two looks.
        clock: seconds that only grow.
        sleep: lets so many seconds pass.
        told: is told once whom it waits for.
    """

    limit_s: float = 120.0
    poll_s: float = 0.02
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    told: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class AmendmentReport:
    """What an amendment changed, or would change.

    Attributes:
        campaign: its name.
        spec_version: of the new spec.
        amendment: the new spec and its differences.
        withdrawn: why, by number of the waiting trials that it forbids.
        flagged: why, by number of the running trials that would not be started now.
        by: who amended.
        dry_run: nothing was written.
        stop_requested: the flagged trials were asked to stop.
        reopened: the campaign had ended and goes on.
    """

    campaign: str
    spec_version: int
    amendment: Amendment
    by: str
    withdrawn: dict[int, str] = field(default_factory=dict)
    flagged: dict[int, str] = field(default_factory=dict)
    dry_run: bool = False
    stop_requested: bool = False
    reopened: bool = False

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "campaign": self.campaign,
            "spec_version": self.spec_version,
            "by": self.by,
            "dry_run": self.dry_run,
            "changes": [change.to_json() for change in self.amendment.changes],
            "past_values": self.amendment.past_values,
            "withdrawn": [{"trial": number, "reason": why} for number, why in self.withdrawn.items()],
            "flagged": [{"trial": number, "reason": why} for number, why in self.flagged.items()],
            "stop_requested": self.stop_requested,
            "reopened": self.reopened,
        }

    def lines(self) -> list[str]:
        """The report for a person."""
        would = "would be" if self.dry_run else "is"
        reopened = f"; the campaign {'would be' if self.dry_run else 'is'} running again" if self.reopened else ""
        yields = [f"{self.campaign}: version {self.spec_version} {would} in force (by {self.by}){reopened}"]
        yields += [f"  {change}" for change in self.amendment.changes]
        yields += [f"  earlier trials are taken to have had {n} = {given!r}" for n, given in self.amendment.past_values.items()]
        yields += [f"trial {number} {would} {why}" for number, why in self.withdrawn.items()]
        stop = f"; it {would} asked to stop" if self.stop_requested else "; it runs on"
        return yields + [f"trial {number} {would} flagged: {why}{stop}" for number, why in self.flagged.items()]


def amend_campaign(
    lab: Lab,
    name: str,
    changes: Path,
    *,
    by: str | None = None,
    dry_run: bool = False,
    stop_forbidden: bool = False,
    patience: Patience | None = None,
) -> AmendmentReport:
    """Make a new version of a campaign's spec.

    Args:
        lab: the opened lab.
        name: the campaign.
        changes: a TOML file with those fields of the spec that change.
        by: who amends; default the user of this process, `user@host`.
        dry_run: say what would change and which trials are concerned, and write nothing.
        stop_forbidden: running trials that the new version forbids are asked to stop; else they are only flagged.
        patience: how long to wait for a tick at work.

    Returns:
        What changed.

    Raises:
        SpecError: with every fault of the file; nothing was changed.
        CampaignError: if there is no such campaign, it has ended (and its budget is not raised), a tick does not end in time, or
            a cycler does not say whether a test that was being started runs; the spec was not changed.
    """
    report = _planned(lab, lab.store.campaign(name), changes, by or this_person(), dry_run, stop_forbidden)
    if dry_run:
        return report
    with _locked(lab, name, patience or Patience()) as fence:
        held = lab.under(name, fence)
        campaign = held.store.campaign(name)
        _settle_intents(Bench(held, campaign, held.cyclers_for(campaign.spec)))
        report = _planned(held, campaign, changes, report.by, dry_run, stop_forbidden)
        held.store.amend(
            name,
            report.amendment,
            follows=campaign.spec_version,
            by=report.by,
            lab_time_h=held.now_h(),
            withdrawn=report.withdrawn,
            flagged=report.flagged,
            stop_flagged=stop_forbidden,
            reopen=report.reopened,
        )
    wake(lab, name, looked=True)
    return report


def _planned(lab: Lab, campaign: CampaignRecord, changes: Path, by: str, dry_run: bool, stop: bool) -> AmendmentReport:
    """What the file means for the campaign as it stands."""
    if campaign.status == "stopped":
        raise CampaignError(f"campaign '{campaign.name}' was stopped and cannot be amended. Start a new campaign.")
    checks = amendment_checks(lab, campaign.spec)
    amendment = read_amendment(changes, campaign.spec, checks, DEFAULT_CYCLERS)
    reopened = campaign.status == "completed"
    if reopened and not _raised(campaign.spec.budget, amendment.spec.budget):
        raise CampaignError(
            f"campaign '{campaign.name}' is completed. Only a larger [budget] opens it again: give trials or channel_hours."
        )
    version = campaign.spec_version + 1
    withdrawn, flagged = _forbidden(lab, campaign, amendment, version)
    return AmendmentReport(campaign.name, version, amendment, by, withdrawn, flagged, dry_run, stop and bool(flagged), reopened)


def _forbidden(lab: Lab, campaign: CampaignRecord, amendment: Amendment, version: int) -> tuple[dict[int, str], dict[int, str]]:
    """Why, by number: the waiting trials that the new version forbids, and the running ones that would not be started now."""
    spec, withdrawn, flagged = amendment.spec, dict[int, str](), dict[int, str]()
    cyclers = {c.capabilities.name: c for c in lab.would_run_on(spec.cyclers)[0]}
    begun_under = lab.store.started_under(campaign.name)
    trials = [
        replace(trial, candidate=as_of_today(trial.candidate, spec.space, amendment.past_values))
        for trial in lab.store.trials(campaign.name)
    ]
    for trial in trials:
        if trial.status in _WAITING:
            if why := forbidden_to_start(spec, version, trial, cyclers):
                withdrawn[trial.number] = why
        elif trial.status.holds_channel:
            begun = begun_under.get(trial.number, campaign.spec)
            if why := forbidden_to_run(spec, version, trial, begun, cyclers.get(trial.cycler or "")):
                flagged[trial.number] = why
    return withdrawn | _over_budget(spec.budget, version, [t for t in trials if t.number not in withdrawn]), flagged


def _over_budget(budget: Budget, version: int, trials: Sequence[Trial]) -> dict[int, str]:
    """Why, by number: the latest waiting trials that a lowered budget does not pay for."""
    waiting = [trial.number for trial in trials if trial.status in _WAITING]
    left = max(0, len(waiting) - max(0, sum(map(costs, trials)) - budget.trials))
    return dict.fromkeys(waiting[left:], f"withdrawn: version {version} of the spec has a budget of {budget.trials} trials")


def _raised(before: Budget, after: Budget) -> bool:
    hours = (float("inf") if b.channel_hours is None else b.channel_hours for b in (before, after))
    return after.trials > before.trials or next(hours) < next(hours)


@contextmanager
def _locked(lab: Lab, name: str, patience: Patience) -> Iterator[int]:
    """Hold the campaign's lock, once a tick at work has ended."""
    holder, until = f"amend {this_person()}:{os.getpid()}", patience.clock() + patience.limit_s
    told = False
    while True:
        with lab.store.campaign_lock(name, holder) as fence:  # takes over from the dead, as a tick would
            if fence is not None:
                yield fence
                return
        if patience.clock() >= until:
            other = lab.store.lock_holder(name)
            who = f" by {other}" if other else ""
            raise CampaignError(
                f"campaign '{name}' is being worked on{who}, and that did not end within {patience.limit_s:.0f} s. Nothing was "
                "changed; amend again later, or stop that process."
            )
        if not told:
            patience.told(f"waiting for {lab.store.lock_holder(name) or 'another process'}, which is making a tick")
            told = True
        patience.sleep(patience.poll_s)


def _settle_intents(bench: Bench) -> None:
    """Leave no test half-started: the next to be started is checked against the new limits."""
    for trial in bench.lab.store.trials(bench.campaign.name):
        if trial.status is _S.DISPATCHING:
            after = close_intent(bench, trial, WHILE_STARTING)
            if after.status is _S.DISPATCHING:
                raise CampaignError(
                    f"trial {trial.number} of '{bench.campaign.name}' was being started on {trial.cycler}/{trial.channel}, and "
                    f"'{trial.cycler}' does not say whether it runs. The spec was not changed; amend again when it answers."
                )
