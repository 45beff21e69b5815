"""The first tables.

Revision 0001, of 2026-11.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Rows that are history: the database itself refuses to change or delete them.
APPEND_ONLY = {"events": ("id",), "spec_versions": ("campaign_id", "version")}


def upgrade() -> None:
    """Create everything."""
    _campaigns()
    _trials()
    _channels()
    _results()
    _log()
    for table in APPEND_ONLY:
        _make_append_only(table)


def _campaigns() -> None:
    """Campaigns and their frozen specs."""
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("spec_version", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("status_reason", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_h", sa.Double(), nullable=False),
        sa.Column("ended_h", sa.Double(), nullable=True),
        sa.Column("reference_point", sa.JSON(), nullable=True),
        sa.Column("wall_s", sa.Double(), nullable=False),
        sa.CheckConstraint("status IN ('running', 'completed', 'stopped', 'needs_attention')", name=op.f("ck_campaigns_status")),
        sa.PrimaryKeyConstraint("id", name="pk_campaigns"),
        sa.UniqueConstraint("name", name="uq_campaigns_name"),
    )
    op.create_table(
        "spec_versions",
        sa.Column("campaign_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lab_time_h", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name="fk_spec_versions_campaign_id_campaigns"),
        sa.PrimaryKeyConstraint("campaign_id", "version", name="pk_spec_versions"),
    )


def _trials() -> None:
    """Trials, their attempts, and why they were chosen or stopped."""
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("spec_version", sa.Integer(), nullable=False),
        sa.Column("candidate", sa.JSON(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=True),
        sa.Column("cycler", sa.String(), nullable=True),
        sa.Column("channel", sa.String(), nullable=True),
        sa.Column("run_ref", sa.String(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=True),
        sa.Column("stopped_because", sa.String(), nullable=True),
        sa.Column("started_h", sa.Double(), nullable=True),
        sa.Column("ended_h", sa.Double(), nullable=True),
        sa.Column("limits_violated", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "status IN ('proposed', 'approved', 'dispatching', 'running', 'completed', 'early_stopped', 'failed', 'aborted', "
            "'cancelled', 'unknown')",
            name=op.f("ck_trials_status"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id", "spec_version"],
            ["spec_versions.campaign_id", "spec_versions.version"],
            name="fk_trials_campaign_id_spec_version_spec_versions",
        ),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name="fk_trials_campaign_id_campaigns"),
        sa.PrimaryKeyConstraint("id", name="pk_trials"),
        sa.UniqueConstraint("campaign_id", "number", name="uq_trials_campaign_id_number"),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("cycler", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("begun_h", sa.Double(), nullable=False),
        sa.Column("run_ref", sa.String(), nullable=True),
        sa.Column("started_h", sa.Double(), nullable=True),
        sa.Column("closed_h", sa.Double(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.CheckConstraint("state IN ('open', 'running', 'unknown', 'withdrawn', 'ended')", name=op.f("ck_attempts_state")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_attempts_trial_id_trials"),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        sa.UniqueConstraint("key", name="uq_attempts_key"),
        sa.UniqueConstraint("trial_id", "attempt", name="uq_attempts_trial_id_attempt"),
    )
    op.create_table(
        "decisions",
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("lab_time_h", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_decisions_trial_id_trials"),
        sa.PrimaryKeyConstraint("trial_id", name="pk_decisions"),
    )
    op.create_table(
        "stop_requests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lab_time_h", sa.Double(), nullable=False),
        sa.Column("withdrawn_h", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name="fk_stop_requests_campaign_id_campaigns"),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_stop_requests_trial_id_trials"),
        sa.PrimaryKeyConstraint("id", name="pk_stop_requests"),
    )
    op.create_index("ix_stop_requests_campaign_id", "stop_requests", ["campaign_id"], unique=False)


def _channels() -> None:
    """Channels and locks."""
    op.create_table(
        "channels",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("cycler", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.CheckConstraint(
            "(state <> 'free' OR trial_id IS NULL) AND (state <> 'held' OR trial_id IS NOT NULL)", name=op.f("ck_channels_holder")
        ),
        sa.CheckConstraint("state IN ('free', 'held', 'quarantined')", name=op.f("ck_channels_state")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_channels_trial_id_trials"),
        sa.PrimaryKeyConstraint("id", name="pk_channels"),
        sa.UniqueConstraint("cycler", "name", name="uq_channels_cycler_name"),
        sa.UniqueConstraint("trial_id", name="uq_channels_trial_id"),
    )
    op.create_table(
        "locks",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(), nullable=True),
        sa.Column("process", sa.String(), nullable=True),
        sa.Column("acquired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_locks"),
    )


def _results() -> None:
    """What was measured."""
    op.create_table(
        "outcomes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("mean", sa.Double(), nullable=False),
        sa.Column("sem", sa.Double(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=True),
        sa.Column("at_cycle", sa.Integer(), nullable=True),
        sa.Column("lab_time_h", sa.Double(), nullable=False),
        sa.CheckConstraint("source IN ('measured', 'predicted')", name=op.f("ck_outcomes_source")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_outcomes_trial_id_trials"),
        sa.PrimaryKeyConstraint("id", name="pk_outcomes"),
    )
    op.create_index("ix_outcomes_trial_id", "outcomes", ["trial_id"], unique=False)
    op.create_table(
        "cycle_summaries",
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_cycle_summaries_trial_id_trials"),
        sa.PrimaryKeyConstraint("trial_id", "position", name="pk_cycle_summaries"),
    )
    op.create_table(
        "recordings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("uri", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_recordings_trial_id_trials"),
        sa.PrimaryKeyConstraint("id", name="pk_recordings"),
        sa.UniqueConstraint("trial_id", "attempt", name="uq_recordings_trial_id_attempt"),
    )


def _log() -> None:
    """The log, and what is true of the lab."""
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lab_time_h", sa.Double(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=True),
        sa.Column("trial", sa.Integer(), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name="fk_events_campaign_id_campaigns"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_campaign_id", "events", ["campaign_id"], unique=False)
    op.create_index("ix_events_lab_time_h", "events", ["lab_time_h"], unique=False)
    op.create_table(
        "lab_facts",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_lab_facts"),
    )


def _make_append_only(table: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        _refuse_changes_on_postgresql(table)
    else:
        _refuse_changes_on_sqlite(table)


def _refuse_changes_on_sqlite(table: str) -> None:
    refusal = f"SELECT RAISE(ABORT, '{table} is append-only')"
    for change in ("UPDATE", "DELETE"):
        op.execute(f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} BEGIN {refusal}; END")
    # INSERT OR REPLACE deletes without firing the trigger above.
    same = " AND ".join(f"{key} = NEW.{key}" for key in APPEND_ONLY[table])
    replaced = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608 - fixed names
    op.execute(f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {replaced} BEGIN {refusal}; END")


def _refuse_changes_on_postgresql(table: str) -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION voltloop_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    call = "EXECUTE FUNCTION voltloop_append_only()"
    op.execute(f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW {call}")
    op.execute(f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {call}")
