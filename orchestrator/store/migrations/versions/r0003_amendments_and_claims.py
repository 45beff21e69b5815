"""Who amended and who approved; why a stop was asked for; which campaigns want channels.

Revision 0003, of 2026-11.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CAUSES = "cause IN ('person', 'interlock', 'early_outcome', 'budget', 'amendment')"


def upgrade() -> None:
    """Add what older labs did not note; a stop asked for until now was a person's."""
    # Plainly, without a rebuilt table: its triggers would be lost.
    op.add_column("spec_versions", sa.Column("amended_by", sa.String(), nullable=True))
    op.add_column("spec_versions", sa.Column("past_values", sa.JSON(), nullable=True))
    op.add_column("attempts", sa.Column("confirmed", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("trials", sa.Column("decided_by", sa.String(), nullable=True))
    op.add_column("trials", sa.Column("flag", sa.String(), nullable=True))
    with op.batch_alter_table("stop_requests") as stops:
        stops.add_column(sa.Column("cause", sa.String(), nullable=False, server_default="person"))
        stops.create_check_constraint(op.f("ck_stop_requests_cause"), CAUSES)
    op.create_index("ix_stop_requests_trial_id", "stop_requests", ["trial_id"])
    op.create_table(
        "channel_claims",
        sa.Column("campaign_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cycler", sa.String(), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Double(), nullable=False),
        sa.Column("since_h", sa.Double(), nullable=False),
        sa.Column("stated_h", sa.Double(), nullable=False),
        sa.Column("stated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name="fk_channel_claims_campaign_id_campaigns"),
        sa.PrimaryKeyConstraint("campaign_id", "cycler", name="pk_channel_claims"),
    )
