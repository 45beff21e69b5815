"""The store's own nouns: plain frozen values, safe to keep after the database has been closed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np

from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.candidate import Candidate
from orchestrator.domain.errors import CampaignError
from orchestrator.domain.trial import TrialStatus

CampaignStatus = Literal["running", "completed", "stopped", "needs_attention"]
ChannelState = Literal["free", "held", "quarantined"]
StopCause = Literal["person", "interlock", "early_outcome", "budget", "amendment"]


# The event of a campaign that goes on after it waited for a person.
RESUMED = "resumed"


class StaleFenceError(CampaignError):
    """An answer came from a dispatch that is no longer the current one; it was not let in."""


class LockLostError(CampaignError):
    """A tick was stalled for so long that another has taken its campaign over; nothing of what it wanted to write was stored."""


@dataclass(frozen=True)
class CampaignRecord:
    """A campaign as it stands in the store.

    Attributes:
        spec: the spec's latest version, number `spec_version` (from 1).
        status_reason: why it has its status, in words; None while it simply runs.
        started_h, ended_h: lab time in hours.
        reference_point: hypervolume reference by metric, once fixed.
        wall_s: seconds of real time spent in ticks.
        stop_requested: why the whole campaign was asked to stop; None if it was not.
    """

    name: str
    spec: CampaignSpec
    spec_version: int
    status: CampaignStatus
    status_reason: str | None
    created_at: datetime
    started_h: float
    ended_h: float | None = None
    reference_point: dict[str, float] | None = None
    wall_s: float = 0.0
    stop_requested: str | None = None


@dataclass(frozen=True)
class SpecVersion:
    """One version of a campaign's spec.

    Attributes:
        version: from 1.
        amended_by: who made it; None for the first.
        past_values: by parameter that it added, the value that earlier trials are taken to have had.
    """

    version: int
    spec: CampaignSpec
    created_at: datetime
    lab_time_h: float
    amended_by: str | None = None
    past_values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChannelRecord:
    """A channel as it stands in the store.

    A quarantined channel may still be held: the trial on it goes on, and the channel is not free afterwards.

    Attributes:
        campaign, trial: who holds it; None when nobody does.
        fence: raised by one whenever the channel is taken.
        reason: why it is quarantined.
    """

    cycler: str
    name: str
    state: ChannelState
    campaign: str | None = None
    trial: int | None = None
    fence: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Event:
    """One line of the lab's log, never changed once written.

    Attributes:
        id: rises with time.
        at: the system's time, UTC.
        lab_time_h: lab time in hours.
        trial: the trial's number within its campaign.
    """

    id: int
    at: datetime
    lab_time_h: float
    kind: str
    campaign: str | None = None
    trial: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NewTrial:
    """A candidate to be added, with what its proposer knew when it chose it (`decision`)."""

    candidate: Candidate
    origin: str
    status: TrialStatus = TrialStatus.PROPOSED
    decision: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordingFile:
    """Where a closed recording lies; `uri` is relative to the lab folder, `sha256` of the file's bytes."""

    uri: str
    sha256: str
    rows: int
    schema_version: int


def json_ready(given: Any) -> Any:
    """The same content in what JSON and both databases can hold: numpy becomes Python, NaN and infinities become None."""
    if isinstance(given, float):
        return float(given) if math.isfinite(given) else None
    if given is None or isinstance(given, (str, bool, int)):
        return given
    if isinstance(given, Mapping):
        return {str(key): json_ready(item) for key, item in given.items()}
    if isinstance(given, (np.generic, np.ndarray)):
        return json_ready(given.tolist())
    if isinstance(given, (list, tuple, set, frozenset)):
        return [json_ready(item) for item in given]
    if isinstance(given, datetime):
        return given.isoformat()
    raise TypeError(f"{type(given).__name__} cannot be stored as JSON: {given!r}")
