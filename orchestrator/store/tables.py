"""What the lab remembers, table by table. Rows never leave this room: the ledgers turn them into plain values.

Statuses are stored by value and checked by the database; times are aware, in UTC; lab time is in hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, CheckConstraint, DateTime, Double, ForeignKeyConstraint, Index, MetaData, UniqueConstraint, true
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from orchestrator.domain.trial import TrialStatus
from orchestrator.store.plain import json_ready

CAMPAIGN_STATUSES = ("running", "completed", "stopped", "needs_attention")
CHANNEL_STATES = ("free", "held", "quarantined")
ATTEMPT_STATES = ("open", "running", "unknown", "withdrawn", "ended")
SOURCES = ("measured", "predicted")
STOP_CAUSES = ("person", "interlock", "early_outcome", "budget", "amendment")

# Alembic's batch mode can only touch constraints that have names.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcTime(TypeDecorator[datetime]):
    """An aware time, in UTC on the way in and out; SQLite alone would give naive ones back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time: nobody could say what it means."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Say that it is UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class PlainJson(TypeDecorator[Any]):
    """JSON without NaN; None is the database's NULL."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Turn numpy values and NaN into what JSON can hold."""
        return json_ready(value)


class Row(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING))):
    """What every table of the lab shares: one set of metadata, apart from any other SQLModel tables in the process."""


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """A check that a column holds one of the given words."""
    words = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({words})", name=column)


class CampaignRow(Row, table=True):
    """A campaign; its spec stands in `spec_versions`."""

    __tablename__ = "campaigns"
    __table_args__: ClassVar[Any] = (UniqueConstraint("name"), one_of("status", CAMPAIGN_STATUSES))

    id: int | None = Field(default=None, primary_key=True)
    name: str
    spec_version: int
    status: str
    status_reason: str | None = None
    created_at: datetime = Field(sa_type=UtcTime)
    started_h: float = Field(sa_type=Double)
    ended_h: float | None = Field(default=None, sa_type=Double)
    reference_point: dict[str, float] | None = Field(default=None, sa_type=PlainJson)
    wall_s: float = Field(default=0.0, sa_type=Double)


class SpecVersionRow(Row, table=True):
    """A campaign's spec, frozen; an amendment adds the next version. Append-only.

    `past_values` holds, for parameters that this version adds, the value that earlier trials are taken to have had.
    """

    __tablename__ = "spec_versions"

    campaign_id: int = Field(primary_key=True, foreign_key="campaigns.id", sa_column_kwargs={"autoincrement": False})
    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    spec: dict[str, Any] = Field(sa_type=PlainJson)
    sha256: str
    created_at: datetime = Field(sa_type=UtcTime)
    lab_time_h: float = Field(sa_type=Double)
    amended_by: str | None = None
    past_values: dict[str, Any] | None = Field(default=None, sa_type=PlainJson)


class TrialRow(Row, table=True):
    """A candidate with a fate; `key`, `cycler`, `channel`, `run_ref` and `fence` are those of the current attempt.

    `decided_by` approved or rejected it; `flag` says why it would not be started today although it runs.
    """

    __tablename__ = "trials"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("campaign_id", "number"),
        ForeignKeyConstraint(["campaign_id", "spec_version"], ["spec_versions.campaign_id", "spec_versions.version"]),
        one_of("status", TrialStatus),
    )

    id: int | None = Field(default=None, primary_key=True)
    campaign_id: int = Field(foreign_key="campaigns.id")
    number: int
    spec_version: int
    candidate: dict[str, Any] = Field(sa_type=PlainJson)
    origin: str
    status: str
    attempt: int = 0
    key: str | None = None
    cycler: str | None = None
    channel: str | None = None
    run_ref: str | None = None
    fence: int | None = None
    stopped_because: str | None = None
    started_h: float | None = Field(default=None, sa_type=Double)
    ended_h: float | None = Field(default=None, sa_type=Double)
    limits_violated: bool = False
    cause: str | None = None
    decided_by: str | None = None
    flag: str | None = None


class AttemptRow(Row, table=True):
    """One try at a trial, under a key that is never used again.

    `confirmed` says that its cycler may have been asked to start it; nobody has submitted the key of one that is not.
    """

    __tablename__ = "attempts"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("key"),
        UniqueConstraint("trial_id", "attempt"),
        one_of("state", ATTEMPT_STATES),
    )

    id: int | None = Field(default=None, primary_key=True)
    trial_id: int = Field(foreign_key="trials.id")
    attempt: int
    key: str
    cycler: str
    channel: str
    fence: int
    state: str
    begun_at: datetime = Field(sa_type=UtcTime)
    begun_h: float = Field(sa_type=Double)
    run_ref: str | None = None
    started_h: float | None = Field(default=None, sa_type=Double)
    closed_h: float | None = Field(default=None, sa_type=Double)
    reason: str | None = None
    confirmed: bool = Field(default=False, sa_column_kwargs={"server_default": true()})


class ChannelRow(Row, table=True):
    """One place on a cycler; held by at most one trial, and a trial holds at most one."""

    __tablename__ = "channels"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("cycler", "name"),
        UniqueConstraint("trial_id"),
        one_of("state", CHANNEL_STATES),
        CheckConstraint("(state <> 'free' OR trial_id IS NULL) AND (state <> 'held' OR trial_id IS NOT NULL)", name="holder"),
    )

    id: int | None = Field(default=None, primary_key=True)
    cycler: str
    name: str
    state: str = "free"
    trial_id: int | None = Field(default=None, foreign_key="trials.id")
    fence: int = 0
    reason: str | None = None


class EventRow(Row, table=True):
    """What happened, in order. Append-only: the database refuses to change or delete a row."""

    __tablename__ = "events"
    __table_args__: ClassVar[Any] = (Index(None, "campaign_id"), Index(None, "lab_time_h"))

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(sa_type=UtcTime)
    lab_time_h: float = Field(sa_type=Double)
    kind: str
    campaign_id: int | None = Field(default=None, foreign_key="campaigns.id")
    trial: int | None = None
    data: dict[str, Any] = Field(sa_type=PlainJson)


class OutcomeRow(Row, table=True):
    """One estimate ever given for a trial; the history of all of them is kept, the current one is chosen by rule."""

    __tablename__ = "outcomes"
    __table_args__: ClassVar[Any] = (one_of("source", SOURCES), Index(None, "trial_id"))

    id: int | None = Field(default=None, primary_key=True)
    trial_id: int = Field(foreign_key="trials.id")
    metric: str
    mean: float = Field(sa_type=Double)
    sem: float = Field(sa_type=Double)
    source: str
    unit: str | None = None
    at_cycle: int | None = None
    lab_time_h: float = Field(sa_type=Double)


class CycleSummaryRow(Row, table=True):
    """Per-cycle quantities of a trial, in the order recorded; `position` counts from 0, the cycle's number is in `data`."""

    __tablename__ = "cycle_summaries"

    trial_id: int = Field(primary_key=True, foreign_key="trials.id", sa_column_kwargs={"autoincrement": False})
    position: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    data: dict[str, Any] = Field(sa_type=PlainJson)


class RecordingRow(Row, table=True):
    """A closed recording: its place, hash and size. The rows themselves are in the file."""

    __tablename__ = "recordings"
    __table_args__: ClassVar[Any] = (UniqueConstraint("trial_id", "attempt"),)

    id: int | None = Field(default=None, primary_key=True)
    trial_id: int = Field(foreign_key="trials.id")
    attempt: int
    uri: str
    sha256: str
    rows: int
    schema_version: int
    created_at: datetime = Field(sa_type=UtcTime)


class DecisionRow(Row, table=True):
    """What a proposer knew when it chose a trial."""

    __tablename__ = "decisions"

    trial_id: int = Field(primary_key=True, foreign_key="trials.id", sa_column_kwargs={"autoincrement": False})
    data: dict[str, Any] = Field(sa_type=PlainJson)
    lab_time_h: float = Field(sa_type=Double)


class StopRequestRow(Row, table=True):
    """Somebody wants a trial stopped, or (without `trial_id`) the whole campaign; ticks carry it out."""

    __tablename__ = "stop_requests"
    __table_args__: ClassVar[Any] = (Index(None, "campaign_id"), Index(None, "trial_id"), one_of("cause", STOP_CAUSES))

    id: int | None = Field(default=None, primary_key=True)
    campaign_id: int = Field(foreign_key="campaigns.id")
    trial_id: int | None = Field(default=None, foreign_key="trials.id")
    reason: str
    requested_by: str
    requested_at: datetime = Field(sa_type=UtcTime)
    lab_time_h: float = Field(sa_type=Double)
    withdrawn_h: float | None = Field(default=None, sa_type=Double)
    cause: str = Field(default="person", sa_column_kwargs={"server_default": "person"})


class ChannelClaimRow(Row, table=True):
    """How many channels a campaign could use now, the same number for each cycler that would do; one not renewed runs out."""

    __tablename__ = "channel_claims"

    campaign_id: int = Field(primary_key=True, foreign_key="campaigns.id", sa_column_kwargs={"autoincrement": False})
    cycler: str = Field(primary_key=True)
    wanted: int
    priority: float = Field(sa_type=Double)
    since_h: float = Field(sa_type=Double)
    stated_h: float = Field(sa_type=Double)
    stated_at: datetime = Field(sa_type=UtcTime)
    expires_at: datetime = Field(sa_type=UtcTime)


class LockRow(Row, table=True):
    """Who works on what, and until when; `fence` rises with every holder."""

    __tablename__ = "locks"

    name: str = Field(primary_key=True)
    fence: int
    holder: str | None = None
    process: str | None = None
    acquired_at: datetime | None = Field(default=None, sa_type=UtcTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcTime)


class LabFactRow(Row, table=True):
    """What is true of the lab as a whole, by name."""

    __tablename__ = "lab_facts"

    name: str = Field(primary_key=True)
    value: Any = Field(sa_type=PlainJson)
