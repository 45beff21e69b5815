"""What a check looks at: the rows that say who holds what, read at once, and looked up by the ids they refer to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlmodel import Session, select

from orchestrator.domain.trial import TrialStatus
from orchestrator.store.tables import AttemptRow, CampaignRow, ChannelRow, LockRow, RecordingRow, SpecVersionRow, TrialRow


@dataclass(frozen=True)
class StoredRows:
    """The rows of one snapshot, as plain mappings from column to value."""

    campaigns: list[dict[str, Any]]
    specs: list[dict[str, Any]]
    trials: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    channels: list[dict[str, Any]]
    locks: list[dict[str, Any]]
    recordings: list[dict[str, Any]]

    @classmethod
    def read(cls, session: Session) -> StoredRows:
        """All of them; a check is rare, and even a large lab has some ten thousand."""
        tables = (CampaignRow, SpecVersionRow, TrialRow, AttemptRow, ChannelRow, LockRow, RecordingRow)
        return cls(*([row.model_dump() for row in session.exec(select(table)).all()] for table in tables))

    @cached_property
    def trial_by_id(self) -> dict[int, dict[str, Any]]:
        """Trials by their id."""
        return {trial["id"]: trial for trial in self.trials}

    @cached_property
    def campaign_by_id(self) -> dict[int, dict[str, Any]]:
        """Campaigns by their id."""
        return {campaign["id"]: campaign for campaign in self.campaigns}

    @cached_property
    def attempts_by_trial(self) -> dict[int, dict[int, dict[str, Any]]]:
        """Attempts by trial and number."""
        found: dict[int, dict[int, dict[str, Any]]] = {}
        for attempt in self.attempts:
            found.setdefault(attempt["trial_id"], {})[attempt["attempt"]] = attempt
        return found

    @cached_property
    def channel_by_place(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Channels by cycler and name."""
        return {(channel["cycler"], channel["name"]): channel for channel in self.channels}

    def campaign_of(self, trial: dict[str, Any]) -> str:
        """The name of a trial's campaign."""
        campaign = self.campaign_by_id.get(trial["campaign_id"])
        return "?" if campaign is None else str(campaign["name"])

    def holding(self) -> list[dict[str, Any]]:
        """The trials whose state says that they hold a channel."""
        return [trial for trial in self.trials if status_of(trial).holds_channel]

    def name(self, trial: dict[str, Any] | None) -> str:
        """A trial in words."""
        return "a trial that does not exist" if trial is None else f"trial {trial['number']} of '{self.campaign_of(trial)}'"


def status_of(trial: dict[str, Any]) -> TrialStatus:
    """A trial's state; the database lets no other words in."""
    return TrialStatus(trial["status"])


def place(row: dict[str, Any]) -> str:
    """A channel in words."""
    return f"{row['cycler']}/{row.get('channel') or row.get('name')}"
